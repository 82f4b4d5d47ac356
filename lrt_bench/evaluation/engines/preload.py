"""What every worker of this machine needs, imported once; nothing is computed, no thread is started.

It runs in the process that workers are forked from, which a run starts and which ends with it.
"""

import gc
import importlib

from lrt_bench.evaluation.process_state import without_collection

MODULES = (
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",  # the embedded family's
    "lrt_bench.evaluation.engines.worker",
)

with without_collection():  # a fifth of the imports' time
    for module in MODULES:
        importlib.import_module(module)
gc.freeze()  # what is imported stays: no collection touches its pages, which workers share

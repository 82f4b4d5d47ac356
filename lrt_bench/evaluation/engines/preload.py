"""What every worker of this machine needs, imported once; nothing is computed, no thread is begun here."""

import gc
import importlib

MODULES = (
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",  # the embedded family's
    "lrt_bench.evaluation.engines.worker",
)

gc.disable()  # it would walk all that is there again and again: a fifth of the time
for module in MODULES:
    importlib.import_module(module)
gc.enable()
gc.freeze()  # what is imported stays: no collection touches its pages, which workers share

"""What every worker of this machine needs, imported once; nothing is computed, no thread is begun here."""

import transformers.modeling_utils
import transformers.models.auto.modeling_auto
import transformers.models.auto.tokenization_auto  # noqa: F401

import lrt_bench.cluster.worker  # noqa: F401

"""Small random models some of whose dimensions are massive, as those of pretrained models are."""

from __future__ import annotations

import torch

from lrt_bench.models.decoders.transformers_model import TransformersModel


def massive(tokenizer, count):
    """A small random Llama of which `count` dimensions of the states are 30 times as large."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1600, hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    module = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4)
        module.lm_head.weight *= 5
        module.model.embed_tokens.weight[:, :count] *= 30
    return TransformersModel(f"massive-{count}", f"massive-{count}", module, tokenizer)

"""Blocks laid out like Llama's (Mistral's, Qwen2's, Qwen3's, ...), run with fewer passes over memory.

The sweep repeats blocks thousands of times on states that no cache holds, so what is not a matrix product
counts: norms, rotations, activations and sums are fused or done in place here. In a model's last block only
the prompts' last tokens are read: only they get a query and an MLP, the others give keys and values.

Whether a block is one of those is not guessed: `fits` compares what is computed here with the block itself.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lrt_bench.errors import first_line

LOG = logging.getLogger("lrt_bench")
PARTS = ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp")
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "head_dim", "scaling")
GATED = ("gate_proj", "up_proj", "down_proj", "act_fn")
SILU = ("SiLU", "SiLUActivation")
TOLERANCE = 1e-5
TOLERANCE_16 = 3e-2


def laid_out_like_llama(block: Any) -> bool:
    """Whether the block has the parts in the shapes that `run` reads, and none has accelerate's hook."""
    return (
        all(hasattr(block, part) for part in PARTS)
        and all(hasattr(block.self_attn, name) for name in PROJECTIONS)
        and all(hasattr(block.mlp, name) for name in GATED)
        and not any(hasattr(module, "_hf_hook") for module in block.modules())
        and all(_is_rms_norm(norm) for norm in (block.input_layernorm, block.post_attention_layernorm))
        and _heads_fit(block.self_attn)
        and all(type(getattr(block.mlp, name)) is nn.Linear for name in GATED[:3])
    )


def _is_rms_norm(norm: Any) -> bool:
    """Whether a norm has a weight and no bias, and names its epsilon as RMS norms do."""
    has_bias = getattr(norm, "bias", None) is not None
    return (
        hasattr(norm, "variance_epsilon")
        and isinstance(getattr(norm, "weight", None), Tensor)
        and not has_bias
    )


def _heads_fit(attention: Any) -> bool:
    """Whether projections are plain and as wide as whole heads, and a norm of queries is of one head."""
    size, maps = attention.head_dim, [getattr(attention, name) for name in PROJECTIONS[:4]]
    if not all(type(part) is nn.Linear for part in maps):
        return False
    queries, keys, values, output = maps
    if keys.out_features != values.out_features or queries.out_features != output.in_features:
        return False
    if queries.out_features % size or keys.out_features % size or queries.out_features % keys.out_features:
        return False
    norms: list[Any] = [getattr(attention, name, None) for name in ("q_norm", "k_norm")]
    if norms == [None, None]:
        return True
    return all(
        isinstance(getattr(norm, "weight", None), Tensor) and len(norm.weight) == size for norm in norms
    )


def applies(call: dict[str, Any], cache: Any = None) -> bool:
    """Whether a block can be run so: rotary embeddings, and the causal mask or one for all rows."""
    mask = call.get("attention_mask")
    if cache is not None and mask is not None:
        return False  # a mask that was made without the cache
    return isinstance(call.get("position_embeddings"), tuple) and (
        mask is None or (isinstance(mask, Tensor) and mask.ndim == 4 and mask.shape[:2] == (1, 1))
    )


def run(block: Any, states: Tensor, call: dict[str, Any], cache: Any = None) -> Tensor:
    """Return the block's output: states [b, t, d] -> [b, t, d].

    cache : a transformers KV cache, which is added to: of one token more, or of nothing before.
    """
    attention = block.self_attn
    queries, keys, values = _project(block, states)
    cos, sin = (part[:, :, None] for part in call["position_embeddings"])
    queries, keys, values = (
        part.transpose(1, 2) for part in (rotate(queries, cos, sin), rotate(keys, cos, sin), values)
    )
    if cache is not None:
        keys, values = cache.update(keys, values, attention.layer_idx)
    mask = call.get("attention_mask")
    causal = mask is None and states.shape[1] > 1
    mixed = attend(attention, queries, keys, values, mask, is_causal=causal)
    return mlp(block, add_product(states, mixed, block.self_attn.o_proj))


def some_tokens(block: Any, states: Tensor, call: dict[str, Any], positions: Tensor) -> Tensor:
    """Return the block's output at some positions: states [b, t, d], positions [b, q] -> [b, q, d]."""
    positions = positions.to(states.device)
    rows = torch.arange(len(states), device=states.device)[:, None]
    queries, keys, values = _project(block, states, (rows, positions))
    cos, sin = call["position_embeddings"]
    keys = rotate(keys, cos[:, :, None], sin[:, :, None])
    queries = rotate(queries, cos[0, positions][:, :, None], sin[0, positions][:, :, None])
    visible = seen(call.get("attention_mask"), positions, states.shape[1])
    queries, keys, values = (part.transpose(1, 2) for part in (queries, keys, values))
    mixed = attend(block.self_attn, queries, keys, values, visible, is_causal=False)
    return mlp(block, add_product(states[rows, positions], mixed, block.self_attn.o_proj))


def _norm(norm: Any, states: Tensor) -> Tensor:
    """RMS norm with the module's weight; the mean square in one pass, in float32."""
    square = torch.linalg.vector_norm(states, dim=-1, keepdim=True, dtype=torch.float32).square_()
    scale = square.div_(states.shape[-1]).add_(norm.variance_epsilon).rsqrt_()
    return (states * scale).to(states.dtype).mul_(norm.weight)


def _project(
    block: Any, states: Tensor, kept: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries (of the tokens `kept`, or of all), keys and values: [b, t, heads, head size] each."""
    attention = block.self_attn
    normed = _norm(block.input_layernorm, states)
    querying = normed if kept is None else normed[kept]
    queries, keys, values = (
        part(of).view(*of.shape[:2], -1, attention.head_dim)
        for part, of in ((attention.q_proj, querying), (attention.k_proj, normed), (attention.v_proj, normed))
    )
    if hasattr(attention, "q_norm"):
        queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    return queries, keys, values


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding (Su et al. 2021) of x [b, t, heads, size]; cos and sin hold each half twice."""
    half = x.shape[-1] // 2
    turned = x * cos
    turned[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1)
    turned[..., half:].addcmul_(x[..., :half], sin[..., half:])
    return turned


def attend(
    attention: Any, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, *, is_causal: bool
) -> Tensor:
    """Scaled dot-product attention of [b, heads, q or t, size]: [b, q, heads size]."""
    mixed = functional.scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=mask,
        is_causal=is_causal,
        scale=attention.scaling,
        enable_gqa=queries.shape[1] != keys.shape[1],
    )
    return mixed.transpose(1, 2).flatten(2)


def seen(mask: Tensor | None, positions: Tensor, length: int) -> Tensor:
    """Mask of what tokens at `positions` [b, q] see of `length`: [b, 1, q, length], boolean or additive."""
    if mask is None:
        return (torch.arange(length, device=positions.device) <= positions[..., None])[:, None]
    return mask[0, 0].to(positions.device)[positions][:, None]


def add_product(states: Tensor, inputs: Tensor, linear: Any) -> Tensor:
    """Return states + linear(inputs), in one pass where the layer has no bias."""
    if linear.bias is not None:
        return states + linear(inputs)
    flat = torch.addmm(states.flatten(0, 1), inputs.flatten(0, 1), linear.weight.T)
    return flat.view(states.shape)


def mlp(block: Any, states: Tensor) -> Tensor:
    """Return states + MLP(norm(states)), of a gated MLP."""
    mlp = block.mlp
    normed = _norm(block.post_attention_layernorm, states)
    gate = mlp.gate_proj(normed)
    gate = functional.silu(gate, inplace=True) if type(mlp.act_fn).__name__ in SILU else mlp.act_fn(gate)
    return add_product(states, gate.mul_(mlp.up_proj(normed)), mlp.down_proj)


@torch.inference_mode()
def fits(block: Any, call: dict[str, Any], states: Tensor) -> bool:
    """Whether what is computed here is what the block gives, on `states` [b, t, d] of `call`'s length."""
    if not (laid_out_like_llama(block) and applies(call)):
        return False
    expected = block(states, **call)
    if isinstance(expected, tuple):
        return False
    rows = torch.arange(len(states), device=states.device)[:, None]
    positions = states.shape[1] - 1 - rows % 2  # the last two positions: long-range keys and masks count
    try:
        whole, some = run(block, states, call), some_tokens(block, states, call, positions)
    except RuntimeError as error:  # torch, at shapes that `laid_out_like_llama` does not know
        LOG.warning("a block of %s is run as it is: %s", type(block).__name__, first_line(error))
        return False
    kept = rows, positions
    return same(whole, expected, states) and same(some, expected[kept], states[kept])


def same(output: Tensor, expected: Tensor, states: Tensor) -> bool:
    """Whether two outputs of a block on `states` differ by no more than rounding."""
    change = (expected - states).abs().max()  # what the block adds, not what passes through it
    limit = (TOLERANCE if states.dtype == torch.float32 else TOLERANCE_16) * change
    return bool((output - expected).abs().max() <= limit)

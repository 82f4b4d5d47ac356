"""A block laid out like Llama's on states that one vector is added to, for many vectors.

Such a block reads its input h + o through a norm, which is one number a token, and linear maps W behind it:
W(h + o) / rms = (W h + W o) / rms. W h is computed once, W o once a vector, and the norm follows from |h|,
|o| and h . o. So the block's products for queries, keys and values are done for no (token, vector) at all;
where only some tokens are read, keys and values of the others need not even be written down: rotary
embeddings are linear, too, and a token's key is the rotated W h and W o of its position.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lrt_bench.models.blocks.llama import add_product, attend, mlp, rotate, same, seen

LEAST = -1e30  # added to the scores of what is not seen, where a mask is boolean


class Shifted(ABC):
    """What a block gives for states [b, t, d] to which one of several offsets is added at every token."""

    @abstractmethod
    def run(self, offsets: Tensor) -> Tensor:
        """Return the block's output under each offset [v, d]: [v b, t, d]."""

    @abstractmethod
    def some(self, offsets: Tensor, positions: Tensor) -> Tensor:
        """Return the block's output under each offset [v, d], at positions [b, q]: [v b, q, d]."""


class ShiftedLlama(Shifted):
    """That of a block laid out like Llama's, in float32.

    Parameters
    ----------
    block : one that `llama_block.fits`.
    states : [b, t, d], the block's input before anything is added.
    call : what the model hands to the block besides.
    """

    def __init__(self, block: Any, states: Tensor, call: dict[str, Any]) -> None:
        self._block, self._states, self._call = block, states, call
        attention = block.self_attn
        self._maps = (attention.q_proj, attention.k_proj, attention.v_proj)
        self._scaled = block.input_layernorm.weight
        self._own = [self._project(states, part) for part in self._maps]
        self._square = states.square().sum(-1)
        self._cos, self._sin = call["position_embeddings"]

    def run(self, offsets: Tensor) -> Tensor:
        """Return the block's output under each offset [v, d]: [v b, t, d]."""
        rows = len(offsets) * len(self._states)
        scale = self._inverse_rms(offsets)[..., None, None]
        queries, keys, values = (
            self._finished(scale, own[None], part, offsets).flatten(0, 1)
            for own, part in zip(self._own, self._maps, strict=True)
        )
        queries, keys = self._normed(queries, keys)
        cos, sin = self._cos[:, :, None], self._sin[:, :, None]
        heads = (rotate(queries, cos, sin), rotate(keys, cos, sin), values)
        queries, keys, values = (part.transpose(1, 2) for part in heads)
        mask = self._call.get("attention_mask")
        causal = mask is None and self._states.shape[1] > 1
        mixed = attend(self._block.self_attn, queries, keys, values, mask, is_causal=causal)
        steered = (self._states[None] + offsets[:, None, None]).view(rows, *self._states.shape[1:])
        return mlp(self._block, add_product(steered, mixed, self._block.self_attn.o_proj))

    def some(self, offsets: Tensor, positions: Tensor) -> Tensor:
        """Return the block's output under each offset [v, d], at positions [b, q]: [v b, q, d]."""
        positions = positions.to(self._states.device)
        rows = torch.arange(len(self._states), device=positions.device)[:, None]
        mixed = (
            self._some_factored(offsets, rows, positions)
            if self._factors
            else self._some_whole(offsets, rows, positions)
        )
        steered = (self._states[rows, positions] + offsets[:, None, None]).flatten(0, 1)
        return mlp(self._block, add_product(steered, mixed, self._block.self_attn.o_proj))

    @functools.cached_property
    def _factors(self) -> bool:
        """Whether a key is its two parts over a number: nothing comes between projection and rotation."""
        half = self._cos.shape[-1] // 2
        return (
            not hasattr(self._block.self_attn, "q_norm")
            and self._maps[1].bias is None
            and self._maps[2].bias is None
            and torch.equal(self._cos[..., :half], self._cos[..., half:])
            and torch.equal(self._sin[..., :half], self._sin[..., half:])
        )

    def _project(self, states: Tensor, part: Any) -> Tensor:
        """W g x, without bias: [..., d] -> [..., heads, head size]."""
        projected = functional.linear(states * self._scaled, part.weight)
        return projected.view(*projected.shape[:-1], -1, self._block.self_attn.head_dim)

    def _inverse_rms(self, offsets: Tensor) -> Tensor:
        """1 / rms of states + offset: [v, b, t]."""
        inner = torch.einsum("btd,vd->vbt", self._states, offsets)
        square = self._square + 2 * inner + offsets.square().sum(-1)[:, None, None]
        mean = square.clamp_min_(0).div_(self._states.shape[-1])
        return mean.add_(self._block.input_layernorm.variance_epsilon).rsqrt_()

    def _finished(self, scale: Tensor, own: Tensor, part: Any, offsets: Tensor) -> Tensor:
        """(W h + W o) / rms + bias: own [1, b, t, heads, size] -> [v, b, t, heads, size]."""
        scaled = (own + self._project(offsets, part)[:, None, None]).mul_(scale)
        return scaled if part.bias is None else scaled.add_(part.bias.view(own.shape[-2:]))

    def _normed(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        attention = self._block.self_attn
        if not hasattr(attention, "q_norm"):
            return queries, keys
        return attention.q_norm(queries), attention.k_norm(keys)

    def _queries(self, offsets: Tensor, scale: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """Return queries of the tokens at `positions`, before norm and rotation: [v b, q, heads, size]."""
        chosen = scale[:, rows, positions][..., None, None]
        return self._finished(chosen, self._own[0][rows, positions][None], self._maps[0], offsets).flatten(
            0, 1
        )

    def _some_whole(self, offsets: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """Attention of the tokens at `positions`, every key and value written out: [v b, q, heads size]."""
        scale = self._inverse_rms(offsets)
        keys, values = (
            self._finished(scale[..., None, None], own[None], part, offsets).flatten(0, 1)
            for own, part in zip(self._own[1:], self._maps[1:], strict=True)
        )
        queries, keys = self._normed(self._queries(offsets, scale, rows, positions), keys)
        copies = len(offsets)
        cos, sin = (part[0, positions][:, :, None].repeat(copies, 1, 1, 1) for part in (self._cos, self._sin))
        heads = (
            rotate(queries, cos, sin),
            rotate(keys, self._cos[:, :, None], self._sin[:, :, None]),
            values,
        )
        queries, keys, values = (part.transpose(1, 2) for part in heads)
        visible = seen(self._call.get("attention_mask"), positions.repeat(copies, 1), self._states.shape[1])
        return attend(self._block.self_attn, queries, keys, values, visible, is_causal=False)

    def _some_factored(self, offsets: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """Return the same, from the parts of keys and values: [v b, q, heads size].

        A query's score with the offset's key at position j is q . R_j k = sum_f cos_jf (q1 k1 + q2 k2)_f +
        sin_jf (q2 k1 - q1 k2)_f over the rotation's frequencies f, halves 1 and 2 of either vector.
        """
        copies, (batch, length, _) = len(offsets), self._states.shape
        read, size = positions.shape[1], self._block.self_attn.head_dim
        groups, half = self._own[1].shape[2], size // 2
        scale = self._inverse_rms(offsets)
        cos, sin = (part[0, positions][:, :, None].repeat(copies, 1, 1, 1) for part in (self._cos, self._sin))
        queries = rotate(self._queries(offsets, scale, rows, positions), cos, sin)
        queries = queries.view(copies, batch, read, groups, -1, size)
        added = self._project(offsets, self._maps[1])[:, None, None, :, None]
        (q1, q2), (k1, k2) = queries.split(half, -1), added.split(half, -1)
        parts = torch.cat([queries, q1 * k1 + q2 * k2, q2 * k1 - q1 * k2], -1)
        parts = parts.permute(1, 3, 0, 2, 4, 5).flatten(2, 4)  # [b, groups, v q heads, 2 size]
        scores = (parts @ self._keys.transpose(2, 3)).view(batch, groups, copies, read, -1, length)
        own_scale = scale.transpose(0, 1)[:, None, :, None, None]  # [b, 1, v, 1, 1, t]
        weights = scores.mul_(own_scale * self._block.self_attn.scaling).add_(self._hidden(positions))
        weights = weights.softmax(-1).mul_(own_scale)
        values = self._own[2].transpose(1, 2)  # [b, groups, t, size]
        mixed = (weights.flatten(2, 4) @ values).view(batch, groups, copies, read, -1, size)
        moved = self._project(offsets, self._maps[2]).transpose(0, 1)[None, :, :, None, None]
        mixed = mixed.addcmul_(weights.sum(-1, keepdim=True), moved)
        return mixed.permute(2, 0, 3, 1, 4, 5).reshape(copies * batch, read, -1)

    @functools.cached_property
    def _keys(self) -> Tensor:
        """Each position's own rotated key, then its cosines and sines: [b, groups, t, 2 size]."""
        keys = rotate(self._own[1], self._cos[:, :, None], self._sin[:, :, None]).transpose(1, 2)
        half = keys.shape[-1] // 2
        table = torch.cat([self._cos[..., :half], self._sin[..., :half]], -1)[:, None]
        return torch.cat([keys, table.expand(keys.shape)], -1)

    def _hidden(self, positions: Tensor) -> Tensor:
        """Additive mask of the tokens at `positions`: [b, 1, 1, q, 1, t]; `LEAST` hides a token."""
        visible = seen(self._call.get("attention_mask"), positions, self._states.shape[1])
        if visible.dtype == torch.bool:
            visible = torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, LEAST)
        return visible[:, :, None, :, None].to(self._states.dtype)


@torch.inference_mode()
def fits(block: Any, call: dict[str, Any], states: Tensor) -> bool:
    """Whether what is computed here is what the block gives, on `states` [b, t, d] in two parts."""
    if states.dtype != torch.float32:
        return True  # it is not used there
    offsets = torch.stack([states[0, 0], -0.5 * states[-1, -1]])
    moved = (states[None] + offsets[:, None, None]).flatten(0, 1)
    expected = block(moved, **call)
    positions = states.shape[1] - 1 - torch.arange(len(states), device=states.device)[:, None] % 2
    rows, repeated = (
        torch.arange(len(moved), device=states.device)[:, None],
        positions.repeat(len(offsets), 1),
    )
    shifted = ShiftedLlama(block, states, call)
    some, wanted = shifted.some(offsets, positions), expected[rows, repeated]
    return same(shifted.run(offsets), expected, moved) and same(some, wanted, moved[rows, repeated])

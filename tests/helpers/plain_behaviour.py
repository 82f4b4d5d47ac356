"""Behaviour share computed plainly, for tests: transformers' own forward with a hook, numpy, one text at a
time.

It shares no code with lrt_bench and knows none of its tricks: no cache, no batches, no resumed layers.
Distances are by their definitions in float64.
"""

from __future__ import annotations

import numpy as np
import torch


def blocks_of(module):
    """The decoder blocks of a Llama-like or a GPT-NeoX-like model."""
    inner = module.model if hasattr(module, "model") else module.gpt_neox
    return inner.layers


def forward(module, ids, layer, offset, steered):
    """Logits [t, vocabulary] and states after `layer` [t, d], `offset` added where `steered` [t]."""
    kept = {}

    def steer(block, arguments, output):
        states = output[0] if isinstance(output, tuple) else output
        kept["states"] = states[0].clone()
        added = torch.tensor(steered, dtype=states.dtype)[None, :, None] * offset.to(states.dtype)
        moved = states + added
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    handle = blocks_of(module)[layer - 1].register_forward_hook(steer)
    try:
        with torch.inference_mode():
            logits = module(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    finally:
        handle.remove()
    return logits.double().numpy(), kept["states"].double().numpy()


def tokenized(tokenizer, text):
    """A text's ids, the beginning-of-text token first where the tokenizer has one."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    begin = tokenizer.bos_token_id
    return ids if begin is None else [begin, *ids]


def concept_vector(module, tokenizer, pairs, layer, which=None):
    """Difference of the mean last states of positive and negative texts [d]; of some of the pairs only."""
    width = module.config.hidden_size
    nothing = torch.zeros(width)
    sides = []
    for side in ("positive", "negative"):
        states = []
        for index, pair in enumerate(pairs):
            if which is not None and index not in which:
                continue
            ids = tokenized(tokenizer, getattr(pair, side))
            states.append(forward(module, ids, layer, nothing, [False] * len(ids))[1][-1])
        sides.append(np.mean(states, axis=0))
    return sides[0] - sides[1]


def mask(positions, prompt, length):
    """Which tokens are steered: all, the prompt's but its last, or from the prompt's last on."""
    places = np.arange(length)
    return {"all": places >= 0, "but-last": places < prompt - 1, "last": places >= prompt - 1}[positions]


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def divergence(kind, p, q):
    """Of log-probabilities [t, vocabulary]: [t]."""
    a, b = np.exp(p), np.exp(q)
    if kind == "kullback-leibler":
        return (a * (p - q)).sum(-1)
    if kind == "hellinger":
        return 0.5 * np.square(np.sqrt(a) - np.sqrt(b)).sum(-1)
    if kind == "jensen-shannon":
        m = np.log((a + b) / 2)
        return 0.5 * (a * (p - m)).sum(-1) + 0.5 * (b * (q - m)).sum(-1)
    shift = q - p
    return (a * np.square(shift - (a * shift).sum(-1, keepdims=True))).sum(-1)


def written(module, tokenizer, prompt, layer, offset, tokens, positions):
    """Greedy tokens after a prompt, by a whole forward for each."""
    ids = list(prompt)
    for _ in range(tokens):
        steered = mask(positions, len(prompt), len(ids))
        following = int(forward(module, ids, layer, offset, steered)[0][-1].argmax())
        if following == tokenizer.eos_token_id:
            break
        ids.append(following)
    return ids


def plain_divergences(  # noqa: PLR0913 (a flat restatement of the definition)
    module, tokenizer, prompts, layer, native, row, lengths, tokens, kind, positions="all"
):
    """D(native, row) and D(native, unsteered), [p, lengths, tokens + 1] each."""
    shape = (len(prompts), len(lengths), tokens + 1)
    of_row, of_nothing = np.zeros(shape), np.zeros(shape)
    for p, prompt in enumerate(prompts):
        for a, length in enumerate(lengths):
            steer = torch.from_numpy(length * native / np.linalg.norm(native))
            ids = written(module, tokenizer, prompt, layer, steer, tokens, positions)
            steered = mask(positions, len(prompt), len(ids))
            norm = np.linalg.norm(row)
            other = torch.from_numpy(length * row / norm if norm else row)
            read = slice(len(prompt) - 1, len(ids))
            reference, rows, bare = (
                log_softmax(forward(module, ids, layer, offset, steered)[0][read])
                for offset in (steer, other, torch.zeros_like(steer))
            )
            of_row[p, a, : len(reference)] = divergence(kind, reference, rows)
            of_nothing[p, a, : len(reference)] = divergence(kind, reference, bare)
    return of_row, of_nothing

"""What is assumed of a model, measured on a few tokens.

Every assumption by which a model is run in parts is checked here against the model run whole: that its
weights are finite, that its attention is causal, that padding changes no real token, that cached decoding
gives the logits of whole forwards.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.models.base import Frame, LanguageModel
from lrt_bench.models.decoding import EVER, Decoding
from lrt_bench.models.model_code import ModelError

LOG = logging.getLogger("lrt_bench")
TOLERANCE = 2e-3  # float32; relative to the spread of the logits or states. 16-bit types get TOLERANCE_16
TOLERANCE_16 = 5e-2
LENGTH, PADDING = 8, 5  # tokens of a probe, and of what is put behind it
STEPS = 4  # of cached decoding
LONGEST_WINDOW = 256  # tokens; a wider attention window is not crossed by a probe
LONG = 256  # tokens of the longer text beside which a short one is read, where nothing says more


def tolerance(dtype: torch.dtype) -> float:
    """How far two ways to compute the same may lie apart, relative to the spread of the values."""
    return TOLERANCE if dtype == torch.float32 else TOLERANCE_16


def close(values: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    """Whether two tensors are the same but for rounding in `dtype`."""
    expected = expected.float()
    gap = (values.to(expected.device).float() - expected).abs().max()
    return bool(gap <= tolerance(dtype) * expected.std().clamp_min(1e-6))


def probe_ids(vocabulary: int, rows: int, length: int, seed: int = 0) -> Tensor:
    """Random token ids [rows, length]."""
    return torch.randint(0, vocabulary, (rows, length), generator=torch.Generator().manual_seed(seed))


def check_weights(name: str, module: Any, dtype: torch.dtype) -> None:
    """Raise UserError naming the weights that are NaN or infinite."""
    broken = []
    for key, weight in module.named_parameters():
        if weight.is_meta or not weight.is_floating_point() or bool(weight.detach().isfinite().all()):
            continue
        broken.append((key, bool(weight.isnan().any())))
    if not broken:
        return
    keys = _some([key for key, _ in broken])
    if any(holds_nan for _, holds_nan in broken):
        raise UserError(f"{name}: {keys} holds NaN: the weights are damaged, fetch or save them again")
    if dtype == torch.float32:
        raise UserError(f"{name}: {keys} is infinite: the weights are damaged, fetch or save them again")
    raise UserError(f"{name}: {keys} is infinite in {_short(dtype)}: give --dtype float32, or other weights")


def check_finite(model: LanguageModel, values: Tensor, what: str) -> None:
    """Raise UserError where `values`, which the model gave, are not finite.

    what : "its logits", ...
    """
    if not bool(values.isfinite().all()):
        raise UserError(
            f"{model.name}: {what} are not finite in {_short(model.dtype)}: {_other(model.dtype)}"
        )


def overflow_error(model: LanguageModel, ids: Tensor) -> UserError:
    """Return the error for logits of `ids` [b, t] that are not finite: the first block that is to blame."""
    where = "its logits"
    try:
        states = model.states(ids, range(1, model.n_layers + 1))
        broken = [layer for layer, read in states.items() if not bool(read.isfinite().all())]
        where = f"its states after block {min(broken)}" if broken else where
    except ModelError:
        pass  # it cannot be run in parts either; its logits are what is known
    kind = _short(model.dtype)
    return UserError(f"{model.name}: {where} are not finite in {kind}: {_other(model.dtype)}")


def check_causal(model: LanguageModel, vocabulary: int) -> None:
    """Raise UserError where a token's state depends on the tokens after it."""
    ids = probe_ids(vocabulary, 1, LENGTH)
    tails = (probe_ids(vocabulary, 1, PADDING, seed) for seed in (1, 2))
    one, other = (_final(model, torch.cat([ids, tail], 1))[0, :LENGTH] for tail in tails)
    gaps = (one - other).abs().amax(-1)
    if int((gaps > tolerance(model.dtype) * one.std()).sum()) * 2 >= LENGTH:
        raise UserError(
            f"{model.name}: a token's state depends on later tokens (attention in both directions): "
            "give a causal decoder"
        )


def depends_on_length(model: LanguageModel, vocabulary: int, named: int) -> bool:
    """Whether a text's states change when it is padded, or read beside a longer one.

    named : a length beyond which the configuration declares other rotary angles; 0 where it declares none.
    """
    ids = probe_ids(vocabulary, 1, LENGTH)
    alone = _final(model, ids)
    padded = torch.cat([ids, torch.zeros(1, PADDING, dtype=torch.long)], 1)
    beside = torch.cat([padded, probe_ids(vocabulary, 1, LENGTH + PADDING, 3)])
    same = all(close(_final(model, rows)[:1, :LENGTH], alone, model.dtype) for rows in (padded, beside))
    return not same or not _frames_agree(model, min(model.context, named + 1 if named else LONG))


def _frames_agree(model: LanguageModel, length: int) -> bool:
    """Whether blocks are handed the same angles for the first tokens of a long text as for a short one."""
    short = min(LENGTH, length)
    for one, other in zip(model.frame(short).calls, model.frame(length).calls, strict=True):
        for key in (one.keys() & other.keys()) - {"attention_mask"}:
            for a, b in zip(_tensors(one[key]), _tensors(other[key]), strict=False):
                if not a.is_floating_point() or a.ndim != b.ndim:
                    continue
                first = b[tuple(slice(0, size) for size in a.shape)]
                if first.shape == a.shape and not torch.allclose(first, a, atol=1e-5, rtol=1e-4):
                    return False
    return True


def _tensors(value: Any) -> list[Tensor]:
    values = value if isinstance(value, tuple | list) else [value]
    return [part for part in values if isinstance(part, Tensor)]


@torch.inference_mode()
def cache_reach(model: LanguageModel, windows: Collection[int]) -> int:
    """Measure how long a row may grow while cached steps give the logits of whole forwards, in tokens.

    A few steps are compared, beyond every short attention window too. A long window is not crossed: rows that
    grow past it are not in reach.

    Parameters
    ----------
    windows : tokens of the attention windows, and of the chunks that attention is cut into.

    Returns
    -------
    int
        0 where the steps differ, `EVER` where no length is known to matter.
    """
    if model.one_length:
        return 0
    crossed = [size for size in windows if size <= LONGEST_WINDOW]
    length = max(crossed) + 2 if crossed else LENGTH
    if length + STEPS > model.context:
        length = max(1, model.context - STEPS)
    ids = probe_ids(len(model.head.weight), 2, length + STEPS, 4)
    whole = model.head.all(model.finish(_final(model, ids)[:, length - 1 :]))
    try:
        cached = Decoding(model, reach=EVER)
        for step in range(STEPS):
            read = ids[:, :length] if step == 0 else ids[:, length + step - 1 : length + step]
            if not close(model.head.all(cached.next(read)), whole[:, step], model.dtype):
                LOG.info("%s: cached decoding is not exact: it is run whole", model.name)
                return 0
    except ModelError as error:
        LOG.info("%s: decoding without a cache: %s", model.name, error)
        return 0
    return min((size for size in windows if size > LONGEST_WINDOW), default=EVER)


def _final(model: LanguageModel, ids: Tensor) -> Tensor:
    return model.states(ids, [model.n_layers])[model.n_layers].float()


def batch_sized(one: Frame, two: Frame) -> set[str]:
    """Names of the tensors that a block is handed twice as large for two rows as for one."""
    names = set()
    for single, double in zip(one.calls, two.calls, strict=True):
        for key, value in single.items():
            other = double.get(key)
            if not isinstance(value, Tensor) or not isinstance(other, Tensor) or not value.ndim:
                continue
            if len(other) == 2 * len(value):
                names.add(key)
    return names


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _other(dtype: torch.dtype) -> str:
    if dtype == torch.float16:
        return "its numbers overflow; give --dtype bfloat16 or float32"
    if dtype == torch.float32:
        return "its numbers overflow even there: these weights cannot be used"
    return "its numbers overflow; give --dtype float32"


def _some(names: list[str], most: int = 4) -> str:
    """Return a few names, and how many there are besides."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")

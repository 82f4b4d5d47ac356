"""A mapping of a user's own, tried on random states before any model is run.

A fault in its code is told in seconds, not after the pass over a corpus.
"""

from __future__ import annotations

import json
from collections.abc import Mapping as Table
from pathlib import Path

import torch

from lrt_bench.data.corpus import Coverage
from lrt_bench.data.suites import PairSpec
from lrt_bench.errors import UserError
from lrt_bench.evaluation.rows import MappingRow
from lrt_bench.mappings import BUILT_IN
from lrt_bench.mappings.moments import Moments
from lrt_bench.models.sample import Sample
from lrt_bench.models.states import PairedStates
from lrt_bench.nano.family import FAMILY

WIDEST = 8192  # wider sites are not tried: a closed form costs the cube of the width
ROWS = 32  # states of the one call
SEED = 20


def check_mapping(row: MappingRow, sizes: tuple[int, int] | None) -> None:
    """Fit a mapping that is no built-in one on random states of a pair's widths, and call it once.

    Parameters
    ----------
    sizes : (int, int) or None
        Widths of the source's and of the target's site. Where they are not known yet, the mapping is only
        made: it may be a fixed one, of the true widths alone.

    Raises
    ------
    UserError
        Where it cannot be made or fitted, where it gives other than [n, d_target] or [d_target], or where
        what it gives is not finite.
    """
    if row.name in BUILT_IN:
        return
    if sizes is None:
        row.made(SEED)
        return
    states = random_states(*sizes)
    x = states.validation[0][:ROWS]
    try:
        mapping = row.fitted(states, SEED)
        row.check_output(mapping, x, states.d_target)
        row.check_transfer(mapping, x, states.d_target)
    except UserError as error:
        raise UserError(f"{error} (tried on random states, {sizes[0]} to {sizes[1]} wide)") from error


def widths(pair: PairSpec, stand_ins: Table[str, str]) -> tuple[int, int] | None:
    """Find the widths of a pair's sites without loading a model; None where that cannot be done."""
    source, target = _width(pair.source, stand_ins), _width(pair.target, stand_ins)
    if source is None or target is None or pair.source_sae or pair.source_layers == "all":
        return None
    source *= len(pair.source_layers) if pair.source_layers else 1
    return (source, target) if max(source, target) <= WIDEST else None


def _width(spec: str, stand_ins: Table[str, str]) -> int | None:
    """Return the width of a family member or of a model in a folder; None where it can't be read."""
    if (size := FAMILY.get(spec.removeprefix("nano/"))) and spec.startswith("nano/"):
        return size.width
    config = Path(stand_ins.get(spec.partition("@")[0], spec)).expanduser() / "config.json"
    try:
        width = json.loads(config.read_text(encoding="utf-8")).get("hidden_size")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None  # whatever is wrong with it, the loader will tell
    return width if isinstance(width, int) and 0 < width < 1 << 20 else None


def random_states(d_source: int, d_target: int) -> PairedStates:
    """Make states of two sites that a noisy linear map relates: twice as many as either is wide, and more."""
    generator = torch.Generator().manual_seed(SEED)
    count = 2 * max(d_source, d_target) + 64
    x = torch.randn(count + ROWS, d_source, generator=generator)
    weight = torch.randn(d_source, d_target, generator=generator) / d_source**0.5
    y = x @ weight + 0.1 * torch.randn(len(x), d_target, generator=generator)
    fit = x[:count], y[:count]
    return PairedStates(
        moments=Moments.of(*fit),
        sample=Sample.of(fit[0].numpy(), fit[1].numpy()),
        validation=(x[count:], y[count:]),
        validation_text=[],
        tokens=count,
        coverage=Coverage(count, count, count),
        digest="0" * 64,
        seconds=0.0,
    )

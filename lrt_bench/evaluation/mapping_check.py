"""A mapping of a user's own, tried on random states before any model is run.

A fault in its code is told in seconds, not after the pass over a corpus.
"""

from __future__ import annotations

from collections.abc import Mapping as Table
from pathlib import Path
from typing import NamedTuple

import torch

from lrt_bench.data.corpus import Coverage
from lrt_bench.data.suites import PairSpec
from lrt_bench.errors import UserError
from lrt_bench.evaluation.rows import MappingRow
from lrt_bench.files.hub import AbsentError
from lrt_bench.files.names import PLANTED
from lrt_bench.mappings import BUILT_IN
from lrt_bench.mappings.moments import Moments
from lrt_bench.models.checks.checkpoint import quiet
from lrt_bench.models.decoders.planted import planted_width
from lrt_bench.models.loading import locate
from lrt_bench.models.sample import Sample
from lrt_bench.models.states import PairedStates
from lrt_bench.nano.family import FAMILY

WIDEST = 8192  # wider sites are not tried: a closed form costs the cube of the width
ROWS = 32  # states of the one call
SEED = 20
MOST = 1 << 20  # of width and of layers; what is beyond is no model's


def check_mapping(row: MappingRow, sizes: tuple[int, int] | None) -> None:
    """Fit a mapping that is no built-in one on random states of a pair's widths, and call it once.

    Parameters
    ----------
    sizes : (int, int) or None
        Widths of the source's and of the target's site. Where they are not known yet, the mapping is only
        made: it may be a fixed one, of the true widths alone. So is one that runs the target, which random
        states have none of.

    Raises
    ------
    UserError
        Where it cannot be made or fitted, where it gives other than [n, d_target] or [d_target], or where
        what it gives is not finite.
    """
    if row.name in BUILT_IN:
        return
    if sizes is None or row.runs_target:
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
    """Find the widths of a pair's sites without loading a model; None where that cannot be done.

    Those of a sparse autoencoder's features are not known before it is loaded.
    """
    source, target = (declared_size(spec, stand_ins) for spec in (pair.source, pair.target))
    if source is None or target is None or pair.source_sae:
        return None
    layers = source.layers if pair.source_layers == "all" else len(pair.source_layers or (1,))
    sizes = source.width * layers, target.width
    return sizes if max(sizes) <= WIDEST else None


class Size(NamedTuple):
    """Width of the residual stream, and number of decoder blocks."""

    width: int
    layers: int


def declared_size(spec: str, stand_ins: Table[str, str]) -> Size | None:
    """Return what a model's configuration declares; None if it cannot be read, as its loader will tell.

    Of a model on the Hub the configuration alone is fetched. Neither its code is run nor a GGUF file read.

    Parameters
    ----------
    stand_ins : {Hub id: folder or file} that take the place of models.
    """
    if planted := PLANTED.fullmatch(spec):
        base = declared_size(planted["base"], stand_ins)
        return base and Size(planted_width(planted["kind"], base.width), base.layers)
    if member := FAMILY.get(spec.removeprefix("nano/")) if spec.startswith("nano/") else None:
        return Size(member.width, member.layers)
    spec = stand_ins.get(spec.partition("@")[0], spec)
    if Path(spec).suffix.lower() == ".gguf":
        return None
    return _read(spec)


def _read(spec: str) -> Size | None:
    try:
        source, where = locate(spec)
    except AbsentError:  # the engine's workers may reach more than this machine
        return None
    from transformers import AutoConfig

    try:
        with quiet():
            config = AutoConfig.from_pretrained(source, trust_remote_code=False, **where).get_text_config(
                decoder=True
            )
        size = Size(config.hidden_size, config.num_hidden_layers)
    except Exception:  # a strange configuration makes transformers raise whatever its classes raise
        return None
    return size if all(type(number) is int and 0 < number < MOST for number in size) else None


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

"""Maps from every source layer to every target layer, from one pass over the corpus.

The layers of a side stand side by side (`sites.ManyLayers`), so one `Moments` holds every pair's blocks.
With X = source layers x width and Y the same of the target it takes 8 (X + Y)^2 bytes, three times at its
peak, and as many multiplications a token: all of 3 x 96 and 6 x 224 is 64 MB, but large models want every
k-th layer. Beside it stand the validation states, 4 (X + Y) bytes a token.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.evaluation.fidelity import unexplained_shares
from lrt_bench.files.whole import write_whole
from lrt_bench.mappings import FixedLinear
from lrt_bench.mappings.base import Spectrum, squared_error
from lrt_bench.mappings.moments import Moments, spread
from lrt_bench.mappings.ridge import STRENGTHS
from lrt_bench.models.sites import ManyLayers
from lrt_bench.models.states import PairedStates


@dataclass(frozen=True)
class LayerMap:
    """Ridge from one source layer to one target layer.

    Attributes
    ----------
    weight
        [d_target, d_source], float64.
    strength
        Of ridge, chosen on validation states.
    fvu, fvu_without_top8
        FVU on validation states, over all dimensions and without the eight widest.
    """

    weight: Tensor
    strength: float
    fvu: float
    fvu_without_top8: float


@dataclass(frozen=True)
class LayerMaps:
    """All that the pass over the corpus leaves: maps by (source layer, target layer), units of alpha."""

    maps: dict[tuple[int, int], LayerMap]
    spreads: dict[int, float]
    fit_tokens: int
    validation_tokens: int
    coverage: tuple[float, float]
    corpus_digest: str
    seconds: float


def block(moments: Moments, x: slice, y: slice) -> Moments:
    """Return the moments of some source and some target dimensions, as views."""
    return Moments(
        moments.n, moments.mean_x[x], moments.mean_y[y],
        moments.s_xx[x, x], moments.s_xy[x, y], moments.s_yy[y, y],
    )  # fmt: skip


def fit_layers(source: ManyLayers, target: ManyLayers, states: PairedStates) -> LayerMaps:
    """Ridge between all layers of two sites whose states stand side by side.

    One eigendecomposition a source layer; strengths are chosen on validation states, as `Ridge` does.
    """
    held_out = Moments.of(*states.validation)
    columns = {layer: target.columns(layer) for layer in target.layers}
    maps = {}
    for layer in source.layers:
        rows = source.columns(layer)
        for target_layer, (weight, strength) in _ridges(states.moments, held_out, rows, columns).items():
            bias = states.moments.mean_y[columns[target_layer]] - weight @ states.moments.mean_x[rows]
            x, y = states.validation
            mapped = FixedLinear(weight, bias)(x[:, rows])
            every, _, without_top8 = unexplained_shares(mapped, y[:, columns[target_layer]])
            maps[layer, target_layer] = LayerMap(weight, strength, every, without_top8)
    variance = states.moments.variance_y
    return LayerMaps(
        maps,
        {layer: spread(variance[columns[layer]]) for layer in target.layers},
        states.tokens,
        len(states.validation[0]),
        (states.coverage.source_share, states.coverage.target_share),
        states.digest,
        states.seconds,
    )


def _ridges(
    moments: Moments, held_out: Moments, rows: slice, columns: dict[int, slice]
) -> dict[int, tuple[Tensor, float]]:
    """Each target layer's weight and strength of least validation error, from one source layer."""
    spectrum = Spectrum(block(moments, rows, slice(None)))
    best: dict[int, tuple[float, Tensor, float]] = {}
    for strength in STRENGTHS:
        every = spectrum.weight(strength)
        for layer, of_layer in columns.items():
            weight = every[of_layer]
            bias = moments.mean_y[of_layer] - weight @ moments.mean_x[rows]
            error = squared_error(block(held_out, rows, of_layer), weight, bias)
            if layer not in best or error < best[layer][0]:
                best[layer] = error, weight.contiguous(), strength
    return {layer: (weight, strength) for layer, (_, weight, strength) in best.items()}


def save_maps(path: Path, maps: LayerMaps) -> None:
    """Write the pass's outcome whole."""
    from safetensors.torch import save

    tensors = {f"{x}-{y}": layer_map.weight for (x, y), layer_map in maps.maps.items()}
    numbers = [[*layers, m.strength, m.fvu, m.fvu_without_top8] for layers, m in maps.maps.items()]
    rest = {**vars(maps), "maps": numbers, "spreads": list(maps.spreads.items())}
    write_whole(path, save(tensors, metadata={"layers": json.dumps(rest)}))


def load_maps(path: Path) -> LayerMaps | None:
    """Read what `save_maps` wrote; None where it is not there."""
    from safetensors import safe_open

    if not path.is_file():
        return None
    with safe_open(str(path), "pt") as file:
        rest = json.loads(file.metadata()["layers"])
        maps = {(x, y): LayerMap(file.get_tensor(f"{x}-{y}"), *numbers) for x, y, *numbers in rest["maps"]}
    coverage = (rest["coverage"][0], rest["coverage"][1])
    return LayerMaps(**{**rest, "maps": maps, "spreads": dict(rest["spreads"]), "coverage": coverage})


def check_memory(width: int) -> None:
    """Refuse moments that this machine can't hold, before any text is read."""
    wanted = 3 * 8 * width**2
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if wanted > memory:
        raise UserError(
            f"moments of {width} dimensions side by side take {wanted / 1e9:.0f} GB at their peak, and this "
            f"machine has {memory / 1e9:.0f}: sweep fewer layers (--every, --source-layers, --target-layers)"
        )

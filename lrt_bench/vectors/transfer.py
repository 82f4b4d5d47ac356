"""A steering vector carried over a fitted map."""

from __future__ import annotations

from typing import Literal

import torch

from lrt_bench._version import __version__
from lrt_bench.errors import UserError
from lrt_bench.steering.concepts import ConceptStates
from lrt_bench.steering.sweep import unit
from lrt_bench.vectors.fitted_map import FittedMap
from lrt_bench.vectors.vector import SteeringVector

Scale = Literal["spread", "map"]
CARD_FIELDS = ("mapping", "rule", "corpus", "corpus_digest", "fit_tokens", "r2", "r2_without_top8", "seed")


def carry(vector: SteeringVector, fitted: FittedMap, scale: Scale = "spread") -> SteeringVector:
    """Carry a vector into the map's target: its direction at the map's source layer.

    A vector without contrast states is mapped at unit length, and given its length afterwards: a linear map
    does not depend on it, and float32 holds its square.

    Parameters
    ----------
    vector : has a direction at the map's source layer.
    fitted : a fitted map.
    scale : ``spread`` keeps the length in spreads, ``map`` leaves the one that the map gives.

    Raises
    ------
    UserError
        Where the vector is not of the source's layer and width, where the map is not linear and the vector
        has no contrast states, and where the map sends it to nothing.
    """
    source, target = fitted.card.source, fitted.card.target
    v, norm = vector.at(source.layer), vector.norm(source.layer)
    if len(v) != source.width:
        raise UserError(f"the vector is {len(v)} wide, {source.model} is {source.width}: not its vector")
    states, mapped_norm = vector.states, norm
    if states is None:
        if not fitted.linear:
            raise UserError(
                f"mapping {fitted.card.mapping} is not linear: it carries states, not vectors; make the "
                "vector of its texts (concept_vector, --concept), or give a linear mapping"
            )
        states, mapped_norm = ConceptStates(unit(v)[None], torch.zeros_like(v)[None]), 1.0
    mapped = fitted.mapping.transfer(states.positive, states.negative).double().cpu()
    if not bool(torch.isfinite(mapped).all()) or not bool(mapped.any()):
        raise UserError(f"mapping {fitted.card.mapping}: carries this vector to nothing, or to NaN")
    gain = float(mapped.norm()) / mapped_norm
    ratio = gain * source.spread / target.spread
    length = norm / source.spread * target.spread if scale == "spread" else gain * norm
    return SteeringVector(
        {target.layer: unit(mapped) * length}, target.hint, vector.concept, {target.layer: target.spread},
        _provenance(vector, fitted, ratio, scale),
    )  # fmt: skip


def _provenance(vector: SteeringVector, fitted: FittedMap, ratio: float, scale: Scale) -> dict[str, object]:
    """How a carried vector was made; norm_ratio is its length in spreads, as the map gave it, over v's."""
    card = fitted.card
    sites = {
        name: {"model": side.model, "digest": side.digest, "layer": side.layer, "spread": side.spread}
        for name, side in (("source", card.source), ("target", card.target))
    }
    made = {"made_by": f"lrt-bench {__version__}", "method": "transfer", "norm_ratio": ratio, "scale": scale}
    about = {name: getattr(card, name) for name in CARD_FIELDS} | {"digest": fitted.digest}
    return {**made, **sites, "map": about, "of": dict(vector.provenance)}

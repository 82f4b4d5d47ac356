"""A forecast of how well a transferred vector steers, before the target shows its concept in behaviour.

The forecast reads the user's corpus, what the map does to the vector, and how the built-in concepts transfer
on the same pair; the embedded family says how much each of these tells (`forecast_model`), and how good the
forecast is (`forecast_check`). It says how near the carried vector comes to the target's own of the same
concept; not whether the concept can be steered there at all, nor whether the vector steers the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrt_bench.data.tasks import ChoiceTask, ContrastPair
from lrt_bench.errors import UserError
from lrt_bench.evaluation.fidelity import reachable_share, state_fidelity
from lrt_bench.mappings import LinearMapping, Mapping
from lrt_bench.models.sites import Site
from lrt_bench.models.states import PairedStates
from lrt_bench.steering.concepts import concept_states, readable
from lrt_bench.vectors.forecast.features import NeutralText, VectorFeatures, vector_features
from lrt_bench.vectors.forecast.known_concepts import TRANSFERS, KnownConcept, bench_of, known_concepts
from lrt_bench.vectors.forecast.mixed_model import (
    FEATURES,
    FEWEST,
    LEVEL,
    MeasuredTransfer,
    Prediction,
    family_points,
    predict,
)

SAME = 0.9  # a built-in concept with this cosine to the user's vector is left out: it would be the answer
VERDICTS = {
    "transfers": f"the whole interval is at least {TRANSFERS}",
    "likely transfers": f"the forecast is at least {TRANSFERS}, its interval reaches below",
    "doubtful": f"the forecast is below {TRANSFERS}, its interval reaches above",
    "does not transfer": f"the whole interval is below {TRANSFERS}",
    "unknown": "too few built-in concepts steer the target to judge by",
}


@dataclass(frozen=True)
class Basis:
    """The known concepts that a forecast leans on, and how they are measured.

    tasks : the known concepts; those of `known_suite` if empty.
    leave_out : names of known concepts not to look at, besides those that are nearly the vector itself.
    seed : of the random directions that they are compared with.
    batch_size : rows of a forward.
    """

    tasks: tuple[ChoiceTask, ...] = ()
    leave_out: tuple[str, ...] = ()
    seed: int = 0
    batch_size: int = 64


@dataclass(frozen=True)
class KnownForecast(KnownConcept):
    """A built-in concept, and what the same forecast says of it.

    cosine : with the user's vector, at the source site.
    explained, variance : as of the user's vector, `VectorFeatures`.
    forecast : from the other concepts' points alone; None where it was not steerable or was left out.
    """

    cosine: float
    explained: float
    variance: float
    forecast: float | None = None


@dataclass(frozen=True)
class Forecast:
    """What is said of a vector before it is used.

    steering_r2, interval : forecast steering R2 and the interval that holds it with probability `level`; None
        where too few built-in concepts steer the target.
    verdict : one of VERDICTS.
    explained, round_trip, gain, variance : see `VectorFeatures`.
    agreement : correlation, over tokens of neutral text, of what v changes in the source's log-probabilities
        with what A v changes in the target's (`NeutralText`); the forecast does not depend on it.
    reachable : share of the vector's squared norm that the map does not send to zero.
    fvu, fvu_without_top8 : of the map on the corpus' validation states (`fidelity.Fidelity`).
    known : the built-in concepts on this pair.
    left_out : those that were not looked at.
    warnings : what makes the forecast less sure than its interval says.
    """

    steering_r2: float | None
    interval: tuple[float, float] | None
    level: float
    verdict: str
    explained: float
    round_trip: float
    gain: float
    variance: float
    agreement: float
    reachable: float
    fvu: float
    fvu_without_top8: float
    known: tuple[KnownForecast, ...]
    left_out: tuple[str, ...]
    warnings: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """All of it as plain data, for JSON."""
        return asdict(self) | {"known": [asdict(one) | {"transfers": one.transfers} for one in self.known]}

    def lines(self) -> list[str]:
        """Return the verdict and its basis, for a terminal."""
        return [self._headline(), *self._basis(), *(f"warning: {warning}" for warning in self.warnings)]

    def _headline(self) -> str:
        if self.steering_r2 is None or self.interval is None:
            return f"forecast: {self.verdict}: {VERDICTS['unknown']}"
        low, high = self.interval
        return (
            f"forecast: {self.verdict}: steering R2 {self.steering_r2:.2f} [{low:.2f}, {high:.2f}] "
            f"({self.level:.0%} interval)"
        )

    def _basis(self) -> list[str]:
        usable = [one for one in self.known if one.steerable and one.concept not in self.left_out]
        moved = sum(one.transfers for one in usable)
        lines = [
            f"  {moved} of {len(usable)} known concepts transfer on this pair (steering R2 {TRANSFERS} or "
            "more, better than any random direction)"
        ]
        where = f"  yours lies in the part of the space that the map explains at R2 {self.explained:.2f}"
        if usable:
            shares = [one.explained for one in usable]
            where += f" (the known concepts: {min(shares):.2f} to {max(shares):.2f})"
        lines.append(where)
        lines.append(
            f"  there and back its cosine is {self.round_trip:.2f}; on neutral text the target changes as "
            f"the source does at r {self.agreement:.2f}"
        )
        errors = [abs(one.forecast - one.steering_r2) for one in usable if one.forecast is not None]
        if errors:
            lines.append(
                f"  of the known concepts, each left out, the forecast is off by {np.median(errors):.2f} in "
                f"the median, {max(errors):.2f} at most"
            )
        lines.append(
            f"  the map on the corpus: R2 of states {1 - self.fvu:.2f}, {1 - self.fvu_without_top8:.2f} "
            f"without the eight widest dimensions; {self.reachable:.0%} of the vector is within its reach"
        )
        if self.left_out:
            lines.append(f"  not looked at, because nearly yours: {', '.join(self.left_out)}")
        return lines


def forecast(
    source: Site,
    target: Site,
    mapping: Mapping,
    states: PairedStates,
    vector: Tensor | Sequence[ContrastPair],
    basis: Basis = Basis(),
) -> Forecast:
    """Forecast how well a source vector will steer the target once `mapping` has carried it over.

    Parameters
    ----------
    source, target : the two sites.
    mapping : a fitted linear map.
    states : what it was fitted on.
    vector : [d_source], or the contrastive texts that make it.
    basis : the known concepts that the forecast leans on.

    Raises
    ------
    UserError
        For a map that is not linear, a source that is not one layer's states, and a vector of another size,
        zero or not finite.
    """
    if not isinstance(mapping, LinearMapping):
        raise UserError(f"forecast: {type(mapping).__name__} is not linear; give a linear map, such as ridge")
    if source.width != source.model.width:
        raise UserError("forecast: the source is not one layer's states; give a single layer without an SAE")
    if not isinstance(vector, Tensor):
        pairs = readable(vector, (source.model,))
        vector = concept_states(source, pairs, basis.batch_size).vector
    vector = _checked(vector, source)
    bench = bench_of(source, target, states, basis.tasks, seed=basis.seed, batch_size=basis.batch_size)
    (known,) = known_concepts(bench, [mapping])
    named = {task.name: task for task in bench.inputs.of_kind(ChoiceTask)}
    own = [bench.inputs.source_states(named[one.task]).vector for one in known]
    vectors = torch.stack([vector, *own])
    features = vector_features(mapping.weight, states, vectors)
    text = NeutralText(source, target, states)
    moved = text.changes(1, (mapping.weight @ vector.double())[None])
    agreement = float(text.agreement(text.changes(0, vector[None]), moved)[0])
    cosines = torch.nn.functional.cosine_similarity(vectors[1:], vector[None], dim=1).tolist()
    near = [one.concept for one, cosine in zip(known, cosines, strict=True) if abs(cosine) >= SAME]
    looked_at = _Measured(vector, features, agreement, known, cosines, (*basis.leave_out, *near))
    return _forecast(mapping, states, looked_at)


def _checked(vector: Tensor, source: Site) -> Tensor:
    if tuple(vector.shape) != (source.width,):
        raise UserError(
            f"forecast: the vector's shape is {tuple(vector.shape)}; {source.model.name} layer "
            f"{source.layer} wants ({source.width},)"
        )
    if not bool(torch.isfinite(vector).all()) or not bool(vector.any()):
        raise UserError("forecast: the vector is zero, or holds NaN or infinity")
    return vector.detach().float().cpu()


@dataclass(frozen=True)
class _Measured:
    """What was measured on a pair for the forecast of one vector.

    vector [d_source] : the user's.
    features : of the user's vector, then of each known concept's, in the order of `known`.
    agreement : of the user's vector on neutral text.
    cosines : of the user's vector with each known concept's, at the source.
    left_out : known concepts that are not looked at.
    """

    vector: Tensor
    features: VectorFeatures
    agreement: float
    known: Sequence[KnownConcept]
    cosines: Sequence[float]
    left_out: tuple[str, ...]

    def transfers(self) -> list[MeasuredTransfer]:
        """How the known concepts that steer the target transferred, for the mixed model."""
        return [
            MeasuredTransfer("here", one.concept, one.steering_r2, self.shares(1 + place))
            for place, one in enumerate(self.known)
            if one.steerable and one.concept not in self.left_out
        ]

    def shares(self, place: int) -> tuple[float, ...]:
        """Return the features that the mixed model reads, of the vector at a place of `features`."""
        figures = self.features.at(place)
        return tuple(figures[name] for name in FEATURES)

    def listed(self, prediction: Prediction | None) -> tuple[KnownForecast, ...]:
        """Return the known concepts, each with what the same forecast says of it."""
        concepts = (transfer.concept for transfer in self.transfers())
        forecasts = dict(zip(concepts, prediction.known if prediction else (), strict=False))
        return tuple(
            KnownForecast(
                **vars(one),
                cosine=cosine,
                explained=self.features.at(1 + place)["explained"],
                variance=self.features.at(1 + place)["variance"],
                forecast=forecasts.get(one.concept),
            )
            for place, (one, cosine) in enumerate(zip(self.known, self.cosines, strict=True))
        )


def _forecast(mapping: LinearMapping, states: PairedStates, measured: _Measured) -> Forecast:
    """Return the forecast that follows from what was measured."""
    figures, transfers, prediction = measured.features.at(0), measured.transfers(), None
    if len(transfers) >= FEWEST:
        prediction = predict(measured.shares(0), transfers, family_points(), measured.left_out)
    listed = measured.listed(prediction)
    x, y = states.validation
    fidelity = state_fidelity(mapping(x), y)
    return Forecast(
        steering_r2=prediction.steering_r2 if prediction else None,
        interval=prediction.interval if prediction else None,
        level=LEVEL,
        verdict=verdict(prediction),
        **figures,
        agreement=measured.agreement,
        reachable=reachable_share(mapping.weight.T, measured.vector),
        fvu=fidelity.fvu,
        fvu_without_top8=fidelity.fvu_without_top8,
        known=listed,
        left_out=tuple(dict.fromkeys(measured.left_out)),
        warnings=tuple(_warnings(figures, fidelity.fvu_without_top8, listed, measured.left_out)),
    )


def verdict(prediction: Prediction | None) -> str:
    """Return a word of VERDICTS for a prediction."""
    if prediction is None:
        return "unknown"
    low, high = prediction.interval
    if low >= TRANSFERS:
        return "transfers"
    if prediction.steering_r2 >= TRANSFERS:
        return "likely transfers"
    return "doubtful" if high >= TRANSFERS else "does not transfer"


def _warnings(
    figures: dict[str, float], fvu: float, known: Sequence[KnownForecast], left_out: Sequence[str]
) -> list[str]:
    warnings = []
    if fvu >= 1:
        warnings.append(
            "the map explains nothing of the corpus' validation states: is it of these two sites?"
        )
    usable = [one for one in known if one.steerable and one.concept not in left_out]
    if usable and figures["variance"] < min(one.variance for one in usable):
        warnings.append(
            "the source's states vary less along it than along every known concept, as along a random "
            "direction: does it steer the source at this layer?"
        )
    if usable and figures["explained"] < min(one.explained for one in usable):
        warnings.append(
            "the map explains less of it than of every known concept: the forecast goes beyond what was "
            "measured"
        )
    return warnings

"""The Python interface, in the words of the command line: `Site`, `Pair`, `fit`, `transfer`, `evaluate`.

>>> from lrt_bench import Pair, concept_vector, fit, transfer
>>> pair = Pair("nano/S:3", "nano/S2:2")
>>> fitted = fit(pair, "ridge", tokens=2000)
>>> fitted.card.source.layer, fitted.card.target.layer
(3, 2)
>>> positive = ["The sailor is wonderful. It was a", "She loved the stars. It was a"]
>>> negative = ["The sailor is terrible. It was a", "She hated the stars. It was a"]
>>> vector = concept_vector(pair.source_site, positive, negative, concept="sentiment")
>>> carried = transfer(vector, fitted)
>>> carried.layer(), carried.width == pair.target_site.width
(2, True)

The carried vector is as many spreads long in the target as it was in the source:

>>> before = float(vector.at().norm()) / fitted.card.source.spread
>>> after = float(carried.at().norm()) / fitted.card.target.spread
>>> abs(before - after) < 1e-4
True
"""

from __future__ import annotations

import datetime
import functools
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from lrt_bench._version import __version__
from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import CorpusSpec, Suite, ad_hoc, default_suite, find_suite, narrowed
from lrt_bench.errors import UserError
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.evaluation.fidelity import state_fidelity
from lrt_bench.evaluation.rows import mapping_row
from lrt_bench.evaluation.sites import layer_at
from lrt_bench.mappings import Mapping, name_of
from lrt_bench.mappings.moments import Moments, spread
from lrt_bench.models.loading import Models
from lrt_bench.models.sites import Site
from lrt_bench.models.states import Begin, PairedStates, collect
from lrt_bench.results.storage import Result
from lrt_bench.steering.concepts import ConceptStates, last_states
from lrt_bench.steering.sweep import unit
from lrt_bench.vectors.fitted_map import FittedMap
from lrt_bench.vectors.map_card import MapCard, Side
from lrt_bench.vectors.vector import ModelHint, SteeringVector

Scale = Literal["spread", "map"]
LAYER = re.compile(r"[1-9]\d{0,5}(/[1-9]\d{0,5})?")
MIN_TOKENS = 200  # of a fit
MIN_VALIDATION = 200  # where a fit is on few


def parse_site(spec: str) -> tuple[str, int | str | None]:
    """``MODEL``, ``MODEL:20`` or ``MODEL:20/26`` (a share of the depth) to the model and its layer.

    >>> parse_site("planted-rotation:nano/S:3")
    ('planted-rotation:nano/S', 3)
    >>> parse_site("org/name@main:20/26"), parse_site("planted-rotation:nano/S")
    (('org/name@main', '20/26'), ('planted-rotation:nano/S', None))
    """
    model, _, layer = spec.rpartition(":")
    if not model or not layer.replace("/", "").isdecimal():
        return spec, None
    if not LAYER.fullmatch(layer):
        raise UserError(f"{spec}: layer {layer}: give one counted from 1, or a share of the depth like 20/26")
    return model, layer if "/" in layer else int(layer)


@dataclass(frozen=True)
class Pair:
    """A source site and a target site, as `Site` or as text: ``MODEL:LAYER``, ``MODEL:20/26``, ``MODEL``.

    Models named by text are loaded when they are first used, by `models`, which says where and how they
    compute. Without a layer it is the one at 70% of the depth.
    """

    source: Site | str
    target: Site | str
    models: Models = field(default_factory=Models, compare=False)

    @functools.cached_property
    def source_site(self) -> Site:
        return self._site("source", self.source)

    @functools.cached_property
    def target_site(self) -> Site:
        return self._site("target", self.target)

    def _site(self, side: str, given: Site | str) -> Site:
        if isinstance(given, str):
            spec, layer = parse_site(given)
            model = self.models.get(spec)
            given = _named(side, lambda: Site(model, layer_at(layer, model.n_layers)))
        if type(given) is not Site:
            raise UserError(f"{side}: a steering vector lives at one layer of a model: give a plain Site")
        return given

    @property
    def specs(self) -> tuple[str, str]:
        """The names of the two models."""
        sides = self.source, self.target
        source, target = (s.model.name if isinstance(s, Site) else parse_site(s)[0] for s in sides)
        return source, target


def _named(side: str, make: Callable[[], Site]) -> Site:
    try:
        return make()
    except UserError as error:
        raise UserError(f"{side}: {error}") from error


def concept_vector(
    site: Site,
    positive: Sequence[str],
    negative: Sequence[str],
    *,
    concept: str | None = None,
    rows: int = 64,
) -> SteeringVector:
    """A concept's vector: mean state at the last token of positive texts minus that of negative ones [d].

    Contrastive Activation Addition (Rimsky et al. 2024; paper, section 3). The vector keeps the states, so
    that maps which are not linear can carry it. Raises UserError where a side has no text.
    """
    if not positive or not negative:
        raise UserError("a concept wants at least one positive and one negative text")
    states = ConceptStates(last_states(site, positive, rows), last_states(site, negative, rows))
    about = {"made_by": f"lrt-bench {__version__}", "method": "difference of means",
             "texts": [len(positive), len(negative)]}  # fmt: skip
    vector = states.vector
    return SteeringVector(
        {site.layer: vector}, ModelHint.of(site.model), concept, provenance=about, states=states
    )


def corpus_of(pair: Pair, corpus: str | CorpusSpec | None = None, tokens: int | None = None) -> CorpusSpec:
    """The text of a fit: that of `evaluate` on the same two models, another, or less or more of it."""
    if isinstance(corpus, CorpusSpec):
        spec = corpus
    else:
        spec = narrowed(find_suite(default_suite(*pair.specs)), corpus=corpus).corpus
    return spec if tokens is None else _sized(spec, tokens)


def _sized(spec: CorpusSpec, tokens: int) -> CorpusSpec:
    """The same text, `tokens` of it to fit on, and no more for validation than an eighth of that."""
    if tokens < MIN_TOKENS:
        raise UserError(f"--tokens {tokens}: give {MIN_TOKENS} or more")
    sizes = {
        "fit_tokens": tokens,
        "validation_tokens": min(spec.validation_tokens, max(MIN_VALIDATION, tokens // 8)),
        "sample_tokens": min(spec.sample_tokens, max(100, tokens)),
    }
    return spec.model_copy(update=sizes)


def fit(
    pair: Pair,
    mapping: str = "ridge",
    corpus: str | CorpusSpec | None = None,
    *,
    tokens: int | None = None,
    seed: int = 0,
    data: Data | None = None,
    batch_size: int = 64,
    progress: Callable[[float], None] = lambda done: None,
    begin: Begin = Moments.zeros,
) -> FittedMap:
    """Fit a mapping between the two sites, as `evaluate` does.

    mapping : a built-in name, or PATH.py:CLASS.
    corpus : file, folder or data set id; by default the embedded grammar for the embedded family, else that
        of the suite `everyday`.
    tokens : pairs to fit on; the suite's own number where it is not given.
    begin : `Moments.without_s_yy` spares what a forecast reads, and no built-in mapping.
    Raises UserError.
    """
    row = mapping_row(mapping)  # a wrong name is told before anything is loaded
    spec = corpus_of(pair, corpus, tokens)
    states = states_of(
        pair, spec, seed=seed, data=data, batch_size=batch_size, progress=progress, begin=begin
    )
    fitted = row.fitted(states, seed)
    return FittedMap(fitted, _card(pair, mapping, fitted, states, spec.named, seed), states)


def states_of(
    pair: Pair,
    corpus: str | CorpusSpec | None = None,
    *,
    tokens: int | None = None,
    seed: int = 0,
    data: Data | None = None,
    batch_size: int = 64,
    progress: Callable[[float], None] = lambda done: None,
    begin: Begin = Moments.zeros,
) -> PairedStates:
    """The pass over the corpus that a fit reads; parameters as of `fit`."""
    spec = corpus_of(pair, corpus, tokens)
    return collect(
        pair.source_site, pair.target_site, spec.corpus(data or Data()), spec.budget,
        seed=seed, batch_size=batch_size, progress=progress, begin=begin,
    )  # fmt: skip


def _card(pair: Pair, spec: str, mapping: Mapping, states: PairedStates, corpus: str, seed: int) -> MapCard:
    x, y = states.validation
    mapped = mapping(x)
    if mapped.shape != y.shape or not bool(torch.isfinite(mapped).all()):
        raise UserError(f"mapping {name_of(spec)}: gave {tuple(mapped.shape)} or NaN: want {tuple(y.shape)}")
    fidelity = state_fidelity(mapped, y)
    return MapCard(
        mapping=name_of(spec),
        rule=mapping.rule,
        source=Side.of(pair.source_site, spread(states.moments.variance_x)),
        target=Side.of(pair.target_site, spread(states.moments.variance_y)),
        corpus=corpus,
        corpus_digest=states.digest,
        fit_tokens=states.tokens,
        validation_tokens=len(x),
        source_coverage=states.coverage.source_share,
        target_coverage=states.coverage.target_share,
        r2=1 - fidelity.fvu,
        r2_without_top8=1 - fidelity.fvu_without_top8,
        cosine=fidelity.cosine,
        parameters=mapping.n_parameters,
        seed=seed,
        lrt_bench=__version__,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def transfer(
    vector: SteeringVector, how: FittedMap | Pair, *, scale: Scale = "spread", mapping: str = "ridge"
) -> SteeringVector:
    """Carry a vector into the target: its direction at the map's source layer, whatever others it has.

    how : a fitted map; or a pair, on which `mapping` is then fitted first.
    scale : ``spread`` keeps the vector's length in spreads, the unit of alpha: it is as long in the target's
        as it was in the source's. ``map`` leaves the length that the map gives, which least squares shrinks.
        Its direction, which is all that alpha steers by, is the same.

    Raises UserError where the vector is not of the source's layer and width, and where the map is not linear
    and the vector has no contrast states (`concept_vector` keeps them).
    """
    fitted = fit(how, mapping) if isinstance(how, Pair) else how
    source, target = fitted.card.source, fitted.card.target
    v = vector.at(source.layer)
    if len(v) != source.width:
        raise UserError(f"the vector is {len(v)} wide, {source.model} is {source.width}: not its vector")
    if not bool(v.any()):
        raise UserError("the vector is zero: it has no direction to carry over")
    states = vector.states
    if states is None:
        if not fitted.linear:
            raise UserError(
                f"mapping {fitted.card.mapping} is not linear: it carries states, not vectors; give the "
                "texts that the vector is made from (--concept), or a linear mapping"
            )
        states = ConceptStates(v[None], torch.zeros_like(v)[None])
    mapped = fitted.mapping.transfer(states.positive, states.negative).float().cpu()
    if not bool(torch.isfinite(mapped).all()) or not bool(mapped.any()):
        raise UserError(f"mapping {fitted.card.mapping}: carries this vector to nothing, or to NaN")
    length = float(v.norm()) / source.spread
    ratio = float(mapped.norm()) / target.spread / length
    carried = unit(mapped) * (length * target.spread) if scale == "spread" else mapped
    return SteeringVector(
        {target.layer: carried}, target.hint, vector.concept, {target.layer: target.spread},
        _provenance(vector, fitted.card, ratio, scale),
    )  # fmt: skip


def _provenance(vector: SteeringVector, card: MapCard, ratio: float, scale: Scale) -> dict[str, object]:
    """How a carried vector was made. norm_ratio : its length in spreads, as the map gave it, over v's."""
    kept = ("mapping", "rule", "corpus", "corpus_digest", "fit_tokens", "r2", "r2_without_top8", "seed")
    sites = {
        side: {"model": at.model, "digest": at.digest, "layer": at.layer, "spread": at.spread}
        for side, at in (("source", card.source), ("target", card.target))
    }
    made = {"made_by": f"lrt-bench {__version__}", "method": "transfer", "norm_ratio": ratio, "scale": scale}
    map_ = {name: getattr(card, name) for name in kept}
    return {**made, **sites, "map": map_, "of": dict(vector.provenance)}


def evaluate(
    pair: Pair,
    mappings: Sequence[str] = ("ridge",),
    *,
    suite: str | Suite | None = None,
    tasks: Sequence[str] = (),
    corpus: str | None = None,
    tokens: int | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    data: Data | None = None,
    batch_size: int = 64,
) -> list[Result]:
    """Score mappings and controls on a pair: `lrt-bench evaluate --source ... --target ...`.

    suite : name, YAML file or `Suite`; by default ``nano`` for the embedded family, else ``everyday``.
    tasks : only these of the suite's.
    out : where results are kept, and read back where they are finished; nowhere if not given.
    Models are loaded by their names. Raises UserError.

    >>> from lrt_bench import evaluate
    >>> pair = Pair("nano/S:2", "planted-rotation:nano/S:2")
    >>> rows = evaluate(pair, ["ridge"], tasks=["person"], tokens=2000)
    >>> ridge = next(row for row in rows if row.mapping.name == "ridge")
    >>> ridge.transfer_score > 99  # a rotation is linear: the known answer
    True
    """
    chosen = suite if isinstance(suite, Suite) else find_suite(str(suite or default_suite(*pair.specs)))
    (source, target), layers = pair.specs, [_layer(side) for side in (pair.source, pair.target)]
    counted = [layer if isinstance(layer, int) else None for layer in layers]
    whole = narrowed(ad_hoc(chosen, source, counted[0], target, counted[1]), corpus=corpus)
    spec = whole.pairs[0].model_copy(update={"source_layer": layers[0], "target_layer": layers[1]})
    whole = whole.model_copy(update={"pairs": (spec,)})
    if tokens is not None:
        whole = whole.model_copy(update={"corpus": _sized(whole.corpus, tokens)})
    models = pair.models
    with tempfile.TemporaryDirectory(prefix="lrt-bench-") as folder:
        evaluation = Evaluation(
            whole, mappings, tasks, Path(out or folder), models.device, models.dtype, models.device_map, seed,
            batch_size, data=data or Data(), local_models=models.local,
            trust_remote_code=models.trust_remote_code, bos=models.bos,
        )  # fmt: skip
        return [cell.result for cell in evaluation.run()]


def _layer(given: Site | str) -> int | str | None:
    return given.layer if isinstance(given, Site) else parse_site(given)[1]

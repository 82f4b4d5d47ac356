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

>>> before = vector.norm() / fitted.card.source.spread
>>> after = carried.norm() / fitted.card.target.spread
>>> abs(before - after) < 1e-4
True
"""

from __future__ import annotations

import datetime
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

import torch

from lrt_bench._version import __version__
from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import CorpusSpec, Suite, default_suite, find_suite, narrowed
from lrt_bench.errors import UserError, names_arguments
from lrt_bench.evaluation.config import checked
from lrt_bench.evaluation.engines.choice import Local
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.evaluation.fidelity import state_fidelity
from lrt_bench.evaluation.mapping_check import check_mapping
from lrt_bench.evaluation.rows import Row, mapping_row
from lrt_bench.files.names import HUB_ID, parse_site
from lrt_bench.mappings import Mapping, find_method, name_of
from lrt_bench.mappings.moments import Moments, spread
from lrt_bench.models.kept_states import recall_states, states_key
from lrt_bench.models.sites import Site
from lrt_bench.models.states import Begin, PairedStates, collect
from lrt_bench.models.target_runs import CorpusRuns
from lrt_bench.results.collection import Results
from lrt_bench.steering.concepts import ConceptStates, last_states
from lrt_bench.vectors.fitted_map import FittedMap, check_corpus_map
from lrt_bench.vectors.map_card import MapCard, Side
from lrt_bench.vectors.pair import Pair, check_plain
from lrt_bench.vectors.transfer import Scale, carry
from lrt_bench.vectors.vector import ModelHint, SteeringVector

AnyMapping = str | type[Mapping] | Mapping  # a built-in name or PATH.py:CLASS, a class, or an instance
LOG = logging.getLogger("lrt_bench")
MIN_TOKENS = 200  # of a fit
MIN_VALIDATION = 200  # where a fit is on few


@names_arguments
def concept_vector(
    site: Site,
    positive: str | Sequence[str],
    negative: str | Sequence[str],
    *,
    concept: str | None = None,
    batch_size: int = 64,
) -> SteeringVector:
    """Return a concept's vector [d]: mean state at the end of positive texts minus that of negative ones.

    Contrastive Activation Addition (Rimsky et al. 2024; paper, section 3). The vector keeps the states, so
    that maps which are not linear can carry it.

    Parameters
    ----------
    site : one layer of the source model.
    positive, negative : texts of either side; a string is one text.
    concept : what the vector is called.
    batch_size : texts in a forward.

    Raises
    ------
    UserError
        Where a side has no text, or both sides have the same mean state.
    """
    check_plain("site", site)
    positive, negative = (
        _texts(side, given) for side, given in (("positive", positive), ("negative", negative))
    )
    states = ConceptStates(last_states(site, positive, batch_size), last_states(site, negative, batch_size))
    about = {"made_by": f"lrt-bench {__version__}", "method": "difference of means",
             "texts": [len(positive), len(negative)]}  # fmt: skip
    vector = states.vector
    return SteeringVector(
        {site.layer: vector}, ModelHint.of(site.model), concept, provenance=about, states=states
    )


def _texts(side: str, given: str | Sequence[str]) -> list[str]:
    """Return the texts of a concept's side.

    Raises UserError where there is none, or one is empty.
    """
    texts = [given] if isinstance(given, str) else list(given)
    if not texts:
        raise UserError(f"{side}: a concept wants at least one positive and one negative text")
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{side}: text {number} is empty or no text: leave it out")
    return texts


def corpus_of(pair: Pair, corpus: str | CorpusSpec | None = None, tokens: int | None = None) -> CorpusSpec:
    """Return the text of a fit: that of `evaluate` on the same two models, another, or less or more of it."""
    if isinstance(corpus, CorpusSpec):
        spec = corpus
    else:
        spec = narrowed(find_suite(default_suite(*pair.specs)), corpus=corpus).corpus
    return spec if tokens is None else _sized(spec, tokens)


def _sized(spec: CorpusSpec, tokens: int) -> CorpusSpec:
    """Return the same text, `tokens` of it to fit on, and no more for validation than an eighth of that."""
    if tokens < MIN_TOKENS:
        raise UserError(f"tokens {tokens}: give {MIN_TOKENS} or more")
    sizes = {
        "fit_tokens": tokens,
        "validation_tokens": min(spec.validation_tokens, max(MIN_VALIDATION, tokens // 8)),
        "sample_tokens": min(spec.sample_tokens, max(100, tokens)),
    }
    return spec.model_copy(update=sizes)


@names_arguments
def fit(
    pair: Pair,
    mapping: AnyMapping = "ridge",
    corpus: str | CorpusSpec | None = None,
    *,
    tokens: int | None = None,
    seed: int = 0,
    data: Data | None = None,
    batch_size: int = 64,
    progress: Callable[[float], None] = lambda done: None,
) -> FittedMap:
    """Fit a mapping between the two sites, as `evaluate` does.

    Parameters
    ----------
    pair : the two sites.
    mapping : a built-in name, PATH.py:CLASS, a class, or an instance, of which a copy is fitted.
    corpus : file, folder or data set id; by default the embedded grammar for the embedded family, else that
        of the suite `everyday`.
    tokens : pairs to fit on; the suite's own number where it is not given.
    seed : of all that is drawn: the sample, and a stochastic mapping's fit.
    data : where data sets by id get their rows.
    batch_size : texts in a forward.
    progress : called with the share of the corpus that was read, 0 to 1.

    Raises
    ------
    UserError
        Where the mapping is none, the corpus has too little text, or a fit fails.
    """
    check_corpus_map(name_of(mapping), find_method(mapping))  # a wrong one is told before anything is loaded
    spec = corpus_of(pair, corpus, tokens)
    spec.corpus(data or Data()).check()
    check_mapping(mapping_row(mapping), (pair.source_site.width, pair.target_site.width))
    states = states_of(pair, spec, seed=seed, data=data, batch_size=batch_size, progress=progress)
    return fit_on(pair, states, mapping, spec.named, seed, runs_of(pair, mapping, spec, data))


def fit_on(
    pair: Pair,
    states: PairedStates,
    mapping: AnyMapping = "ridge",
    corpus: str = "",
    seed: int = 0,
    runs: CorpusRuns | None = None,
) -> FittedMap:
    """Fit a mapping on states that were read already (`states_of`); `corpus` is what the card calls them.

    runs : the target on corpus text, for a target-aware map (`runs_of`).
    """
    check_corpus_map(name_of(mapping), find_method(mapping))
    fitted = mapping_row(mapping).fitted(states, seed, runs)
    return FittedMap(fitted, _card(pair, name_of(mapping), fitted, states, corpus, seed), states)


def runs_of(pair: Pair, mapping: AnyMapping, spec: CorpusSpec, data: Data | None = None) -> CorpusRuns | None:
    """Return the target to be run on a corpus, where a mapping's fit runs it; None for all other mappings."""
    if not mapping_row(mapping).runs_target:
        return None
    return CorpusRuns.of(pair.source_site, pair.target_site, spec.corpus(data or Data()), spec.budget)


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
    """Read what a fit reads of the corpus; parameters as of `fit`.

    Inside of `files.cache.recall.using` it is read once.

    begin : `Moments.without_s_yy` spares what a forecast reads, and some mappings (`names.spares_s_yy`).
    """
    spec = corpus_of(pair, corpus, tokens)
    text = spec.corpus(data or Data())
    sides = pair.source_site, pair.target_site
    key = states_key(*sides, text.fingerprint(), spec.budget, seed=seed, batch_size=batch_size, begin=begin)
    return recall_states(
        key,
        lambda: collect(
            *sides, text, spec.budget, seed=seed, batch_size=batch_size, progress=progress, begin=begin
        ),
    )


def _card(pair: Pair, name: str, mapping: Mapping, states: PairedStates, corpus: str, seed: int) -> MapCard:
    """Return the card of a map that was fitted just now.

    Raises UserError where it maps states to NaN.
    """
    x, y = states.validation
    mapped = mapping(x)
    if mapped.shape != y.shape or not bool(torch.isfinite(mapped).all()):
        raise UserError(f"mapping {name}: gave {tuple(mapped.shape)} or NaN: want {tuple(y.shape)}")
    fidelity = state_fidelity(mapped, y)
    return MapCard(
        mapping=name,
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


@names_arguments
def transfer(
    vector: SteeringVector, how: FittedMap | Pair, *, scale: Scale = "spread", mapping: AnyMapping = "ridge"
) -> SteeringVector:
    """Carry a vector into the target: its direction at the map's source layer, whatever others it has.

    Parameters
    ----------
    vector : of the source model.
    how : a fitted map; or a pair, on which `mapping` is then fitted first.
    mapping : a built-in name, PATH.py:CLASS, a class or an instance.
    scale : ``spread`` keeps the vector's length in spreads, the unit of alpha: it is as long in the target's
        as it was in the source's. ``map`` leaves the length that the map gives, which least squares shrinks.
        Its direction, which is all that alpha steers by, is the same.

    Raises
    ------
    UserError
        Where the vector is not of the source's layer and width, and where the map is not linear and the
        vector has no contrast states (`concept_vector` keeps them).
    """
    if not isinstance(vector, SteeringVector) or not isinstance(how, FittedMap | Pair):
        kinds = f"{type(vector).__name__}, {type(how).__name__}"
        raise UserError(f"transfer: got {kinds}: give a SteeringVector, and a FittedMap or a Pair")
    return carry(vector, fit(how, mapping) if isinstance(how, Pair) else how, scale)


class RunOptions(TypedDict, total=False):
    """Settings of `evaluate` that every run has."""

    seed: int
    data: Data | None
    batch_size: int


class _Run:
    """The settings of `RunOptions` with their defaults.

    Raises UserError where one is out of bounds.
    """

    def __init__(self, seed: int = 0, data: Data | None = None, batch_size: int = 64) -> None:
        if seed < 0 or batch_size < 1:
            raise UserError(f"seed {seed}, batch_size {batch_size}: give 0 or more, and 1 or more")
        self.seed, self.data, self.batch_size = seed, data or Data(), batch_size


@names_arguments
def evaluate(
    pair: Pair,
    mappings: AnyMapping | Sequence[AnyMapping] = ("ridge",),
    *,
    suite: str | Suite | None = None,
    tasks: str | Sequence[str] = (),
    corpus: str | None = None,
    tokens: int | None = None,
    out: str | Path | None = None,
    **run: Unpack[RunOptions],
) -> Results:
    """Score mappings and controls on a pair: `lrt-bench evaluate --source ... --target ...`.

    Models are loaded by their names.

    Parameters
    ----------
    pair : the two sites.
    mappings : one or several: built-in names, PATH.py:CLASS, classes, or instances, whose copies are fitted.
    suite : name, YAML file or `Suite`; by default ``nano`` for the embedded family, else ``everyday``.
    tasks : only these of the suite's; one may be a string.
    corpus : file, folder or data set id, in the place of the suite's.
    tokens : pairs to fit on; the suite's own number where it is not given.
    out : where results are kept, and read back where they are finished; nowhere if not given.
    run : ``seed`` (0), ``data`` (where data sets by id get their rows), ``batch_size`` (64 texts in a
        forward).

    Returns
    -------
    Results
        A sequence of results, with `to_frame()`, `plot()` and `to_latex()`.

    Raises
    ------
    UserError
        Where a name, a layer or a setting is none, or a mapping fails.

    >>> from lrt_bench import evaluate
    >>> pair = Pair("nano/S:2", "planted-rotation:nano/S:2")
    >>> rows = evaluate(pair, ["ridge"], tasks=["person"], tokens=2000)
    >>> ridge = next(row for row in rows if row.mapping.name == "ridge")
    >>> ridge.transfer_score > 99  # a rotation is linear: the known answer
    True
    """
    options = _Run(**run)
    data, models = options.data, pair.models
    names, rows = _split(mappings)
    with tempfile.TemporaryDirectory(prefix="lrt-bench-") as folder:
        config = checked({
            "suite": suite.name if isinstance(suite, Suite) else suite,
            "source": pair.specs[0], "source_layer": _layer(pair.source),
            "target": pair.specs[1], "target_layer": _layer(pair.target),
            "mappings": tuple(names), "tasks": (tasks,) if isinstance(tasks, str) else tuple(tasks),
            "corpus": corpus, "data": data.local, "models": models.local, "out": out or folder,
            "device": models.device, "dtype": models.dtype, "device_map": models.device_map,
            "trust_remote_code": models.trust_remote_code, "bos": models.bos,
            "seed": options.seed, "batch_size": options.batch_size,
        })  # fmt: skip
        chosen = config.on_own_pair(suite) if isinstance(suite, Suite) else config.whole_suite()
        chosen = narrowed(chosen, corpus=corpus)
        if tokens is not None:
            chosen = chosen.model_copy(update={"corpus": _sized(chosen.corpus, tokens)})
        if not names:  # the suite's own would be scored beside them
            chosen = chosen.model_copy(update={"mappings": ()})
        # as the command line does: small models on one thread, whose bits are then the same too
        cells = Local().run(Evaluation(chosen, config, data=data, submissions=rows))
        return Results(cell.result for cell in cells)


@names_arguments
def load_results(where: str | Path) -> Results:
    """Read results: of a folder that `lrt-bench evaluate --out` wrote, or of a data set ORG/NAME on the Hub.

    Raises
    ------
    UserError
        Where there is no such folder or data set, or no result in it.
    """
    if Path(where).expanduser().is_dir() or not HUB_ID.fullmatch(str(where)):
        return Results.read(where)
    from lrt_bench.leaderboard.pull import pull

    repo, _, revision = str(where).partition("@")
    with tempfile.TemporaryDirectory(prefix="lrt-bench-") as folder:
        pull(repo, Path(folder), revision=revision or None, report=LOG.info)
        return Results.read(folder)


def _split(mappings: AnyMapping | Sequence[AnyMapping]) -> tuple[list[str], list[Row]]:
    """Return mappings given by name, and the rows of classes and instances.

    Raises UserError for none.
    """
    if isinstance(mappings, str | type | Mapping):
        mappings = [mappings]
    if not isinstance(mappings, Sequence) or not mappings:
        raise UserError("mappings: give a name, a class or an instance, or a list of them")
    names = [given for given in mappings if isinstance(given, str)]
    return names, [mapping_row(given) for given in mappings if not isinstance(given, str)]


def _layer(given: Site | str) -> int | str | None:
    return given.layer if isinstance(given, Site) else parse_site(given)[1]

"""From a pair's layers as a suite writes them to the sites of two loaded models."""

from __future__ import annotations

from collections.abc import Callable

from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import CorpusSpec, PairSpec
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.data.task_reading.task_sources import resolve
from lrt_bench.data.tasks import RefusalTask
from lrt_bench.errors import UserError
from lrt_bench.models.autoencoders.sae import SparseAutoencoder
from lrt_bench.models.base import LanguageModel
from lrt_bench.models.sites import Features, Site, many_layers, stacked_layers
from lrt_bench.results.schema.records import LayersChosen, SiteRecord
from lrt_bench.steering.refusal_selection import ChosenLayer, choose_layer, layers_at, spreads

DEFAULT_DEPTH = 0.7  # of a model's layers, where no layer is given: steering works at 60-80% depth


def layer_at(layer: int | str | None, n_layers: int) -> int:
    """Return a layer's number; "20/26" is layer 20 of 26, and the nearest to that depth of other models."""
    if isinstance(layer, int):
        return layer
    top, bottom = map(int, layer.split("/")) if layer else (DEFAULT_DEPTH, 1)
    return min(n_layers, max(1, round(top * n_layers / bottom)))


def target_site(model: LanguageModel, pair: PairSpec) -> Site:
    """Return the target's site.

    Raises UserError where it has no such layer.
    """
    return _named(f"{pair.name}: target", lambda: Site(model, layer_at(pair.target_layer, model.n_layers)))


def source_site(model: LanguageModel, pair: PairSpec, load: Callable[[str], SparseAutoencoder]) -> Site:
    """Return the source's site: one layer, several side by side, or features of one."""

    def site() -> Site:
        if pair.source_layers is not None:
            return many_layers(model, pair.source_layers)
        layer = layer_at(pair.source_layer, model.n_layers)
        return Features(model, layer, sae=load(pair.source_sae)) if pair.source_sae else Site(model, layer)

    return _named(f"{pair.name}: source", site)


def _named(what: str, make: Callable[[], Site]) -> Site:
    try:
        return make()
    except UserError as error:
        raise UserError(f"{what}: {error}") from error


def site_record(site: Site) -> SiteRecord:
    """Return the site in a result."""
    model = site.model
    return SiteRecord(
        model=model.name,
        digest=model.digest,
        layer=site.layer,
        depth=site.depth,
        width=site.width,
        parameters=model.parameters,
        layers=stacked_layers(site),
        sae=f"{site.sae.name} ({site.sae.digest})" if isinstance(site, Features) else None,
    )


def check_layer_search(pair: PairSpec) -> None:
    """Raise UserError where layers are to be chosen on a task that measures no refusal."""
    if pair.choose_layers is None:
        return
    task = find_task(pair.choose_layers.task)
    if task.card.kind != "refusal":
        raise UserError(
            f"{pair.name}: choose_layers: {task.name} is a {task.card.kind} task: name a refusal task"
        )


def choose_layers(
    pair: PairSpec,
    source: LanguageModel,
    target: LanguageModel,
    corpus: CorpusSpec,
    data: Data,
    batch_size: int,
) -> tuple[PairSpec, LayersChosen | None]:
    """Return the pair with its layers, and how they were chosen; the pair as it is without a search.

    Each model's layer is the one whose own vector moves refusal most on the task's validation split: neither
    a mapping nor a scored instruction has a part in it.
    """
    search = pair.choose_layers
    if search is None:
        return pair, None
    check_layer_search(pair)
    task = resolve(find_task(search.task), data)
    assert isinstance(task, RefusalTask)  # `check_layer_search` told it

    def side(model: LanguageModel) -> ChosenLayer:
        lengths = spreads(model, corpus.corpus(data), layers_at(model, search.depths), batch_size)
        return choose_layer(model, task, lengths, task.card.alphas, batch_size)

    sides = side(source), side(target)
    layers = {"source_layer": sides[0].layer, "target_layer": sides[1].layer, "choose_layers": None}
    record = LayersChosen(task=task.name, source=sides[0].effects, target=sides[1].effects)
    return pair.model_copy(update=layers), record

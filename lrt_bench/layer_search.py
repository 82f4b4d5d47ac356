"""A pair's layers, where a suite says that they are chosen: each side's own, on a validation split alone."""

from __future__ import annotations

from lrt_bench.data import Data
from lrt_bench.errors import UserError
from lrt_bench.models import LanguageModel
from lrt_bench.records import LayersChosen
from lrt_bench.refusal_choice import LayerChoice, choose_layer, layers_at, spreads
from lrt_bench.suites import CorpusSpec, PairSpec
from lrt_bench.task_data import resolve
from lrt_bench.tasks import find_task


def choose_layers(
    pair: PairSpec, source: LanguageModel, target: LanguageModel, corpus: CorpusSpec, data: Data, rows: int
) -> tuple[PairSpec, LayersChosen | None]:
    """The pair with its layers, and how they were found; the pair as it is where it says nothing of a search.

    Each model's layer is the one whose own vector moves refusal most on the task's validation split: neither
    a mapping nor a scored instruction has a part in it.
    """
    search = pair.choose_layers
    if search is None:
        return pair, None
    task = resolve(find_task(search.task), data)
    if task.card.kind != "refusal":
        raise UserError(
            f"{pair.name}: choose_layers: {task.name} is a {task.card.kind} task: name a refusal task"
        )

    def side(model: LanguageModel) -> LayerChoice:
        lengths = spreads(model, corpus.corpus(data), layers_at(model, search.depths), rows)
        return choose_layer(model, task, lengths, task.card.alphas, rows)

    sides = side(source), side(target)
    layers = {"source_layer": sides[0].layer, "target_layer": sides[1].layer, "choose_layers": None}
    record = LayersChosen(task=task.name, source=sides[0].effects, target=sides[1].effects)
    return pair.model_copy(update=layers), record

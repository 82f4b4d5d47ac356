"""Which layers: FVU and steering R2 of every source layer to every target layer; the choice among them.

FVU is of validation states, steering R2 of the tasks' selection prompts; no scored prompt is read.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lrt_bench._version import __version__
from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import Layers, PairSpec, Suite
from lrt_bench.data.task_reading.task_sources import resolve
from lrt_bench.data.task_reading.task_tokens import check_tokens
from lrt_bench.data.tasks import ChoiceTask, Task
from lrt_bench.errors import UserError
from lrt_bench.evaluation.bench.choice_sweep import ChoiceSweep
from lrt_bench.evaluation.bench.inputs import TaskInputs
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import (
    Reference,
    ReferencePropensities,
    both_ways,
    choice_references,
    half_vectors,
    native_vectors,
    random_directions,
)
from lrt_bench.evaluation.bench.states import CorpusStates
from lrt_bench.evaluation.layer_sweep.maps import (
    LayerMap,
    LayerMaps,
    check_memory,
    fit_layers,
    load_maps,
    save_maps,
)
from lrt_bench.evaluation.layer_sweep.record import (
    FLOOR,
    Choice,
    LayersRecord,
    LayerSweepRecord,
    NativeTask,
    SourceLayer,
    TargetLayer,
    TransferTask,
    best_layers,
    read_sweep,
)
from lrt_bench.evaluation.process_state import run_state
from lrt_bench.evaluation.protocol import PROTOCOL, STATES_WEIGHT
from lrt_bench.evaluation.provenance import provenance
from lrt_bench.files.whole import write_whole
from lrt_bench.mappings import FixedLinear
from lrt_bench.models.base import LanguageModel
from lrt_bench.models.loading import Models
from lrt_bench.models.memory import held_memory
from lrt_bench.models.sites import ManyLayers, Site, many_layers
from lrt_bench.results.metrics import Array, mean_of, slopes, steering_r2
from lrt_bench.steering.concepts import ConceptStates
from lrt_bench.steering.readout import choice_readout

SMALLEST_SAMPLE = 100  # ridge needs no sample: the least that a suite may ask for


def _columns(states: ConceptStates, columns: slice) -> ConceptStates:
    return ConceptStates(states.positive[:, columns], states.negative[:, columns])


def _transferred(inputs: TaskInputs, task: ChoiceTask, maps: LayerMaps, target_layer: int) -> Tensor:
    """Return a task's vectors A v at a target layer, from every source layer: [source layers, d_target]."""
    source = inputs.source
    assert isinstance(source, ManyLayers)
    states = inputs.source_states(task)
    vectors = []
    for layer in source.layers:
        weight = maps.maps[layer, target_layer].weight
        part = _columns(states, source.columns(layer))
        mapping = FixedLinear(weight, weight.new_zeros(len(weight)))  # a bias would cancel
        vectors.append(mapping.transfer(part.positive, part.negative))
    return torch.stack(vectors)


def steer_layer(bench: PairBench, maps: LayerMaps, layer: int) -> TargetLayer:
    """Measure native and transferred steering at one target layer, on the bench's choice prompts.

    The bench is of all layers; the states of one layer are columns of its states.
    """
    source, target = _sides(bench)
    suite, inputs = bench.suite, bench.inputs
    site = Site(target.model, layer)
    sweep = ChoiceSweep(
        inputs, site, suite.alphas, suite.over_steering, maps.spreads[layer], bench.batch_size
    )
    tasks = sweep.tasks
    concepts = {t.name: _columns(inputs.target_states(t), target.columns(layer)) for t in tasks}
    directions = random_directions(suite.random_directions, site.width, bench.seed)
    native, split, random = (
        sweep.propensities(vectors, over=False)
        for vectors in (native_vectors(concepts), half_vectors(concepts), both_ways(directions, tasks))
    )
    references = choice_references(
        sweep, ReferencePropensities(native, split, random),
        directions=suite.random_directions, bootstrap=suite.bootstrap, seed=bench.seed,
    )  # fmt: skip
    moved = sweep.propensities({t.name: _transferred(inputs, t, maps, layer) for t in tasks}, over=False)
    readouts = {t.name: choice_readout(site.model, sweep.of(t).encoded)[None] for t in tasks}
    written = sweep.propensities(readouts, over=False)
    alphas = np.asarray(suite.alphas)
    sources = []
    for place, source_layer in enumerate(source.layers):
        deltas = {name: sweep.delta(m[place]) for name, m in moved.items()}
        sources.append(_source_layer(source_layer, maps.maps[source_layer, layer], references, deltas))
    native_tasks = []
    for task in tasks:
        slope = slopes(sweep.scored(native[task.name][0]), alphas).mean()
        readout = sweep.delta(written[task.name])[0]
        native_tasks.append(_native_task(task, references[task.name], float(slope), readout))
    return TargetLayer(
        layer=layer,
        depth=site.depth,
        spread=maps.spreads[layer],
        tasks=tuple(native_tasks),
        sources=tuple(sources),
    )


def _native_task(task: ChoiceTask, reference: Reference, slope: float, readout: Array) -> NativeTask:
    return NativeTask(
        task=task.name,
        digest=_selection_digest(task),
        prompts=len(reference.native),
        steerable=reference.steerable,
        effect=reference.effect,
        slope=slope,
        ceiling_r2=steering_r2(reference.half_a, reference.half_b),
        energy=tuple(np.square(reference.native).sum(1).tolist()),
        readout_r2=steering_r2(readout, reference.native),
    )


def _source_layer(
    layer: int, layer_map: LayerMap, references: dict[str, Reference], deltas: dict[str, np.ndarray]
) -> SourceLayer:
    tasks = tuple(
        TransferTask(
            task=name,
            steering_r2=steering_r2(deltas[name], reference.native),
            error=tuple(np.square(deltas[name] - reference.native).sum(1).tolist()),
        )
        for name, reference in references.items()
    )
    counted = [
        max(task.steering_r2, FLOOR)
        for task in tasks
        if references[task.task].steerable and task.steering_r2 is not None
    ]
    return SourceLayer(
        layer=layer,
        strength=layer_map.strength,
        fvu=layer_map.fvu,
        fvu_without_top8=layer_map.fvu_without_top8,
        steering_r2=mean_of(counted),
        steering_r2_median=float(np.median(counted)) if counted else None,
        tasks=tasks,
    )


def _selection_digest(task: ChoiceTask) -> str:
    """Hash of what a sweep reads of a task: its card, the pairs that make the vector, the selection."""
    parts = [task.card, *task.vector, *task.choices]
    return hashlib.sha256(json.dumps([part.model_dump(mode="json") for part in parts]).encode()).hexdigest()


def chosen_layers(model: LanguageModel, layers: Layers | None, every: int) -> ManyLayers:
    """Return the layers named, or every k-th.

    Raises UserError where there is no such layer.
    """
    if layers is None:
        layers = tuple(range(every, model.n_layers + 1, every))
        if not layers:
            raise UserError(f"--every {every}: {model.name} has {model.n_layers} layers; give at most that")
    return many_layers(model, layers)


@dataclass
class LayerSweep:
    """A sweep of one pair's models, its layers aside.

    Parameters
    ----------
    suite, pair : protocol, corpus and models; the pair's own layers are not looked at.
    tasks : choice tasks; of each only the pairs that make its vector and its selection prompts are read.
    source_layers, target_layers : which, or every `every`-th where not given.
    out : the record goes to out/layers/PAIR/layers.json. What a stopped run finished lies in `parts` beside
        it until then, by key.
    data : where corpora and tasks by data set id get their rows.
    words : options of `lrt-bench evaluate` that belong into the command for the chosen layers.
    """

    suite: Suite
    pair: PairSpec
    tasks: Sequence[ChoiceTask]
    source_layers: Layers | None = None
    target_layers: Layers | None = None
    every: int = 1
    out: Path = Path("results")
    device: str = "cpu"
    dtype: str = "float32"
    seed: int = 0
    batch_size: int = 64
    data: Data = field(default_factory=Data)
    words: Sequence[str] = ()
    report: Callable[[str, float, float], None] = lambda what, done, total: None
    _resolved: list[ChoiceTask] = field(default_factory=list, init=False)

    @property
    def path(self) -> Path:
        """Where the record lies."""
        return self.out / "layers" / self.pair.name / "layers.json"

    @held_memory()
    def run(self, models: Models) -> LayerSweepRecord:
        """Compute the sweep, or read it back.

        Raises UserError on bad input.
        """
        self.report(f"{self.pair.name}: loading", 0, 1)
        bench = self._bench(models)
        key = self._key(bench)
        if self.path.exists() and (finished := read_sweep(self.path)).key == key:
            return finished
        parts = self.path.parent / "parts" / key[:16]
        maps = self._maps(bench, parts / "maps.safetensors")
        began = time.perf_counter()
        with run_state():
            targets = tuple(self._target(bench, maps, layer, parts) for layer in maps.spreads)
        record = self._record(key, bench, maps, targets, time.perf_counter() - began)
        write_whole(self.path, (record.model_dump_json(indent=1) + "\n").encode())
        shutil.rmtree(parts.parent)
        return record

    def _bench(self, models: Models) -> PairBench:
        """Return the bench of all layers, its scored prompts exchanged for those that choose."""
        sites = []
        for side, spec, layers in (
            ("source", self.pair.source, self.source_layers),
            ("target", self.pair.target, self.target_layers),
        ):
            try:
                sites.append(chosen_layers(models.get(spec), layers, self.every))
            except UserError as error:
                raise UserError(f"{self.pair.name}: {side}: {error}") from error
        check_memory(sites[0].width + sites[1].width)
        self.suite.corpus.corpus(self.data).check()
        self._resolved = [resolve(task, self.data) for task in self.tasks]
        tasks: list[Task] = [replace(task, choices=task.select) for task in self._resolved if task.select]
        for task in self._resolved:
            for site in sites:
                check_tokens(task, site.model.tokenizer)
        corpus = self.suite.corpus.model_copy(update={"sample_tokens": SMALLEST_SAMPLE, "draws": 1})
        suite = self.suite.model_copy(update={"corpus": corpus, "over_steering": ()})

        def states_done(share: float) -> None:
            self.report(f"{self.pair.name}: states", STATES_WEIGHT * share, self._total(sites[1]))

        source, target = sites
        states = CorpusStates(
            source, target, corpus.corpus(self.data), corpus.budget, self.seed, self.batch_size, states_done
        )
        return PairBench(suite, self.pair, source, target, tasks, states, self.seed, self.batch_size)

    def _total(self, target: ManyLayers) -> int:
        return STATES_WEIGHT + len(target.layers)

    def _key(self, bench: PairBench) -> str:
        """Hash of all that the record's numbers depend on."""
        sites = [[site.model.digest, site.layers] for site in _sides(bench)]
        protocol = self.suite.model_dump(mode="json", exclude={"pairs", "mappings", "tasks", "description"})
        del protocol["corpus"]["draws"]  # layers are swept on one
        parts = [
            PROTOCOL, __version__, protocol, bench.states_source.fingerprint,
            [_selection_digest(task) for task in bench.inputs.of_kind(ChoiceTask)],
            sites, self.seed, self.dtype, self.device, "with readout",
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _maps(self, bench: PairBench, path: Path) -> LayerMaps:
        maps = load_maps(path)
        if maps is None:
            maps = fit_layers(*_sides(bench), bench.states)
            save_maps(path, maps)
            assert isinstance(bench.states_source, CorpusStates)
            bench.states_source.release()  # the sweeps need none of it
        return maps

    def _target(self, bench: PairBench, maps: LayerMaps, layer: int, parts: Path) -> TargetLayer:
        path = parts / f"target-{layer}.json"
        target = _sides(bench)[1]
        done = STATES_WEIGHT + target.layers.index(layer)
        self.report(f"{self.pair.name}: target layer {layer}", done, self._total(target))
        if path.is_file():
            return TargetLayer.model_validate_json(path.read_bytes())
        steered = steer_layer(bench, maps, layer)
        write_whole(path, steered.model_dump_json().encode())
        return steered

    def _record(
        self, key: str, bench: PairBench, maps: LayerMaps, targets: tuple[TargetLayer, ...], seconds: float
    ) -> LayerSweepRecord:
        source, target = map(_layers_record, _sides(bench))
        scored = {task.task for target_layer in targets for task in target_layer.tasks}
        return LayerSweepRecord(
            key=key,
            suite=self.suite.name,
            suite_digest=self.suite.digest,
            pair=self.pair.name,
            source=source,
            target=target,
            source_coverage=maps.coverage[0],
            target_coverage=maps.coverage[1],
            fit_tokens=maps.fit_tokens,
            validation_tokens=maps.validation_tokens,
            alphas=self.suite.alphas,
            random_directions=self.suite.random_directions,
            seed=self.seed,
            batch_size=self.batch_size,
            dtype=self.dtype,
            device=self.device,
            without_selection=tuple(task.name for task in self._resolved if not task.select),
            not_scorable=tuple(task.name for task in bench.tasks if task.name not in scored),
            targets=targets,
            chosen=self._choice(targets),
            states_seconds=maps.seconds,
            sweep_seconds=seconds,
            provenance=provenance(self.suite.corpus.named, maps.corpus_digest, self.data.revisions),
        )

    def _choice(self, targets: tuple[TargetLayer, ...]) -> Choice | None:
        best = best_layers(targets, replicates=self.suite.bootstrap, seed=self.seed)
        if best is None:
            return None
        (source, target), score, ci95, tied = best
        words = ["lrt-bench", "evaluate", "--source", self.pair.source, "--source-layer", str(source)]
        words += ["--target", self.pair.target, "--target-layer", str(target), *self.words]
        return Choice(
            source_layer=source,
            target_layer=target,
            steering_r2=score,
            ci95=ci95,
            tied=tied,
            command=shlex.join(words),
            output_level=next(one for one in targets if one.layer == target).output_level,
        )


def _sides(bench: PairBench) -> tuple[ManyLayers, ManyLayers]:
    assert isinstance(bench.source, ManyLayers)
    assert isinstance(bench.target, ManyLayers)
    return bench.source, bench.target


def _layers_record(site: ManyLayers) -> LayersRecord:
    model = site.model
    return LayersRecord(
        model=model.name,
        digest=model.digest,
        layers=site.layers,
        n_layers=model.n_layers,
        width=model.width,
    )

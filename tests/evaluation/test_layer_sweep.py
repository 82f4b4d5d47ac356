"""The layer sweep: known answers, the ordinary route's numbers, and what it must never read."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import error_of, output_of, run
from small import SMALL_SUITE

from lrt_bench.data.corpus import Budget, Corpus
from lrt_bench.data.suites import find_suite
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.errors import UserError
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.evaluation.fidelity import state_fidelity
from lrt_bench.evaluation.layer_sweep.maps import block, check_memory, fit_layers, load_maps, save_maps
from lrt_bench.evaluation.layer_sweep.record import (
    NativeTask,
    SourceLayer,
    TargetLayer,
    TransferTask,
    best_layers,
    read_sweep,
)
from lrt_bench.evaluation.layer_sweep.sweep import LayerSweep, chosen_layers
from lrt_bench.files.resources import TASKS
from lrt_bench.mappings.moments import Moments
from lrt_bench.mappings.ridge import Ridge
from lrt_bench.models.loading import Models
from lrt_bench.models.sites import Site, many_layers
from lrt_bench.models.states import collect
from lrt_bench.results.storage import read_result

pytestmark = pytest.mark.slow  # whole runs

BUDGET = Budget(fit_tokens=4000, validation_tokens=600, sample_tokens=100)


@pytest.fixture(scope="module")
def swept(small_suite, tmp_path_factory):
    """The planted rotation's sweep, by the command line: its folder, and what was printed."""
    out = tmp_path_factory.mktemp("sweep")
    done = run("sweep-layers", "--suite", small_suite, "--out", out)
    assert done.exit_code == 0, done.output
    return out, done.output


def sweep(suite_path, out, **changes):
    suite = find_suite(str(suite_path))
    tasks = changes.pop("tasks", [find_task("sentiment"), find_task("topic-dogs")])
    return LayerSweep(suite, suite.pairs[0], tasks, out=out, **changes)


def test_a_rotation_is_found_on_the_diagonal(swept):
    """Layer k of the rotated model is layer k turned: there, and nowhere else, the map is exact."""
    out, printed = swept
    record = read_sweep(out / "layers" / "rotated" / "layers.json")
    assert record.source.layers == record.target.layers == (1, 2, 3)
    for source, target in record.cells():
        assert len(target.tasks) == 3
        if source.layer == target.layer:
            assert source.fvu < 1e-3
            assert source.steering_r2 == pytest.approx(1, abs=5e-3)
        else:
            assert source.fvu > 0.02
            assert source.steering_r2 < 0.999
    assert record.chosen.source_layer == record.chosen.target_layer
    assert record.chosen.command in printed.replace("\n", " ")
    assert f"--target-layer {record.chosen.target_layer}" in record.chosen.command
    svg = (out / "layers" / "rotated" / "layers.svg").read_text()
    assert "native effect" in svg
    assert f"{record.targets[0].sources[1].fvu:.2f}" in svg
    assert not (out / "layers" / "rotated" / "parts").exists()


@pytest.mark.slow
def test_figures_are_those_of_the_ordinary_route(nano):
    """Every FVU, strength, weight and unit of alpha as two single sites and `Ridge` give them."""
    source, target = many_layers(nano("S"), [1, 3]), many_layers(nano("M"), [2, 4])
    maps = fit_layers(source, target, collect(source, target, Corpus("nano"), BUDGET))
    for (x, y), layer_map in maps.maps.items():
        states = collect(Site(nano("S"), x), Site(nano("M"), y), Corpus("nano"), BUDGET)
        ridge = Ridge()
        ridge.fit(states)
        expected = state_fidelity(ridge(states.validation[0]), states.validation[1])
        assert layer_map.strength == ridge.strength_
        assert layer_map.fvu == pytest.approx(expected.fvu, abs=1e-6)
        assert layer_map.fvu_without_top8 == pytest.approx(expected.fvu_without_top8, abs=1e-6)
        tolerance = 1e-4 * float(ridge.weight.abs().max())
        torch.testing.assert_close(layer_map.weight, ridge.weight, rtol=0, atol=tolerance)
    assert maps.fit_tokens == states.tokens
    assert maps.corpus_digest == states.digest
    assert maps.coverage == (states.coverage.source_share, states.coverage.target_share)


def test_steering_is_what_an_evaluation_of_those_layers_gives(small_suite, small_run, swept, tmp_path):
    """Selection prompts put in the place of scored ones: `evaluate` then gives the sweep's own figures."""
    folders = []
    for name in ("sentiment", "topic-dogs"):
        folders.append(tmp_path / name)
        shutil.copytree(TASKS / name, folders[-1])
        (folders[-1] / "select.jsonl").replace(folders[-1] / "score.jsonl")
    suite = find_suite(str(small_suite))
    pair = suite.pairs[0].model_copy(update={"source_layer": 1, "target_layer": 2})
    suite = suite.model_copy(update={"pairs": (pair,)})
    cells = Evaluation(
        suite, RunConfig(mappings=["ridge"], tasks=list(map(str, folders)), out=tmp_path / "out")
    ).run()
    (ridge,) = [cell.result for cell in cells if cell.result.mapping.name == "ridge"]
    record = read_sweep(swept[0] / "layers" / "rotated" / "layers.json")
    target = record.targets[1]
    for figures in ridge.tasks:
        (native,) = [task for task in target.tasks if task.task == figures.task]
        (moved,) = [task for task in target.sources[0].tasks if task.task == figures.task]
        assert native.steerable == figures.steerable
        assert native.ceiling_r2 == pytest.approx(figures.ceiling_r2, abs=1e-5)
        np.testing.assert_allclose(native.energy, figures.energy, rtol=1e-4)
        assert moved.steering_r2 == pytest.approx(figures.steering_r2, abs=1e-4)
    assert target.spread == pytest.approx(ridge.settings.spread, rel=1e-6)


def test_blocks_are_the_moments_of_the_layers_by_themselves():
    x, y = (torch.randn(300, 12, generator=torch.Generator().manual_seed(seed)).double() for seed in (0, 1))
    wide = Moments.zeros(12, 12)
    for part in (slice(0, 100), slice(100, 300)):
        wide.update(x[part], y[part])
    for rows in (slice(0, 4), slice(8, 12)):
        for columns in (slice(0, 6), slice(6, 12)):
            alone, cut = Moments.of(x[:, rows], y[:, columns]), block(wide, rows, columns)
            assert cut.n == alone.n
            for name in ("mean_x", "mean_y", "s_xx", "s_xy", "s_yy"):
                torch.testing.assert_close(getattr(cut, name), getattr(alone, name), rtol=1e-9, atol=1e-9)


def test_scored_prompts_are_never_read(small_suite, tmp_path):
    """Poisoned score prompts in a copied task leave every figure, the key and the choice as they were."""
    sweeps = []
    for poison in (False, True):
        folder = tmp_path / f"poison-{poison}" / "sentiment"
        shutil.copytree(TASKS / "sentiment", folder)
        if poison:
            rows = [
                {"prompt": f"Nonsense {number} it was a", "positive": word, "negative": " blue"}
                for number, word in enumerate((" red", " green"))
            ]
            (folder / "score.jsonl").write_text("\n".join(map(json.dumps, rows)))
        job = sweep(small_suite, tmp_path / f"out-{poison}", tasks=[find_task(str(folder))], every=2)
        sweeps.append(job.run(Models()).model_dump(exclude={"provenance", "states_seconds", "sweep_seconds"}))
    assert sweeps[0] == sweeps[1]
    assert sweeps[0]["targets"][0]["tasks"][0]["prompts"] == 16


def test_a_task_without_selection_prompts_is_left_out_and_named(small_suite, tmp_path):
    folder = tmp_path / "sentiment"
    shutil.copytree(TASKS / "sentiment", folder)
    (folder / "select.jsonl").unlink()
    options = ["--suite", str(small_suite), "--every", "2", "--out", str(tmp_path / "out")]
    both = [*options, "--task", str(folder), "--task", "topic-dogs"]
    done = run("sweep-layers", *both)
    assert done.exit_code == 0, done.output
    assert "no selection prompts (select.jsonl), left out: sentiment" in done.output
    record = read_sweep(tmp_path / "out" / "layers" / "rotated" / "layers.json")
    assert [task.task for task in record.targets[0].tasks] == ["topic-dogs"]
    done = run("sweep-layers", *options, "--task", folder)
    assert done.exit_code == 0, done.output
    assert "no layers chosen: no task has selection prompts" in done.output
    record = read_sweep(tmp_path / "out" / "layers" / "rotated" / "layers.json")
    assert record.chosen is None
    assert record.targets[0].tasks == ()
    assert record.targets[0].sources[0].fvu < 1e-3


@pytest.mark.slow
def test_a_stopped_sweep_goes_on_where_it_was(small_suite, tmp_path):
    whole = sweep(small_suite, tmp_path / "whole").run(Models())
    started: list[str] = []

    def stop(what: str, done: float, total: float) -> None:
        if what.endswith("target layer 3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(small_suite, tmp_path / "resumed", report=stop).run(Models())
    parts = next((tmp_path / "resumed" / "layers" / "rotated" / "parts").iterdir())
    assert {path.name for path in parts.iterdir()} == {"maps.safetensors", "target-1.json", "target-2.json"}
    stamp = (parts / "target-1.json").read_bytes()
    assert stamp
    job = sweep(small_suite, tmp_path / "resumed", report=lambda what, *_: started.append(what))
    resumed = job.run(Models())
    assert not any("states" in what for what in started)
    unlike = {"provenance": {"created"}, "states_seconds": True, "sweep_seconds": True}
    assert resumed.model_dump_json(exclude=unlike) == whole.model_dump_json(exclude=unlike)
    assert job.run(Models()) == read_sweep(job.path)
    changed = job.path.stat().st_mtime_ns
    sweep(small_suite, tmp_path / "resumed", seed=1, every=3).run(Models())
    assert job.path.stat().st_mtime_ns != changed


def test_maps_are_read_back_as_they_were_written(nano, tmp_path):
    source, target = many_layers(nano("S"), [2]), many_layers(nano("S"), [1, 3])
    maps = fit_layers(source, target, collect(source, target, Corpus("nano"), BUDGET))
    save_maps(tmp_path / "maps.safetensors", maps)
    again = load_maps(tmp_path / "maps.safetensors")
    assert {**vars(again), "maps": None} == {**vars(maps), "maps": None}
    for pair, layer_map in maps.maps.items():
        torch.testing.assert_close(again.maps[pair].weight, layer_map.weight, rtol=0, atol=0)
        assert (again.maps[pair].strength, again.maps[pair].fvu) == (layer_map.strength, layer_map.fvu)
    assert load_maps(tmp_path / "nothing.safetensors") is None


@pytest.mark.parametrize(("every", "layers"), [(1, (1, 2, 3)), (2, (2,)), (3, (3,))])
def test_every_kth_layer(nano, every, layers):
    assert chosen_layers(nano("S"), None, every).layers == layers
    assert chosen_layers(nano("S"), (3, 1), every).layers == (1, 3)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--source-layers", "1,9"], "S-L: source: layer 9 is out of range for nano/S: give 1 to 3"),
        (["--target-layers", "0"], "S-L: target: layer 0 is out of range for nano/L: give 1 to 6"),
        (["--every", "4"], "S-L: source: --every 4: nano/S has 3 layers; give at most that"),
        (
            ["--model", "nano/M=."],
            "--model nano/M: no model of these pairs (did you mean nano/S?); they are of nano/L, nano/S",
        ),
        (["--source", "nano/S"], "an ad hoc pair wants both --source and --target"),
        (["--task", "sentiment", "--task", "sentiment"], "two tasks are named sentiment"),
    ],
)
def test_bad_input_is_one_line(options, line, tmp_path):
    pair = [] if "--source" in options else ["--pair", "S-L"]
    assert line in error_of("sweep-layers", *pair, *options, "--out", tmp_path)
    assert not any(tmp_path.iterdir())


def test_too_wide_for_this_machine_is_one_line():
    with pytest.raises(UserError, match=r"take 24000 GB .* sweep fewer layers \(--every"):
        check_memory(1_000_000)
    check_memory(1000)


def planted_targets(
    energies: dict[int, float], errors: dict[tuple[int, int], float], readouts: dict[int, float] | None = None
) -> tuple[TargetLayer, ...]:
    """Target layers of two tasks and thirty prompts with given energies and errors a prompt."""
    readouts = readouts or {}
    rng = np.random.default_rng(0)
    noise = rng.uniform(0.5, 1.5, 30)
    scored = []
    for layer, energy in energies.items():
        native = [
            NativeTask(
                task=name, digest="", prompts=30, steerable=energy > 1, effect=(0, 1), slope=1, ceiling_r2=1,
                energy=tuple(energy * noise), readout_r2=readouts.get(layer),
            )
            for name in ("one", "two")
        ]  # fmt: skip
        sources = []
        for (source, target), error in errors.items():
            if target == layer:
                moved = [
                    TransferTask(task=name, steering_r2=1 - error / energy, error=tuple(error * noise))
                    for name in ("one", "two")
                ]
                score = 1 - error / energy if energy > 1 else None
                sources.append(
                    SourceLayer(
                        layer=source, strength=0, fvu=0, fvu_without_top8=0, tasks=tuple(moved),
                        steering_r2=score, steering_r2_median=score,
                    )
                )  # fmt: skip
        scored.append(
            TargetLayer(layer=layer, depth=0.5, spread=1, tasks=tuple(native), sources=tuple(sources))
        )
    return tuple(scored)


def test_the_choice_is_the_best_where_native_steering_works():
    """Layer 1 has the least error and no native effect: it is not chosen. What is far behind is not tied."""
    targets = planted_targets({1: 0.5, 2: 10, 3: 10}, {(1, 1): 0.0, (1, 2): 1.0, (2, 2): 6.0, (2, 3): 1.0})
    pair, score, interval, tied = best_layers(targets, replicates=200, seed=0)
    assert (pair, score) == ((1, 2), pytest.approx(0.9))
    assert interval == pytest.approx((0.9, 0.9))
    assert tied == ((2, 3),)
    assert best_layers(targets[:1], replicates=200, seed=0) is None


def test_a_layer_where_the_readout_does_as_well_is_chosen_only_where_there_is_no_other():
    errors = {(1, 2): 1.0, (1, 3): 4.0}
    targets = planted_targets({2: 10, 3: 10}, errors, {2: 0.7, 3: 0.5})
    assert [target.output_level for target in targets] == [True, False]
    pair, score, *_ = best_layers(targets, replicates=200, seed=0)
    assert (pair, score) == ((1, 3), pytest.approx(0.6))
    late = planted_targets({2: 10, 3: 10}, errors, {2: 0.7, 3: 0.9})
    assert best_layers(late, replicates=200, seed=0)[0] == (1, 2)
    older = planted_targets({2: 10, 3: 10}, errors)  # records of before the readout was measured
    assert best_layers(older, replicates=200, seed=0)[0] == (1, 2)


def test_the_readout_stands_beside_the_score_and_rules_late_layers_out(tmp_path):
    """Small to large: the last layers are won by writing two words, the second is not."""
    pair = "rotated, source: nano/S, source_layer: 3, target: nano/L, target_layer: 2"
    text = re.sub(r"rotated.*(?=})", pair, SMALL_SUITE).replace("person, topic-dogs, fidelity", "number")
    (tmp_path / "late.yaml").write_text(text)
    options = ["--suite", str(tmp_path / "late.yaml"), "--source-layers", "3", "--target-layers", "2,5"]
    printed = output_of("sweep-layers", *options, "--out", tmp_path)
    (path,) = tmp_path.rglob("layers.json")
    record = read_sweep(path)
    early, late = record.targets
    assert early.readout_r2 < 0.6 * early.ceiling_r2
    assert late.readout_r2 > 0.6 * late.ceiling_r2
    assert (record.chosen.target_layer, record.chosen.output_level) == (2, False)
    assert late.sources[0].steering_r2 > early.sources[0].steering_r2
    assert "the readout control is above 60% of the ceiling: 5" in " ".join(printed.split())
    assert f"{late.readout_r2:.2f}" in printed
    assert f"{late.readout_r2:.2f}" in path.with_suffix(".svg").read_text()


def test_the_chosen_command_runs(swept, tmp_path):
    record = read_sweep(swept[0] / "layers" / "rotated" / "layers.json")
    words = record.chosen.command.split()[1:]
    extra = ["--mapping", "ridge", "--out", str(tmp_path), "--task", "sentiment"]
    output_of(*words, *extra)
    (path,) = Path(tmp_path).rglob("ridge.json")
    assert read_result(path).transfer_score > 99

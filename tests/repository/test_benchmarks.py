"""The bench: its counts, its peers, its pages; at shapes that take seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from benchmarks import __main__ as bench
from benchmarks import adamw, fit, generation, gpu, gpu_check, growth, peers, pretrained, sweep
from benchmarks.floor import Shape, Tree, full_operations, operations, product_work
from benchmarks.record import Line, Settings, UnavailableError, ratio, same
from benchmarks.report import HERE, Report
from benchmarks.timing import Timing, interleaved, machine
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.data.tasks import ChoicePrompt
from lrt_bench.errors import UserError
from lrt_bench.mappings.base import squared_error
from lrt_bench.mappings.moments import Moments
from lrt_bench.models.sites import Site
from lrt_bench.results.storage import read_result

pytestmark = pytest.mark.slow  # whole runs

QUICK = Settings(quick=True)


@pytest.fixture(scope="module")
def work():
    site = sweep.embedded_pair("cpu")[1]
    tasks = {name: find_task(name).choices for name in ("number", "tense")}
    return sweep.work_on(site, tasks, 6, 2, (-0.5, 0.0, 0.5))


def slow_count(shape: Shape, prompts: list[list[int]], moved: int) -> int:
    """Multiply-adds, one product and one token at a time; every different beginning is visited once."""
    total = 0
    for steered in [False] + [True] * moved:
        for layer in range(shape.layers):
            if steered and layer < shape.layer:
                continue  # what lies below the site does not know of the offset
            last, done = layer == shape.layers - 1, set()
            for ids in prompts:
                for place in range(len(ids)):
                    beginning = tuple(ids[: place + 1])
                    whole = last and any(tuple(other) == beginning for other in prompts)
                    if beginning in done:
                        continue
                    done.add(beginning)
                    total += 2 * shape.width * shape.keys  # key and value
                    if last and not whole:
                        continue
                    total += shape.width * shape.queries + shape.queries * shape.width
                    total += 3 * shape.width * shape.intermediate
                    for _ancestor in beginning:
                        total += 2 * shape.queries  # its score, and its share of the value
        total += 2 * shape.width * len(prompts)
    return total


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_the_floor_is_that_of_an_explicit_count(layer):
    shape = Shape(width=8, queries=8, keys=4, intermediate=20, layers=4, layer=layer)
    prompts = [[0, 5, 6, 7], [0, 5, 6, 9, 3, 2], [0, 5]]  # the last one is a beginning of the others
    assert operations(shape, prompts, 3) == 2 * slow_count(shape, prompts, 3)


def test_full_forwards_cost_every_token_of_every_prompt_in_every_layer():
    shape = Shape(width=8, queries=8, keys=4, intermediate=20, layers=3, layer=1)
    token = 8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 20  # multiply-adds of a block, but for attention
    scores = 2 * 8 * (1 + 2 + 3 + 1 + 2)  # a score and a share of the value for every token seen
    whole = 3 * (5 * token + scores) + 5 * 8 * 100
    assert full_operations(shape, [[0, 1, 2], [0, 1]], 6, vocabulary=100) == 2 * 7 * whole


def test_shared_beginnings_count_once():
    assert Tree.of([[0, 1, 2], [0, 1, 3]]).nodes == 4
    shape = Shape(8, 8, 8, 16, 3, 1)
    apart, together = ([[0, 1, 2], [9, 1, 3]], [[0, 1, 2], [0, 1, 3]])
    assert operations(shape, together, 5) < operations(shape, apart, 5)


def test_a_sweep_on_the_last_layer_costs_two_rows_of_the_unembedding():
    shape = Shape(8, 8, 8, 16, layers=3, layer=3)
    assert operations(shape, [[0, 1]], 5) - operations(shape, [[0, 1]], 4) == 4 * 8


def test_the_shape_is_the_models(nano):
    model = nano("L")
    shape = Shape.of(Site(model, 5))
    block = sum(p.numel() for p in model.module.model.layers[0].parameters() if p.ndim == 2)
    assert sum(i * o for i, o in shape.products) == block
    multiply, count = product_work(shape, 3, torch.float32, "cpu")
    multiply()
    assert count == 2 * 3 * block


def test_peers_propensities_are_ours(work):
    ours = sweep.ours(work)
    moved = max(float((values - values[..., 1:2]).abs().max()) for values in ours.values())
    assert moved > 0.5
    everything = sweep.common(ours, work, work)
    for peer in (peers.one_by_one, peers.batched, sweep._last_only):
        assert same(peer.__name__, everything, sweep.flat(peer(work)), 1e-4) < 1e-4
    part = work.part(1, 4, 1, 1)
    assert part.alphas == (-0.5, 0.0)
    with peers.lm_eval_runner(part) as run:
        theirs = sweep.flat(run())
    assert len(theirs) == 4 * 2
    assert same("lm-eval", sweep.common(ours, work, part), theirs, 1e-4) < 1e-4


def test_peers_leave_the_model_as_it_was(work):
    ids = torch.tensor([[0, 5, 6, 7]])
    before = work.site.model.module(ids).logits
    peers.batched(work.part(1, 2, 1, 1))
    assert torch.equal(work.site.model.module(ids).logits, before)


def test_a_part_of_the_work_counts_its_cells(work):
    assert work.cells == 12 * (2 * 2 + 1)
    assert work.part(1, 4, 1, 1).cells == 4 * 2
    assert len(list(work.steps())) == work.moved + 1


def test_only_one_token_options_are_compared(work):
    rows = [
        ChoicePrompt(prompt="She saw the", positive=" dog", negative=" dogs and the sea"),
        ChoicePrompt(prompt="She saw the", positive=" dog", negative=" sea"),
        ChoicePrompt(prompt="They saw the", positive=" sea", negative=" dog"),
        ChoicePrompt(prompt="We saw the", positive=" sea", negative=" dog"),
    ]
    assert peers.single_tokens(work.site, rows, 9) == (rows[1], rows[2])


def test_other_work_is_refused():
    with pytest.raises(UserError, match="differs from ours by"):
        same("it", [1.0, 2.0], [1.0, 2.1], 1e-4)
    with pytest.raises(UserError, match="not the same work"):
        same("it", [1.0, 2.0], [1.0, float("nan")], 1e-4)
    with pytest.raises(UserError, match="3 numbers"):
        same("it", [1.0], [1.0] * 3, 1e-4)


def test_contenders_run_in_turn():
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name) or name) for name in "ab"}
    timings, results = interleaved(calls, 3)
    assert "".join(order) == "abbaab"
    assert results == {"a": "a", "b": "b"}
    assert len(timings["a"].seconds) == 3
    assert len(interleaved(calls, 3, budget=0)[0]["a"].seconds) == 1


def test_ratios_are_taken_round_by_round():
    line = ratio("sweep", "it", Timing((4.0, 30.0, 10.0)), Timing((2.0, 10.0, 10.0))).aims("at least", 2)
    assert (line.value, line.low, line.high, line.met) == (2.0, 1.0, 3.0, True)
    assert replace(line, value=1.9).met is False
    assert replace(line, sense="at most", value=1.9).met is True


@pytest.mark.slow
def test_closed_form_is_ridge_and_adamw_comes_towards_it():
    states = fit.random_states(12, 20, 3_000)
    best = adamw.closed_form(states)
    trainer = adamw.AdamW(states, 1e-2, batch=256, standardised=True)
    first = trainer.loss()
    _, epochs, last = trainer.until(1.01 * best, 3.0)
    assert best < last < first
    assert epochs > 0
    held_out = Moments.of(*states.validation)
    weight = (trainer.layer.weight / trainer.scale).double().detach()
    bias = trainer.layer.bias.double().detach() - weight @ trainer.mean.double()
    assert trainer.loss() == pytest.approx(squared_error(held_out, weight, bias), rel=1e-3)


def test_forwards_and_fit_read_the_same_texts():
    source, target = sweep.embedded_pair("cpu")
    budget = fit.Budget(1_500, 200, 500)
    corpus = fit.tokenised(source, target, budget)
    states = fit.collect(source, target, corpus, budget)
    fits = [t for block in corpus.blocks for t in block if t.split == "fit"]
    assert states.tokens == sum(len(text.source_at) for text in fits)
    assert len(states.validation_text) == sum(t.split == "validation" for b in corpus.blocks for t in b)


def test_exponents_of_known_powers():
    sizes = [1, 2, 4, 8]
    assert growth.exponent(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)


def test_growths_prompts_are_as_long_as_asked(nano):
    rows = growth.prompts(nano("L"), 4, 20)
    assert [len(tokens.ids) for tokens in growth.encode(nano("L").tokenizer, [r.prompt for r in rows])] == [
        20
    ] * 4
    assert len({row.positive for row in rows}) == 2


def test_other_texts_are_refused():
    ours = {(0, p): "a dog" for p in range(10)}
    assert generation.differing("it", ours, ours) == 0
    with pytest.raises(UserError, match="not the same work"):
        generation.differing("it", ours, ours | {(0, 3): "a sea"})


@pytest.mark.parametrize("part", [generation, gpu])
def test_quick_parts_measure(part):
    lines = part.measure(QUICK)
    assert lines
    assert all(line.value > 0 for line in lines)


@pytest.mark.slow
def test_the_gpu_script_reads_neither_data_sets_nor_lm_eval():
    modules = "{'datasets', 'lm_eval', 'steering_vectors'} & set(sys.modules)"
    code = f"import sys, benchmarks.gpu, benchmarks.gpu_check; print({modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HERE.parent
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_the_gpu_check_compares_two_devices_figures(tmp_path, monkeypatch, capsys):
    suite = gpu_check.narrowed(quick=True)
    small = suite.corpus.model_copy(
        update={"fit_tokens": 3000, "validation_tokens": 500, "sample_tokens": 500, "context": 64}
    )
    monkeypatch.setattr(gpu_check, "narrowed", lambda quick: suite.model_copy(update={"corpus": small}))
    monkeypatch.setattr(gpu_check, "MAPPINGS", ("ridge",))
    monkeypatch.setattr("sys.argv", ["gpu_check", "--device", "cpu", "--quick", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        gpu_check.main()
    assert ended.value.code == 0
    lines = {line.what: line for line in Report.read(tmp_path / "results.json").lines}
    for kind, tolerance in gpu_check.TOLERANCES.items():
        line = lines[f"{kind}: greatest difference to the CPU"]
        assert line.met
        assert line.goal == tolerance
    assert any(line.part == "gpu" for line in lines.values())


def test_a_figure_that_a_device_gets_wrong_is_told():
    files = HERE.parent / "leaderboard" / "results" / "nano" / "S-L"
    cpu = {name: read_result(files / f"{name}.json") for name in gpu_check.MAPPINGS}
    assert all(line.value == 0 for line in gpu_check.compared(cpu, cpu))
    moved = cpu["ridge"].model_copy(update={"transfer_score": cpu["ridge"].transfer_score + 1.5})
    without = cpu["affine"].model_copy(update={"fidelity": None})
    lines = gpu_check.compared(cpu | {"ridge": moved, "affine": without}, cpu)
    missed = {line.what.partition(":")[0]: line.note for line in lines if not line.met}
    assert missed == {"Transfer Score": "ridge", "FVU": "affine"}


def a_report() -> Report:
    lines = [
        Line("sweep", "against it", 44.4, "x", 40.0, 50.0, goal=40, note="same numbers"),
        Line("sweep", "share of the floor", 55.5, "%", goal=70),
        Line("evaluate", "all of it", 50.0, "s", goal=45, sense="at most"),
        Line("growth", "prompts", 0.97, "exponent"),
    ]
    return Report(machine(), lines, {"sweep": 66.0}, {"fit": "no such thing"})


def test_pages_come_from_the_results_alone(tmp_path):
    a_report().write(tmp_path / "a")
    again = Report.read(tmp_path / "a" / "results.json")
    again.write(tmp_path / "b")
    for name in ("results.json", "README.md", "figure.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    page = (tmp_path / "a" / "README.md").read_text()
    assert "| against it | 44.4 x | 40.0 to 50.0 | at least 40 x | met | same numbers |" in page
    assert "| share of the floor | 55.5 % |  | at least 70 % | missed |  |" in page
    assert "Goals met: 1 of 3." in page
    assert "Left out: fit: no such thing" in page
    assert str(tmp_path) not in page
    assert os.uname().nodename not in json.dumps(machine()).split('"')
    assert b"against it" in (tmp_path / "a" / "figure.svg").read_bytes()


def test_broken_results_are_one_line(tmp_path):
    (tmp_path / "results.json").write_text('{"lines": 3}')
    with pytest.raises(UserError, match="no results of the bench"):
        Report.read(tmp_path / "results.json")


@pytest.mark.skipif(not (HERE / "results.json").exists(), reason="no run is committed")
def test_the_committed_pages_are_those_of_the_committed_results(tmp_path):
    Report.read(HERE / "results.json").write(tmp_path)
    assert (tmp_path / "README.md").read_text() == (HERE / "README.md").read_text()
    assert (tmp_path / "figure.svg").read_text() == (HERE / "figure.svg").read_text()


def test_the_command(tmp_path, monkeypatch, capsys):
    command = ["benchmarks", "--quick", "--parts", "generation", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="0"):
        bench.main()
    assert "ours, one batch" in capsys.readouterr().out
    assert {line.part for line in Report.read(tmp_path / "results.json").lines} == {"generation"}
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--parts", "speed"])
    with pytest.raises(SystemExit, match="2"):
        bench.main()
    assert "speed: give some of" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_one_line(tmp_path):
    missing = Settings(smollm2=tmp_path / "none.gguf")
    with pytest.raises(UserError, match=r"none\.gguf: no such GGUF file"):
        pretrained.measure(missing)


def test_a_part_that_fails_is_left_out_and_the_others_go_on(monkeypatch):
    def failing(part, settings):
        if part == "sweep":
            raise UserError("not the same work")
        if part == "pretrained":
            raise UnavailableError("not here")
        return [Line(part, "it", 1.0, "s")]

    monkeypatch.setattr(bench, "measured", failing)
    report, well = bench.run(("pretrained", "fit"), QUICK)
    assert (report.left_out, well) == ({"pretrained": "not here"}, True)
    report, well = bench.run(("sweep", "fit"), QUICK)
    assert (report.left_out, well) == ({"sweep": "not the same work"}, False)
    words = subprocess.CalledProcessError(3, "it", stderr="Traceback\nno such thing\n")
    assert bench.reason(words) == "a command of it ended with 3: no such thing"
    assert [line.part for line in report.lines] == ["fit"]


def test_long_prompts_share_hardly_any_beginning(nano):
    rows = pretrained.longer(find_task("everyday-sentiment").choices[:12], 9)
    ids = [tokens.ids for tokens in growth.encode(nano("L").tokenizer, [row.prompt for row in rows])]
    assert Tree.of(ids).nodes > 0.85 * sum(map(len, ids))
    assert all(row.prompt.count("\n") == 9 for row in rows)


def test_moments_are_compared_with_float64():
    source, target = sweep.embedded_pair("cpu")
    budget = fit.Budget(1_500, 200, 500)
    corpus = fit.tokenised(source, target, budget)
    states = fit.collect(source, target, corpus, budget)
    assert fit.moments_error(source, target, corpus, states, 64) < 1e-5
    states.moments.s_xy *= 1.01
    assert fit.moments_error(source, target, corpus, states, 64) == pytest.approx(0.01, rel=1e-3)


def test_a_part_that_is_not_balanced_is_swept_whole_by_the_peers(work):
    task = find_task("sentiment")
    whole = sweep.work_on(work.site, {"sentiment": task.choices}, 48, 1, (0.0, 0.5))
    part = whole.part(1, 3, 1, 1)
    assert len({row.positive for row in part.tasks["sentiment"]}) == 3  # a sweep would leave them out
    assert [row.ids for row in part.encoded["sentiment"]] == [
        row.ids for row in sweep.Sweep(whole.site, whole.tasks["sentiment"], (0.0,), 1.0, 64).encoded[:3]
    ]
    theirs = sweep.flat(peers.batched(part))
    assert same("batched", sweep.common(sweep.ours(whole), whole, part), theirs, 1e-4) < 1e-4

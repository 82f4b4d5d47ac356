"""Engines: the same numbers from any number of workers, in any order, though some are lost."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import COMMAND, error_of, run_process

from lrt_bench.data.corpus import Budget, Corpus
from lrt_bench.data.suites import find_suite
from lrt_bench.errors import SubmissionError, UserError
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.engines.choice import Local, chosen_engine, useful_processes
from lrt_bench.evaluation.engines.forkserver import start_server
from lrt_bench.evaluation.engines.pair import PairRun
from lrt_bench.evaluation.engines.ray import Ray
from lrt_bench.evaluation.engines.worker import Worker, WorkerSettings
from lrt_bench.evaluation.evaluation import Evaluation, rows_of
from lrt_bench.evaluation.protocol import STATES_WEIGHT
from lrt_bench.evaluation.refusal_scores import Scorers
from lrt_bench.evaluation.rows import Nothing
from lrt_bench.evaluation.scorers.judge import KEY, Judge
from lrt_bench.models.sample import Sample
from lrt_bench.models.sites import Site
from lrt_bench.models.states import Pass, collect, read_shard

pytestmark = pytest.mark.slow  # whole runs

pytest.importorskip("ray")

SUITE = """
name: two-pairs
corpus: {source: nano, context: 32, fit_tokens: 6000, validation_tokens: 400, sample_tokens: 1000}
shuffles: 1
fit_seeds: 1
bootstrap: 100
tasks: [person, topic-dogs, nano-refusal, perplexity]
mappings: [mlp, ridge]
pairs:
  - {name: S-S2, source: nano/S, source_layer: 2, target: nano/S2, target_layer: 2}
  - {name: rotated, source: nano/S, source_layer: 2, target: "planted-rotation:nano/S", target_layer: 2,
     skip_kinds: [refusal]}
"""
TIMES = {"cost": True, "provenance": {"created"}}


@pytest.fixture(scope="module")
def suite_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "two-pairs.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def suite(suite_file):
    return find_suite(str(suite_file))


@pytest.fixture(scope="module")
def local_numbers(suite, tmp_path_factory):
    """The local engine's results."""
    return numbers(Local().run(Evaluation(suite, RunConfig(out=tmp_path_factory.mktemp("local")))))


def numbers(cells) -> list[dict]:
    return [cell.result.model_dump(mode="json", exclude=TIMES) for cell in cells]


def furthest(one, two, path="") -> float:
    """The greatest difference between two records; what is no number must be the same."""
    if isinstance(one, dict):
        assert one.keys() == two.keys(), path
        return max((furthest(one[key], two[key], f"{path}.{key}") for key in one), default=0.0)
    if isinstance(one, list):
        assert len(one) == len(two), path
        return max((furthest(a, b, f"{path}[]") for a, b in zip(one, two, strict=True)), default=0.0)
    if isinstance(one, float) and isinstance(two, float):
        return abs(one - two)
    assert one == two, path
    return 0.0


def test_shards_read_in_any_order_are_the_pass(nano):
    source, target = Site(nano("S"), 2), Site(nano("S2"), 3)
    budget = Budget(16_000, 500, 2_000)
    whole = collect(source, target, Corpus("nano"), budget, seed=3, batch_size=32)
    models = source.model, target.model
    tokenizers, limits = tuple(m.tokenizer for m in models), tuple(m.context for m in models)
    parts = Pass(
        Corpus("nano"), budget, tokenizers, limits, (source.width, target.width), seed=3, batch_size=32
    )
    shards = list(parts.shards())
    order = list(range(len(shards)))
    random.Random(0).shuffle(order)
    assert len(order) >= 3
    read = {index: read_shard(source, target, shards[index], 32) for index in order}
    for index, shard in enumerate(shards):
        parts.add(shard, read[index])
    [merged] = parts.draws()
    for name in ("n", "mean_x", "mean_y", "s_xx", "s_xy", "s_yy"):
        one, two = getattr(merged.moments, name), getattr(whole.moments, name)
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(two)), name
    assert np.array_equal(merged.sample.x, whole.sample.x)
    assert np.array_equal(merged.sample.y, whole.sample.y)
    assert all(torch.equal(a, b) for a, b in zip(merged.validation, whole.validation, strict=True))
    assert (merged.digest, merged.coverage) == (whole.digest, whole.coverage)


def test_a_sample_does_not_depend_on_how_its_stream_is_cut():
    stream = np.arange(700, dtype=np.float32)[:, None]
    samples = []
    for size in (1, 64, 700):
        sample = Sample(40, 1, 1, seed=5)
        for start in range(0, 700, size):
            sample.update(stream[start : start + size], -stream[start : start + size])
        samples.append((np.array(sample.x), np.array(sample.y)))
    for x, y in samples:
        assert np.array_equal(x, samples[0][0])
        assert np.array_equal(y, -x)


@pytest.mark.slow
def test_units_done_in_any_order_by_several_workers_give_the_local_numbers(suite, local_numbers, tmp_path):
    """The driver's side and the workers' without Ray: every unit that is ready, in a random order."""
    evaluation = Evaluation(suite, RunConfig(out=tmp_path), submissions=[Failing("failing", "none")])
    workers = [Worker(), Worker()]
    for worker in workers:
        worker.configure(WorkerSettings.of(evaluation))
    plan, draw = evaluation.check(), random.Random(1)
    pairs = [
        PairRun(evaluation, number, pair, plan.tasks[pair.name], rows_of(pair, plan.rows), share, 4)
        for number, pair in enumerate(suite.pairs)
    ]
    for pair in pairs:
        while not pair.done:
            ready = list(iter(pair.next, None))
            draw.shuffle(ready)
            for unit in ready:
                answer = getattr(draw.choice(workers), unit.call)(pair.task, *unit.arguments)
                pair.take(unit, answer)
    cells = [pair.cells[row.name] for pair in pairs for row in pair.rows if row.name in pair.cells]
    assert furthest(numbers(cells), local_numbers) == 0
    assert [pair.failures["failing"].reason for pair in pairs] == ["it fails"] * 2
    assert all(pair.progress == STATES_WEIGHT + len(pair.rows) for pair in pairs)


class Failing(Nothing):
    """A submission's row that fails when it is fitted."""

    def vectors(self, bench, tasks):
        raise SubmissionError("it fails")


def share(value):
    return value


@pytest.mark.ray
@pytest.mark.parametrize("engine", [Ray(workers=2, cpus=1), Local(workers=2)], ids=["ray", "processes"])
def test_two_workers_give_the_local_numbers_though_two_are_killed(
    engine, suite, local_numbers, tmp_path, caplog, capfd, monkeypatch
):
    """One worker's process is killed while the corpus is read, another one while cells are computed."""
    seen, killed = [], {}

    def report(*said):
        seen.append(said)
        stage = {"rotated: states": "states", "rotated: mlp": "cell"}.get(said[0].partition(" (+")[0])
        if stage and stage not in killed:
            killed[stage] = processes()
            threading.Timer(0.05, os.kill, (killed[stage][0], signal.SIGKILL)).start()

    start_server()  # its socket stays where other tests find it
    short = Path(tempfile.mkdtemp(prefix="t-"))  # a socket's path has little room
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    pairs = []
    evaluation = Evaluation(suite, RunConfig(out=tmp_path), report=report, pair_done=pairs.append)
    cells = engine.run(evaluation)
    assert furthest(numbers(cells), local_numbers) <= 1e-9
    assert all(cell.computed and cell.path.exists() for cell in cells)
    assert sorted(map(numbers, pairs), key=str) == sorted([numbers(cells[:10]), numbers(cells[10:])], key=str)
    assert killed["states"][0] not in killed["cell"]
    lost = [record.getMessage() for record in caplog.records if "was lost" in record.getMessage()]
    assert len(lost) == 2
    assert capfd.readouterr().out == ""  # where results are printed, workers print nothing
    assert any("(+1)" in what for what, _, _ in seen)  # two at a time
    done = [share / total for _, share, total in seen]
    assert done == sorted(done)
    assert done[-1] == 1
    # the cluster leaves nothing behind; the local engine takes the cells for its own
    left = list(short.glob("lrt-*"))
    monkeypatch.undo()
    shutil.rmtree(short)
    assert not left
    assert not processes()
    again = Evaluation(suite, RunConfig(out=tmp_path)).run()
    assert not any(cell.computed for cell in again)


def processes() -> list[int]:
    """Process ids of this process's living workers: Ray names them after their class, ours are forked."""
    parents, workers, forked = {}, [], []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            name = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        if name.startswith(b"ray::Worker"):
            workers.append(int(folder.name))
        if b"multiprocessing.forkserver" in name:
            forked.append(int(folder.name))
    workers += [pid for pid in forked if parents[pid] in forked]
    return [pid for pid in workers if os.getpid() in ancestors(pid, parents)]


def ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while pid in parents:
        pid = parents[pid]
        yield pid


@pytest.fixture(scope="module")
def _cluster():
    """One cluster for tests that look at no process: the engine uses the one it finds itself in."""
    from lrt_bench.evaluation.engines.ray import connected

    with connected(Ray(workers=2)):
        yield


@pytest.mark.ray
@pytest.mark.usefixtures("_cluster")
def test_what_is_wrong_on_a_worker_is_one_line_and_what_was_finished_stays(suite, suite_file, tmp_path):
    out = tmp_path / "out"
    Evaluation(
        suite.model_copy(update={"pairs": suite.pairs[1:]}), RunConfig(mappings=["ridge"], out=out)
    ).run()
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
    missing = out / "two-pairs" / "rotated" / "ridge.json"
    missing.unlink()
    broken = tmp_path / "broken.py"
    broken.write_text(
        "from lrt_bench import LinearMapping\n"
        "class Broken(LinearMapping):\n"
        "    def solve(self, states):\n"
        "        if states.tokens < 5000:  # random moments, on which it is tried before the run\n"
        "            return states.moments.s_xy.T\n"
        "        raise ValueError('no\\nsolution')\n"
    )
    options = ["--mapping", "ridge", "--mapping", f"{broken}:Broken", "--out", str(out), "--pair", "rotated"]
    line = error_of("evaluate", "--suite", suite_file, "--engine", "ray", "--workers", "1", *options)
    assert line == "error: mapping broken.Broken: fit fails: ValueError: no solution (broken.py, line 6)"
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
    assert after.keys() == stamps.keys()  # the cell before it is written, and no other anew
    assert {path for path in after if after[path] != stamps[path]} == {missing}


class Deadly(Nothing):
    """A row that ends every process to which it is sent."""

    def __reduce__(self):
        return os._exit, (1,)


@pytest.mark.ray
@pytest.mark.usefixtures("_cluster")
def test_work_that_loses_every_worker_ends_in_one_line(suite, tmp_path, monkeypatch):
    monkeypatch.setattr("lrt_bench.evaluation.engines.driver.ATTEMPTS", 2)
    evaluation = Evaluation(suite, RunConfig(out=tmp_path), submissions=[Deadly("deadly", "none")])
    for local_or_ray, said in ((Ray(workers=1, cpus=1), "Ray says"), (Local(workers=2), "ended with code 1")):
        with pytest.raises(
            UserError, match=rf"starting: its worker was lost 2 times; .* --workers. .*{said}"
        ):
            local_or_ray.run(evaluation)
    assert not processes()


def test_other_code_on_a_worker_is_refused():
    from lrt_bench.evaluation.engines.driver import check_version

    version, digest, host, process = Worker().version()
    check_version(version, digest, host, process)
    with pytest.raises(UserError, match=rf"worker on {host} .* runs lrt-bench 0.0.1, this is"):
        check_version("0.0.1", digest, host, process)
    with pytest.raises(UserError, match="other code of lrt-bench"):
        check_version(version, "0" * 64, host, process)


def test_a_folder_that_a_worker_has_not_is_one_line(suite, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    settings = WorkerSettings.of(Evaluation(suite))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").rmdir()
    with pytest.raises(UserError, match=r"no folder .*gone: run from one that all machines share"):
        Worker().configure(settings)


def test_a_judges_key_is_never_sent(suite, monkeypatch):
    scorers = Scorers(judge=Judge("http://127.0.0.1:9/v1", "judge", "the-secret-key"))
    settings = WorkerSettings.of(Evaluation(suite, scorers=scorers))
    assert b"the-secret-key" not in pickle.dumps(settings)
    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(UserError, match=f"{KEY} is not set there"):
        settings.on_this_machine()
    monkeypatch.setenv(KEY, "its-own")
    judge = settings.on_this_machine().scorers.judge
    assert (judge.url, judge.model, judge.key) == ("http://127.0.0.1:9/v1", "judge", "its-own")


def test_without_ray_one_line_says_what_to_install(suite, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "ray"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "lrt_bench.evaluation.engines.ray", raising=False)
    with pytest.raises(UserError, match=r"pip install 'lrt-bench\[ray\]'"):
        chosen_engine(RunConfig(engine="ray")).run(Evaluation(suite))


def test_the_default_needs_no_ray():
    """Neither the command line nor the local engine imports it."""
    code = (
        "import sys\n"
        "sys.modules['ray'] = None\n"
        "from lrt_bench.cli.main import main\n"
        "import lrt_bench.evaluation.evaluation\n"
        "from lrt_bench.evaluation.config import RunConfig\n"
        "from lrt_bench.evaluation.engines.choice import chosen_engine\n"
        "chosen_engine(RunConfig())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_local_engine_knows_no_cluster():
    with pytest.raises(UserError, match=r"--worker-cpus: the local engine does not know it: .* --engine ray"):
        chosen_engine(RunConfig(workers=2, worker_cpus=2))


def test_processes_are_started_where_they_pay(monkeypatch, tmp_path):
    nano, everyday = find_suite("nano"), find_suite("everyday")
    config = RunConfig(out=tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert useful_processes(nano, config) == 4
    assert useful_processes(everyday, config) == 1  # models of which nothing is known here
    assert useful_processes(nano, config.model_copy(update={"device": "cuda"})) == 1
    assert useful_processes(nano, RunConfig(out=tmp_path, mappings=["ridge"], tasks=["tense"])) == 1
    assert useful_processes(nano, RunConfig(out=tmp_path, judge_url="http://h/v1", judge_model="m")) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert useful_processes(nano, config) == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert useful_processes(nano, config) == min(4, len(os.sched_getaffinity(0)))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    for pair in nano.pairs:
        (tmp_path / "nano" / pair.name).mkdir(parents=True)
        for name in nano.mappings:
            (tmp_path / "nano" / pair.name / f"{name}.json").touch()
    assert useful_processes(nano, config) == 1  # all is there already


def test_models_on_this_disk_are_weighed(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr("lrt_bench.evaluation.engines.choice.SMALL", 1000)
    suite = find_suite("nano-full")
    model = tmp_path / "model"
    model.mkdir()
    weights = model / "model.safetensors"
    weights.write_bytes(bytes(1000))
    [pair] = [pair.model_copy(update={"source": str(model)}) for pair in suite.pairs[:1]]
    suite = suite.model_copy(update={"pairs": (pair,)})
    assert useful_processes(suite, RunConfig(out=tmp_path)) == 2
    weights.write_bytes(bytes(1001))
    assert useful_processes(suite, RunConfig(out=tmp_path)) == 1
    stand_in = tmp_path / "small.gguf"
    stand_in.touch()
    assert useful_processes(suite, RunConfig(out=tmp_path, models={str(model): str(stand_in)})) == 2
    assert useful_processes(suite, RunConfig(out=tmp_path, models={str(model): str(tmp_path / "none")})) == 1


@pytest.mark.ray
def test_a_worker_ends_when_its_driver_is_killed(suite_file, tmp_path):
    command = [*COMMAND, "evaluate", "--suite", str(suite_file), "--out", str(tmp_path)]
    driver = subprocess.Popen([*command, "--workers", "2"], stderr=subprocess.DEVNULL)
    try:
        until(lambda: [*tmp_path.rglob("*.json")], 120)
        pids = workers_of(driver.pid)
        assert len(pids) >= 3  # two, and the process that they are forked from
    finally:
        driver.kill()
        driver.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 60)


@pytest.mark.ray
def test_the_command_with_workers_prints_what_it_prints_without(tmp_path):
    """Workers share this terminal, and no warning of theirs reaches it. Seconds may differ."""
    options = ["--pair", "planted-rotation", "--task", "number", "--task", "fidelity", "--mapping", "ridge"]
    printed = []
    for workers in ("1", "2"):
        folder = tmp_path / workers
        folder.mkdir()
        process = run_process("evaluate", *options, "--out", "results", "--workers", workers, cwd=folder)
        assert (process.returncode, process.stderr) == (0, "")
        assert (folder / "results" / "nano" / "planted-rotation" / "figure.svg").is_file()
        printed.append(re.sub(r"[\d.]+", "", process.stdout))
    assert printed[0] == printed[1]


def test_settings_that_cannot_be_sent_are_one_line(suite, tmp_path):
    evaluation = Evaluation(suite, RunConfig(out=tmp_path), submissions=[Unsendable("unsendable", "none")])
    with pytest.raises(UserError, match=r"--workers 2: these settings cannot be sent .*: give --workers 1"):
        Local(workers=2).run(evaluation)


class Unsendable(Nothing):
    """A row that is nothing without this process."""

    def __reduce__(self):
        raise TypeError("not outside of this process")


def until(done, seconds):
    """Wait for it."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)


def workers_of(driver: int) -> list[int]:
    """Process ids of a process's living descendants."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return [pid for pid in parents if driver in ancestors(pid, parents)]


@pytest.mark.parametrize(
    ("nodes", "device", "options", "expected"),
    [
        ([{"CPU": 8.0}], "cpu", {}, (2, {"num_cpus": 4.0, "num_gpus": 0.0})),
        ([{"CPU": 8.0}], "cpu", {"workers": 5}, (5, {"num_cpus": 1.0, "num_gpus": 0.0})),
        ([{"CPU": 1.0}, {"memory": 1.0}], "cpu", {}, (2, {"num_cpus": 1.0, "num_gpus": 0.0})),
        (
            [{"CPU": 4.0}, {"CPU": 64.0, "GPU": 8.0}, {"CPU": 32.0, "GPU": 8.0}], "cuda", {},
            (16, {"num_cpus": 4.0, "num_gpus": 1.0}),
        ),
        (
            [{"CPU": 64.0, "GPU": 8.0}], "cuda", {"gpus": 2.0, "memory": 3.0},
            (4, {"num_cpus": 16.0, "num_gpus": 2.0, "memory": 3 * 2**30}),
        ),
        ([{"CPU": 64.0, "GPU": 8}], "cpu", {"workers": 4, "cpus": 3}, (4, {"num_cpus": 3, "num_gpus": 0})),
    ],
)  # fmt: skip
def test_workers_share_out_what_the_machines_have(nodes, device, options, expected):
    from lrt_bench.evaluation.engines.ray import team

    crew = team(nodes, device, Ray(**options))
    assert (crew.count, crew.request) == expected

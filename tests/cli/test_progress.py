"""Progress: it never runs backwards, its time left follows the work, and a pipe hears of it once a minute."""

from __future__ import annotations

import itertools
import shutil
import time

import pytest

from lrt_bench.cli.terminal import progress as module
from lrt_bench.cli.terminal.progress import Estimate, duration, line, progress
from lrt_bench.data.suites import find_suite
from lrt_bench.evaluation.cells import PHASES, Phases, Tally
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def reports_of(small_suite, out, **settings):
    seen = []
    suite = find_suite(str(small_suite))
    Evaluation(suite, RunConfig(out=out, **settings), report=lambda *what: seen.append(what)).run()
    return seen


def check_monotone(seen):
    done = [one for _, one, _ in seen]
    shares = [one / total for _, one, total in seen if total]
    assert done == sorted(done)
    assert shares == sorted(shares)
    if shares:
        assert shares[-1] == pytest.approx(1.0)


def test_a_run_never_goes_backwards_and_ends_at_the_whole(small_suite, small_run, tmp_path):
    """From nothing, resumed in the middle, and with every cell finished before."""
    fresh = reports_of(small_suite, tmp_path / "fresh", mappings=("ridge",), tasks=("person",))
    check_monotone(fresh)
    assert any(0 < one % 1 < 1 for what, one, _ in fresh if what.endswith("ridge"))  # within a cell
    shutil.copytree(small_run, tmp_path / "out")
    (tmp_path / "out" / "small" / "rotated" / "ridge.json").unlink()
    resumed = reports_of(small_suite, tmp_path / "out")
    check_monotone(resumed)
    assert resumed[-1][2] == pytest.approx(5)  # one cell, and the pass over the corpus
    assert reports_of(small_suite, tmp_path / "out")[-1][1:] == (0, 0)


def test_phases_of_a_cell_count_as_long_as_they_took():
    clock, shares = Clock(), []
    phases = Phases(shares.append, clock)
    seconds = dict(zip(PHASES, (1.0, 6.0, 2.0, 1.0), strict=True))
    for _ in range(2):
        for phase in PHASES:
            phases.begin(phase)
            clock.now += seconds[phase]
        phases.end()
    assert shares[4:] == pytest.approx([0.0, 0.1, 0.7, 0.9])


def test_a_tally_takes_out_what_was_finished_before():
    seen = []
    tally = Tally(14.0, lambda *what: seen.append(what[1:]))
    tally.begin("a")
    tally.end_cell(computed=False)
    tally.states(0.5)
    tally.within(0.5)
    assert seen[-1] == (2.5, 13.0)
    tally.within(0.2)
    tally.states(0.25)
    assert seen[-1] == (2.5, 13.0)


@pytest.mark.parametrize("seconds", [0.5, 60.0])
def test_the_time_left_is_that_of_the_work_left(seconds):
    clock = Clock()
    estimate = Estimate(clock)
    assert estimate.left is None
    for done in range(1, 51):
        clock.now += seconds
        estimate.update(done, 100)
    assert estimate.left == pytest.approx(50 * seconds)
    clock.now += 3 * seconds  # a step that takes longer takes nothing from those after it
    assert estimate.left == pytest.approx(49 * seconds)
    assert estimate.share == 0.5


def test_the_time_left_follows_a_run_that_becomes_slower():
    clock = Clock()
    estimate = Estimate(clock)
    for done in range(1, 101):
        clock.now += 1 if done <= 50 else 10
        estimate.update(done, 200)
    assert 900 < estimate.left <= 1000


def test_a_smaller_report_moves_nothing_back():
    estimate = Estimate(Clock())
    for done, total in ((5, 10), (2, 10), (6, 20)):
        estimate.update(done, total)
    assert (estimate.done, estimate.share) == (6, 0.5)


def test_durations_read_as_times():
    assert [duration(s) for s in (0, 89, 90, 3540, 3900)] == ["0 s", "89 s", "2 min", "59 min", "1 h 5 min"]


def test_without_a_terminal_a_line_a_minute_says_what_is_done_and_left(monkeypatch, capsys):
    """Also where nothing is reported meanwhile: the line comes by itself."""
    monkeypatch.setattr(module, "LINE_SECONDS", 0.05)
    with progress() as update:
        update("S-L: ridge", 12, 70)
        deadline = time.monotonic() + 20
        lines = []
        while len(lines) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
            lines += capsys.readouterr().err.splitlines()
    assert lines[0].startswith("S-L: ridge: 12 of 70 cells, 0 s gone, ")
    assert len(lines) >= 2


def test_a_line_tells_the_time_left_when_it_is_known():
    clock = Clock()
    estimate = Estimate(clock)
    for done in range(1, 8):
        clock.now += 60
        estimate.update(done, 70)
    assert line(estimate, "S-L: mlp", "cells") == "S-L: mlp: 7 of 70 cells, 7 min gone, about 1 h 3 min left"
    assert "estimating" in line(Estimate(clock), "a", "cells")


def test_lines_hold_no_command_to_the_terminal():
    assert "\x1b" not in line(Estimate(Clock()), "\x1b[2Jmine", "cells")


def test_quiet_says_nothing(monkeypatch, capsys):
    monkeypatch.setattr(module, "LINE_SECONDS", 0.01)
    monkeypatch.setattr(module, "is_quiet", lambda: True)
    with progress() as update:
        for done in itertools.islice(itertools.count(), 3):
            update("a", done, 3)
            time.sleep(0.02)
    assert capsys.readouterr().err == ""

"""The choice of sites: the gate, what is chosen on, and that the page says what the data say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.data.tasks import ChoiceTask
from scripts.protocol.choose_sites import NEW, OF_NANO, held_out
from scripts.protocol.site_scores import Measured, margin_low, read, site_of, write
from scripts.protocol.site_table import CHOSEN, by_pair, failures, fill, write_tables

ROOT = Path(__file__).parents[2]
PAGE, DATA = ROOT / "docs/protocol.md", ROOT / "docs/protocol-sites.csv"
RNG = np.random.default_rng(0)
NATIVE = RNG.uniform(0.8, 1.2, 24)
RANDOM = NATIVE * RNG.uniform(0.9, 1.3, (16, 1))


def test_a_half_as_near_as_its_own_copy_is_clear() -> None:
    assert margin_low(NATIVE, 0.05 * NATIVE, RANDOM, seed=1)[0] > 0.5


def test_a_half_no_nearer_than_a_lucky_direction_is_not() -> None:
    nearest = RANDOM.min(0)
    assert margin_low(NATIVE, nearest, RANDOM, seed=1)[0] < 0


def test_a_half_no_nearer_than_no_steering_is_not() -> None:
    assert margin_low(NATIVE, 1.01 * NATIVE, 5 * RANDOM, seed=1)[0] < 0


def test_skewed_directions_lose_a_task_that_their_logarithms_keep() -> None:
    skewed = NATIVE * np.exp(RNG.normal(1, 1, (16, 1)))
    low, log_low = margin_low(NATIVE, 0.02 * NATIVE, skewed, seed=1)
    assert low < 0 < log_low


def shares(mlp: float, affine: float, orthogonal: float, readout: float = 0.2) -> list[Measured]:
    rows = {"readout": readout, "unembedding": 0.1, "mlp": mlp, "affine": affine, "orthogonal": orthogonal}
    return [
        Measured("look", "S3-L2", f"task-{number}", 8, 0.1, 0.1, 0.9, {
            row: float(share + RNG.normal(0, 0.03)) for row, share in rows.items()
        })
        for number in range(24)
    ]  # fmt: skip


def test_maps_far_apart_are_parted_and_equal_ones_are_not() -> None:
    apart, alike = site_of(shares(0.9, 0.6, 0.4)), site_of(shares(0.9, 0.5, 0.5))
    assert apart is not None
    assert alike is not None
    assert apart.parted
    assert not alike.parted
    assert failures(apart) == []
    assert failures(alike) == ["not all parted"]


def test_what_the_rule_forbids_is_named() -> None:
    written = site_of(shares(0.99, 0.97, 0.96, readout=0.75))
    assert written is not None
    broken = ", ".join(failures(written))
    assert "a control at 7" in broken
    assert "saturated" in broken


def test_a_task_that_is_not_clear_counts_nowhere() -> None:
    some = shares(0.9, 0.6, 0.4)
    lost = Measured("look", "S3-L2", "lost", 8, -0.1, 0.1, 0.1, dict.fromkeys(some[0].shares, -1.0))
    with_lost, without = site_of([*some, lost]), site_of(some)
    assert with_lost is not None
    assert without is not None
    assert with_lost.scores == without.scores
    assert with_lost.not_clear == ("lost",)


@pytest.mark.parametrize("name", [*OF_NANO, *NEW])
def test_sites_are_chosen_on_prompts_that_no_score_reads(name: str) -> None:
    task = find_task(name)
    assert isinstance(task, ChoiceTask)
    kept = held_out(task, 8).choices
    assert len(kept) == 8
    assert not set(map(str, kept)) & set(map(str, task.choices))


def test_a_file_of_measurements_reads_back(tmp_path: Path) -> None:
    some = shares(0.9, 0.6, 0.4)
    write(tmp_path / "sites.csv", some)
    again = read(tmp_path / "sites.csv")
    assert [one.task for one in again] == [one.task for one in some]
    assert again[3].shares == pytest.approx(some[3].shares, abs=1e-4)


def test_the_page_shows_the_committed_data(tmp_path: Path) -> None:
    page = tmp_path / "protocol.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    fill(page, {"sites": "", "concepts": ""})
    write_tables(page, read(DATA))
    assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")


def test_chosen_pairs_were_measured_in_full_and_no_readout_writes_them() -> None:
    measured = by_pair(read(DATA))
    assert CHOSEN
    for pair in CHOSEN:
        site = site_of(measured[pair])
        assert site is not None
        assert site.stage == "full"
        assert site.control <= 60

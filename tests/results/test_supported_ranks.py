"""Submissions are ranked by what private models support of them, built-in maps by their score."""

from __future__ import annotations

import command_line
import pytest
from boards import read, write

from lrt_bench.cli.terminal.pairs import pair_listings
from lrt_bench.leaderboard.entries import read_board
from lrt_bench.leaderboard.markdown import markdown
from lrt_bench.results.frame import frame, records
from lrt_bench.results.ranking import ranked
from lrt_bench.results.schema.unseen_records import FreshScore, PrivateScore, ReferenceScores
from lrt_bench.results.storage import read_result

HASH = "ab" * 32


def private(score: float, gap: float, half: float = 5.0) -> PrivateScore:
    return PrivateScore(
        commitment=HASH, key=HASH, score=30.0, ci95=(20.0, 40.0), supported=score - gap, gap=gap,
        gap_ci95=(gap - half, gap + half),
        references=(ReferenceScores(mapping="ridge", public=50.0, private=25.0),),
    )  # fmt: skip


@pytest.fixture(scope="module")
def results(small_run):
    return [read_result(path) for path in sorted((small_run / "small" / "rotated").glob("*.json"))]


def submitted(results, name, record, of="ridge"):
    """A copy of a built-in map's result as a submission's, with a private score."""
    result = next(result for result in results if result.mapping.name == of)
    mapping = result.mapping.model_copy(update={"name": name, "origin": "submission"})
    return result.model_copy(update={"mapping": mapping, "private": record})


def places(results):
    return {row.result.mapping.name: row for row in ranked(results)}


def test_without_a_private_score_a_submission_stands_below_the_ranked_rows(results):
    found = places([*results, submitted(results, "mine", None)])
    assert found["mine"].rank is None
    assert found["mine"].unranked == "not verified: no score on a private pair"
    order = [row.result.mapping.name for row in found.values() if not row.result.mapping.control]
    assert order[-1] == "mine"


@pytest.mark.parametrize(
    ("gap", "half", "why"),
    [
        (20.0, 5.0, "20.0 points above what"),
        (2.0, 50.0, "tells too little"),
        (80.0, 50.0, "80.0 points above"),
    ],
)
def test_a_gap_that_is_clear_or_says_nothing_gives_no_rank(results, gap, half, why):
    score = next(r.transfer_score for r in results if r.mapping.name == "ridge")
    found = places([*results, submitted(results, "mine", private(score, gap, half))])
    assert found["mine"].rank is None
    assert why in found["mine"].unranked


def test_what_is_not_supported_is_taken_off_before_rows_are_ranked(results):
    score = next(r.transfer_score for r in results if r.mapping.name == "ridge")
    rows = [
        *results,
        submitted(results, "same", private(score, 0.0)),
        submitted(results, "above", private(score, 4.9)),
    ]
    found = places(rows)
    assert found["same"].rank == found["ridge"].rank
    assert found["above"].rank > found["ridge"].rank
    assert found["above"].result.transfer_score == found["ridge"].result.transfer_score
    assert found["ridge"].samples - found["above"].samples == pytest.approx(4.9)
    table = {row["mapping"]: row for row in records(frame(list(found.values())))}
    assert table["above"]["counted_score"] == pytest.approx(score - 4.9)
    assert table["same"]["counted_score"] == table["ridge"]["counted_score"] == score
    assert table["above"]["private_gap"] == 4.9
    assert table["ridge"]["private_gap"] is None
    text = " ".join(
        cell for listing in pair_listings(list(found.values())) for row in listing.rows for cell in row
    )
    assert f"{score - 4.9:.1f}" in text


def test_weights_rank_in_their_own_table_without_one(results):
    mine = submitted(results, "mine", None)
    weights = mine.model_copy(update={"mapping": mine.mapping.model_copy(update={"track": "weights"})})
    assert places([*results, weights])["mine"].rank == 1


@pytest.fixture
def board(small_run, tmp_path):
    """The small run, a submission that is verified, and one that is not."""
    folder = small_run / "small" / "rotated"
    for path in sorted(folder.glob("*.json")):
        write(tmp_path / "results", read(path))
    ridge = read_result(folder / "ridge.json")
    fresh = FreshScore(draw=HASH, concepts=6, counted=5, score=61.25, ci95=(40.0, 80.0))
    for name, gap in (("trusted", 1.0), ("stored", 30.0)):
        record = submitted([ridge], name, private(ridge.transfer_score, gap)).model_copy(
            update={"fresh": fresh}
        )
        path = tmp_path / "results" / "small" / "rotated" / f"{name}.json"
        path.write_text(record.model_dump_json())
    return tmp_path


def test_pages_and_summary_show_the_gap_and_the_drawn_concepts(board):
    done = command_line.run("leaderboard", "build", "--results", board / "results", "--out", board / "site")
    assert done.exit_code == 0, done.output
    index = (board / "site" / "index.html").read_text()
    assert "Private gap" in index
    assert "61.2" in index
    page = (board / "site" / "mappings" / "trusted.html").read_text()
    assert HASH[:12] in page
    assert "read off" in page
    assert "30.0 points above what its private score supports" in index
    names = [entry.name for entry in read_board(board / "results").pairs[0].entries]
    assert names.index("stored") > names.index("mlp")
    summary = markdown(board / "results")
    assert "| private | gap | fresh concepts |" in summary
    assert "1.0 [" in summary


def test_a_board_without_such_scores_has_no_empty_columns(small_run, tmp_path):
    done = command_line.run("leaderboard", "build", "--results", small_run, "--out", tmp_path / "site")
    assert done.exit_code == 0, done.output
    assert "Private gap" not in (tmp_path / "site" / "index.html").read_text()


def test_the_ledger_verifies_no_submission_whose_private_score_disagrees(board):
    words = ("leaderboard", "record", "--results", board / "results", "--reason", "scored here", "--state")
    line = command_line.error_of(*words, "verified")
    assert "small/rotated/stored" in line
    assert "30.0 points above" in line
    assert not (board / "ledger.csv").exists()
    (board / "results" / "small" / "rotated" / "stored.json").unlink()
    done = command_line.run(*words, "verified")
    assert done.exit_code == 0, done.output
    assert "trusted" in done.output


def test_an_entry_is_verified_no_longer_where_another_family_does_not_agree(board):
    """After a rotation: the build asks for a line, and the line takes the state away."""
    words = ("leaderboard", "record", "--results", board / "results", "--ledger", board / "ledger.csv")
    (board / "results" / "small" / "rotated" / "stored.json").unlink()
    command_line.output_of(*words, "--reason", "scored here", "--state", "verified")
    path = board / "results" / "small" / "rotated" / "trusted.json"
    record = read(path)
    record["private"] = private(record["transfer_score"], 30.0).model_dump(mode="json")
    write(board / "results", record)
    build = ("leaderboard", "build", "--results", board / "results", "--ledger", board / "ledger.csv")
    line = command_line.error_of(*build, "--out", board / "site")
    assert "small/rotated/trusted is verified, and its private score does not agree" in line
    told = command_line.output_of(*words, "--reason", "another family")
    assert "trusted" in told
    assert (board / "ledger.csv").read_text().splitlines()[-1].split(",")[1:6] == [
        "state", "small", "rotated", "trusted", "claimed",
    ]  # fmt: skip
    command_line.output_of(*build, "--out", board / "site")


def test_a_private_record_that_is_of_another_score_is_refused(board):
    path = board / "results" / "small" / "rotated" / "trusted.json"
    record = read(path)
    record["private"]["supported"] -= 10
    write(board / "results", record)
    done = command_line.run("leaderboard", "build", "--results", board / "results", "--out", board / "site")
    assert done.exit_code == 1
    assert "field private: gap 1.00" in done.output

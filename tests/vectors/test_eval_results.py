"""What a pushed map scored, read back by the Hub's own parser."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from command_line import error_of
from huggingface_hub import parse_eval_result_entries

from lrt_bench.data.hub.repository import PART
from lrt_bench.errors import UserError
from lrt_bench.vectors.eval_results import FILE, eval_results
from lrt_bench.vectors.map_card import MapCard

COMMITTED = Path(__file__).parents[2] / "leaderboard" / "results"
RECORD = json.loads((COMMITTED / "nano" / "S-L-early" / "ridge.json").read_text())


def card(**changes) -> MapCard:
    """The card of a ridge between the sites of S-L-early."""
    kept = ("model", "digest", "layer", "width")
    sides = {
        side: {"spread": 1.0} | {key: RECORD["pair"][side][key] for key in kept}
        for side in ("source", "target")
    }
    fields = {
        "mapping": "ridge", "rule": "A v", **sides, "corpus": "nano", "corpus_digest": "0",
        "fit_tokens": 20_000, "validation_tokens": 1000, "source_coverage": 1, "target_coverage": 1,
        "r2": 0.5, "r2_without_top8": 0.5, "cosine": 0.7, "parameters": 10, "seed": 0,
        "lrt_bench": "0.1.0", "created": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return MapCard.model_validate(fields | changes)


def test_the_hub_s_parser_reads_the_score_its_task_and_its_notes():
    [entry] = parse_eval_result_entries(yaml.safe_load(eval_results(card(), COMMITTED, "org/scores")))
    assert entry.dataset_id == "org/scores"
    assert entry.task_id == "nano--S-L-early"
    assert entry.value == round(RECORD["transfer_score"], 2)
    assert entry.date == RECORD["provenance"]["created"]
    assert f"95% [{RECORD['ci95'][0]:.1f}, {RECORD['ci95'][1]:.1f}]" in entry.notes
    assert "this map on 20000" in entry.notes


def test_it_is_a_file_of_the_folder_that_the_hub_reads():
    folder, name = FILE.split("/")
    assert folder == ".eval_results"
    assert name.endswith(".yaml")
    assert all(PART.fullmatch(part) for part in (folder, name))


@pytest.mark.parametrize("change", ["mapping", "weights", "layer"])
def test_scores_of_another_map_are_not_taken(change):
    about = card()
    if change == "mapping":
        about = about.model_copy(update={"mapping": "widest"})
    elif change == "weights":
        about = about.model_copy(update={"source": about.source.model_copy(update={"digest": "other"})})
    else:
        about = about.model_copy(update={"target": about.target.model_copy(update={"layer": 4})})
    with pytest.raises(UserError, match=f"no score of {about.mapping} between these weights and layers"):
        eval_results(about, COMMITTED, "org/scores")


def test_an_incomplete_result_is_no_score(tmp_path):
    shutil.copytree(COMMITTED / "nano" / "S-L-early", tmp_path / "nano" / "S-L-early")
    path = tmp_path / "nano" / "S-L-early" / "ridge.json"
    path.write_text(json.dumps(RECORD | {"complete": False}))
    with pytest.raises(UserError, match="no score of ridge"):
        eval_results(card(), tmp_path, "org/scores")


@pytest.mark.parametrize(
    "options", [("--results", "results"), ("--results", "results", "--benchmark", "org/scores")]
)
def test_half_of_what_it_needs_is_told_before_a_model_is_loaded(options):
    said = error_of("fit", "--source", "no-such-model", "--target", "none", "--save", "map", *options)
    assert said.startswith("error: --results, --benchmark: give both, and --push")

"""What a keeper types: `make score-submissions` with a private family; what makes a row a verified one."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import command_line
import pytest
from private_pairs import family_of, public_suite

from lrt_bench.submissions.scaffold import new_submission

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
CONCEPTS = ("sentiment", "person", "number", "tense")


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A checkout in which one commit adds a submission, after the keeper's command."""
    root = tmp_path_factory.mktemp("keeper")
    family_of(root / "family", CONCEPTS)
    checkout = root / "checkout"
    checkout.mkdir()
    shutil.copy(ROOT / "Makefile", checkout)
    (checkout / "public.yaml").write_text(public_suite(CONCEPTS))
    git(checkout, "init", "-q", "-b", "main")
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "begin")
    new_submission("my-map", checkout / "submissions")
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "a submission")
    words = [
        "make", "--old-file=.venv/.installed", f"BIN={Path(sys.executable).parent}", "score-submissions",
        "BASE=HEAD~1", f"PRIVATE={root / 'family'}", "SUITE=public.yaml", "PAIR=S-M",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    return checkout, done


def test_it_scores_what_the_branch_adds_and_shows_nothing_private(keeper):
    checkout, done = keeper
    assert done.returncode == 0, done.stderr
    assert "my-map" in done.stdout
    result = json.loads((checkout / "results" / "public" / "S-M" / "my-map.json").read_text())
    # the scaffold is ridge, from which the scale is read; in so small a family another map cuts it by points
    assert abs(result["private"]["gap"]) < 12
    written = {path.relative_to(checkout).parts[:2] for path in (checkout / "results").rglob("*.json")}
    assert written == {("results", "public")}
    told = done.stdout + done.stderr + (checkout / "results" / "public" / "S-M" / "my-map.json").read_text()
    assert str(checkout.parent / "family") not in told.replace(f"PRIVATE={checkout.parent / 'family'}", "")
    kept = list((checkout.parent / "family" / "results").rglob("my-map.json"))
    assert len(kept) == 2


def test_it_is_verified_and_stands_on_the_pages_with_its_gap(keeper, tmp_path):
    checkout, _ = keeper
    results = tmp_path / "results"
    shutil.copytree(checkout / "results", results, ignore=shutil.ignore_patterns("*.safetensors", "*.svg"))
    ledger = tmp_path / "ledger.csv"
    record = ("leaderboard", "record", "--results", results, "--ledger", ledger, "--reason", "scored here")
    command_line.output_of(*record)
    told = command_line.output_of(*record, "--state", "verified", "--entry", "public/S-M/my-map")
    assert "my-map" in told
    with ledger.open(newline="") as lines:
        last = list(csv.DictReader(lines))[-1]
    assert (last["mapping"], last["state"]) == ("my-map", "verified")
    assert last["rank"]
    build = ("leaderboard", "build", "--results", results, "--ledger", ledger, "--out", tmp_path / "site")
    command_line.output_of(*build)
    index = (tmp_path / "site" / "index.html").read_text()
    assert "Private gap" in index
    page = (tmp_path / "site" / "mappings" / "my-map.html").read_text()
    assert "verified" in page
    commitment = json.loads((results / "public" / "S-M" / "my-map.json").read_text())["private"]["commitment"]
    assert commitment[:12] in page

"""The cache on the command line: what it holds, and that `fit` and `transfer` share it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import output_of, run
from vector_desk import texts_of

from lrt_bench.data.corpus import Budget, Corpus
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.files.cache.folder import CacheFolder
from lrt_bench.files.cache.recall import using
from lrt_bench.mappings.ridge import Ridge
from lrt_bench.models import states as reading
from lrt_bench.models.base import LanguageModel
from lrt_bench.models.sites import Site
from lrt_bench.vectors.forecast import known_concepts as known
from lrt_bench.vectors.vector_files import read_vector

SIDES = ("--source", "nano/S:3", "--target", "nano/S2:2", "--tokens", "400")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """This test's cache."""
    monkeypatch.setenv("LRT_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def shards(monkeypatch) -> list[object]:
    """What is read of a corpus, a shard each."""
    read: list[object] = []
    own = reading.read_shard

    def counted(*given: object) -> object:
        read.append(given)
        return own(*given)

    monkeypatch.setattr(reading, "read_shard", counted)
    return read


def concept_files(tmp_path: Path, task: str) -> tuple[Path, Path]:
    paths = tmp_path / f"{task}.txt", tmp_path / f"other-{task}.txt"
    for path, texts in zip(paths, texts_of(find_task(task)), strict=True):
        path.write_text("\n".join(texts) + "\n")
    return paths


@pytest.mark.slow
def test_fit_and_transfer_share_states(folder, shards, tmp_path):
    def carried(task: str, *more: str) -> bytes:
        out = tmp_path / "carried.safetensors"
        concept = ("--concept", *map(str, concept_files(tmp_path, task)))
        output_of("transfer", *SIDES, "--no-forecast", *concept, "--out", out, *more)
        return read_vector(out).at(2).numpy().tobytes()

    output_of("fit", *SIDES, "--save", tmp_path / "map")
    read = len(shards)
    assert read
    again = carried("person"), carried("number")
    assert len(shards) == read  # neither vector read the text again
    assert again == (carried("person", "--no-cache"), carried("number", "--no-cache"))
    assert len(shards) > read
    held = json.loads(output_of("cache", "info", "--json"))
    assert held["folder"] == str(folder)
    assert held["kinds"]["states"]["entries"] == 1


@pytest.mark.slow
def test_a_forecast_sweeps_known_concepts_once(nano: Callable[[str], LanguageModel], tmp_path, monkeypatch):
    source, target = Site(nano("S"), 3), Site(nano("S2"), 2)
    read = reading.collect(source, target, Corpus("nano", context=64), Budget(1500, 300, 300))
    ridge = Ridge()
    ridge.fit(read)
    tasks = [find_task("person"), find_task("topic-dogs")]

    def concepts() -> object:
        return known.known_concepts(known.bench_of(source, target, read, tasks), [ridge])

    wanted = concepts()
    with using(CacheFolder(tmp_path / "cache", 2**28)):
        assert concepts() == wanted
        monkeypatch.setattr(known, "Sweep", None)  # nothing is swept again
        assert concepts() == wanted


def test_the_cache_is_shown_and_deleted(folder):
    assert "0 entries" in output_of("cache", "info")
    folder.mkdir()
    (folder / f"states-{'a' * 64}.safetensors").write_bytes(b"x" * 3_000_000)
    assert "states: 1, 3 MB" in output_of("cache", "info")
    assert "1 entries deleted" in output_of("cache", "clear")
    assert not list(folder.iterdir())


def test_no_cache_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("LRT_BENCH_CACHE", "off")
    assert "LRT_BENCH_CACHE is off" in output_of("cache", "info")
    monkeypatch.setenv("LRT_BENCH_CACHE", str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    refused = run("cache", "info")
    assert refused.exit_code == 2
    assert "give a folder, or off" in refused.stderr

"""The cache of an evaluation: scores are the same to the bit with it, without it, and after any damage."""

from __future__ import annotations

import logging
import re
import shutil

import pytest
import torch

from lrt_bench.data.suites import find_suite
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.engines.choice import Local
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.files.cache.folder import CacheFolder
from lrt_bench.models import states
from lrt_bench.models.decoders.transformers_model import TransformersModel

pytestmark = pytest.mark.slow  # whole runs

SUITE = """
name: kept
corpus: {source: CORPUS, context: 32, fit_tokens: 1500, validation_tokens: 300, sample_tokens: 400}
shuffles: 1
fit_seeds: 1
bootstrap: 100
behaviour: {alphas: [-0.25, 0.25], tokens: 2, splits: 1, prompts: 4}
tasks: [person, topic-dogs, write-dogs, fidelity, perplexity]
mappings: [ridge]
pairs:
  - {name: S-S2, source: nano/S, source_layer: 2, target: nano/S2, target_layer: 1}
"""
KINDS = {
    "unsteered", "states", "concept", "forest", "agreement", "baseline", "written", "divergences",
    "unit", "damage",
}  # fmt: skip


@pytest.fixture(scope="module")
def suite_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    path = folder / "kept.yaml"
    path.write_text(SUITE.replace("CORPUS", "nano"))
    return path


@pytest.fixture(scope="module")
def cached(suite_file, tmp_path_factory):
    """A folder that a first run filled, and the numbers of a run without."""
    without = numbers(suite_file, tmp_path_factory.mktemp("without"), no_cache=True)
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRT_BENCH_CACHE", str(folder))
        assert numbers(suite_file, tmp_path_factory.mktemp("cold")) == without
    return folder, without


@pytest.fixture
def filled(cached, tmp_path, monkeypatch):
    """A copy of that folder, which this test's runs read, and the numbers."""
    folder = tmp_path / "cache"
    shutil.copytree(cached[0], folder)
    monkeypatch.setenv("LRT_BENCH_CACHE", str(folder))
    return folder, cached[1]


def numbers(suite_file, out, workers=1, **settings):
    """All that a run's results say, but for times."""
    suite = find_suite(str(suite_file))
    cells = Local(workers).run(Evaluation(suite, RunConfig(out=out, **settings)))
    shutil.rmtree(out)
    return {
        cell.result.mapping.name: cell.result.model_dump(
            exclude={"cost": True, "provenance": {"created", "config", "commit"}}
        )
        for cell in cells
    }


def kinds(folder):
    return {path.name.partition("-")[0] for path in folder.iterdir()}


def test_every_kind_is_kept_and_a_second_run_computes_no_states(filled, suite_file, tmp_path, monkeypatch):
    folder, without = filled
    assert kinds(folder) == KINDS
    before = {path.name for path in folder.iterdir()}
    shards, embedded = [], []
    embed, read = TransformersModel.embed, states.read_shard

    def counted(self, *given):
        embedded.append(self)
        return embed(self, *given)

    def shard_read(*given):
        shards.append(given)
        return read(*given)

    monkeypatch.setattr(TransformersModel, "embed", counted)
    monkeypatch.setattr(states, "read_shard", shard_read)
    assert numbers(suite_file, tmp_path / "out") == without
    warm = len(embedded)
    assert not shards
    assert numbers(suite_file, tmp_path / "out", no_cache=True) == without
    assert shards
    assert warm < 0.8 * (len(embedded) - warm)  # what is left are checks of the models, and the rows' own
    assert {path.name for path in folder.iterdir()} == before  # nothing new was computed


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_damage_to_any_kind_changes_nothing(filled, kind, suite_file, tmp_path, caplog):
    folder, without = filled
    mine = sorted(folder.glob(f"{kind}-*"))
    others = sorted(path for path in folder.iterdir() if path not in mine)
    data = mine[0].read_bytes()
    mine[0].write_bytes(data[: len(data) // 2])  # cut
    if len(mine) > 2:
        mine[1].write_bytes(mine[2].read_bytes())  # swapped
    mine[-1].unlink() if len(mine) > 3 else shutil.copy(others[0], mine[-1])
    with caplog.at_level(logging.WARNING, "lrt_bench"):
        assert numbers(suite_file, tmp_path / "out") == without
    assert "damaged" in caplog.text
    kept = CacheFolder(folder, 2**30)
    again = [kept.read(kind, path.stem.partition("-")[2]) for path in mine]
    assert all(entry is not None for entry in again)


def test_processes_read_and_fill_the_same_cache(filled, suite_file, tmp_path):
    folder, without = filled
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as each process of a run on this machine has
    try:
        assert numbers(suite_file, tmp_path / "out", workers=2) == without
        before = {path.name for path in folder.iterdir()}
        assert numbers(suite_file, tmp_path / "out", workers=2) == without
        assert {path.name for path in folder.iterdir()} == before
    finally:
        torch.set_num_threads(threads)


def test_a_changed_text_or_model_is_another_entry(tmp_path, monkeypatch, random_folder):
    monkeypatch.setenv("LRT_BENCH_CACHE", str(tmp_path / "cache"))
    corpus = tmp_path / "corpus.txt"
    lines = [f"The sailor saw {n} stars over the harbour and she was glad of them.\n\n" for n in range(400)]
    corpus.write_text("".join(lines))
    model = tmp_path / "model"
    shutil.copytree(random_folder("llama"), model)
    suite = tmp_path / "kept.yaml"
    text = SUITE.replace("CORPUS", str(corpus)).replace("nano/S,", f"{model},")
    suite.write_text(re.sub("tasks: .*", "tasks: [person]", text))

    def compared():
        with_cache = numbers(suite, tmp_path / "out")
        assert with_cache == numbers(suite, tmp_path / "out", no_cache=True)
        return with_cache

    first = compared()
    corpus.write_text("".join(lines).replace("sailor", "doctor"))
    assert compared() != first
    from safetensors.torch import load_file, save_file

    weights = model / "model.safetensors"
    wider = {name: each * 1.01 if each.ndim == 2 else each for name, each in load_file(weights).items()}
    second = compared()
    save_file(wider, weights, {"format": "pt"})
    assert compared() != second

"""The folder of kept results: entries come back to the bit, or not at all."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest
import torch

from lrt_bench.files.cache.folder import CacheFolder, Entry, chosen_folder
from lrt_bench.files.cache.recall import key_of, recall, use, using

KEY, OTHER = "a" * 64, "b" * 64


def entry_of(seed: int = 0, size: int = 100) -> Entry:
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        "x": torch.randn(size, 3, generator=generator),
        "n": torch.arange(5),
        "none": torch.empty(0, 4),
    }
    return Entry(tensors | {"half": torch.randn(2, generator=generator).bfloat16()}, {"of": "é", "at": [0.1]})


def same(one: Entry, other: Entry) -> bool:
    alike = one.tensors.keys() == other.tensors.keys() and one.about == other.about
    return alike and all(torch.equal(value, other.tensors[name]) for name, value in one.tensors.items())


@pytest.fixture
def folder(tmp_path):
    return CacheFolder(tmp_path / "cache", 2**20)


def test_an_entry_comes_back_to_the_bit(folder):
    assert folder.read("states", KEY) is None
    folder.write("states", KEY, entry_of())
    read = folder.read("states", KEY)
    assert same(read, entry_of())
    read.tensors["x"].zero_()  # the caller's own: the cache keeps what it had
    assert same(folder.read("states", KEY), entry_of())
    assert folder.read("states", OTHER) is None
    assert folder.read("concept", KEY) is None


@pytest.mark.parametrize(
    "damage", ["empty", "cut", "cut header", "a bit", "swapped", "no safetensors", "header"]
)
def test_a_damaged_entry_is_told_and_deleted(folder, damage, caplog):
    folder.write("states", KEY, entry_of())
    path = folder.file("states", KEY)
    data = bytearray(path.read_bytes())
    if damage == "a bit":
        data[-3] ^= 1
    elif damage == "header":
        place = data.index(b'"at')
        data[place + 1] ^= 1
    elif damage == "swapped":
        folder.write("states", OTHER, entry_of(1))
        data = bytearray(folder.file("states", OTHER).read_bytes())
    cut = {"empty": b"", "cut": data[:-1], "cut header": data[:40], "no safetensors": b"x" * 99}
    path.write_bytes(cut.get(damage, data))
    with caplog.at_level(logging.WARNING, "lrt_bench"):
        assert folder.read("states", KEY) is None
    assert path.name in caplog.text
    assert "made again" in caplog.text
    assert not path.exists()
    folder.write("states", KEY, entry_of())
    assert same(folder.read("states", KEY), entry_of())


def test_what_was_not_read_for_the_longest_goes_first(tmp_path):
    size = len_of(entry_of(), tmp_path)
    folder = CacheFolder(tmp_path / "cache", 3 * size + 10)
    keys = [letter * 64 for letter in "abcd"]
    for age, key in enumerate(keys[:3]):
        folder.write("states", key, entry_of())
        os.utime(folder.file("states", key), (1000 + age, 1000 + age))
    folder.read("states", keys[0])  # now the last one read
    folder.write("states", keys[3], entry_of())
    assert [folder.read("states", key) is not None for key in keys] == [True, False, True, True]
    [kind] = folder.kinds()
    assert (kind.kind, kind.entries) == ("states", 3)
    assert kind.size <= folder.limit


def len_of(entry: Entry, tmp_path) -> int:
    folder = CacheFolder(tmp_path / "probe", 2**20)
    folder.write("states", KEY, entry)
    return folder.file("states", KEY).stat().st_size


def test_what_is_larger_than_the_cache_is_not_kept(tmp_path):
    folder = CacheFolder(tmp_path / "cache", 1000)
    folder.write("states", KEY, entry_of(size=10_000))
    assert folder.read("states", KEY) is None


def test_only_entries_are_deleted(folder):
    folder.write("states", KEY, entry_of())
    (folder.path / "mine.txt").write_text("kept")
    assert folder.clear() == 1
    assert [path.name for path in folder.path.iterdir()] == ["mine.txt"]
    assert folder.clear() == 0


def test_a_folder_that_cannot_be_written_is_told_and_done_without(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    folder = CacheFolder(tmp_path / "file" / "cache", 2**20)
    with using(folder), caplog.at_level(logging.WARNING, "lrt_bench"):
        made = recall("states", ["of"], lambda: {"x": torch.ones(2)})
    assert torch.equal(made["x"], torch.ones(2))
    assert "going on without" in caplog.text


def test_the_key_tells_any_two_inputs_apart(folder):
    tensor = torch.arange(6.0)
    different = [
        ["ab", "c"], ["a", "bc"], [["a"], "b"], ["a", ["b"]], [1], ["1"], [1.0], [True], [None], ["None"],
        [[1]], [[1, 2], [3]], [[1], [2, 3]], [tensor], [tensor.double()], [tensor.view(2, 3)],
        [tensor.view(3, 2)], [], [-tensor], [tensor, tensor],
    ]  # fmt: skip
    with using(folder):
        keys = [key_of("kind", parts) for parts in different]
        assert len(set(keys)) == len(different)
        assert key_of("kind", [tensor.clone(), "a"]) == key_of("kind", [tensor, "a"])
        assert key_of("other", []) not in keys
        assert key_of("kind", [["unknown", "float32"]]) is None  # a model without a digest
        threads = torch.get_num_threads()
        torch.set_num_threads(threads + 1)  # sums are taken in other parts
        try:
            assert key_of("kind", ["ab", "c"]) not in keys
        finally:
            torch.set_num_threads(threads)
    assert key_of("kind", []) is None  # nothing is kept outside


def test_a_result_is_made_once(folder):
    made = []

    def make():
        made.append(1)
        return {"x": torch.tensor([0.1, float("nan")])}

    with using(folder):
        first, second = recall("kind", [1], make), recall("kind", [1], make)
        recall("kind", [2], make)
    assert len(made) == 2
    assert first["x"].numpy().tobytes() == second["x"].numpy().tobytes()
    recall("kind", [1], make)
    assert len(made) == 3


def test_what_fails_keeps_nothing(folder):
    def fail():
        raise ValueError("no")

    with using(folder), pytest.raises(ValueError, match="no"):
        recall("kind", [1], fail)
    assert folder.kinds() == []


WRITER = """
import sys, torch
from pathlib import Path
from lrt_bench.files.cache.folder import CacheFolder, Entry
folder = CacheFolder(Path(sys.argv[1]), 40_000)
for turn in range(150):
    key = f"{turn % 20:064d}"
    entry = Entry({"x": torch.full((500,), float(turn % 20))}, {"turn": turn % 20})
    folder.write("states", key, entry)
    read = folder.read("states", key)
    assert read is None or torch.equal(read.tensors["x"], entry.tensors["x"])
    if turn % 50 == 49 and sys.argv[2] == "clear":
        folder.clear()
"""


def test_processes_share_a_folder(tmp_path):
    commands = [[sys.executable, "-c", WRITER, str(tmp_path / "cache"), mode] for mode in ("", "clear")]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in commands]
    said = [process.communicate(timeout=300)[1].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert not any("damaged" in text for text in said), said
    folder = CacheFolder(tmp_path / "cache", 40_000)
    assert sum(kind.size for kind in folder.kinds()) <= folder.limit
    assert not [path for path in folder.path.iterdir() if path.name.startswith(".")]


def test_the_folder_is_the_one_that_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("LRT_BENCH_CACHE", str(tmp_path / "named"))
    assert chosen_folder(1.0) == CacheFolder(tmp_path / "named", 2**30)
    assert chosen_folder(0) is None
    monkeypatch.setenv("LRT_BENCH_CACHE", "off")
    assert chosen_folder(1.0) is None
    monkeypatch.delenv("LRT_BENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert chosen_folder(1.0).path == tmp_path / "lrt-bench"
    use(None)

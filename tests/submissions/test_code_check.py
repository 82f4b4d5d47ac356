"""Submitted code and tensors as they are read: in this process, and so never run and never trusted."""

from __future__ import annotations

import json
import time

import pytest
import torch
from safetensors.torch import save

from lrt_bench.files.tensors import TensorError, read_tensors
from lrt_bench.submissions.code_check import read_code

pytestmark = pytest.mark.slow  # whole runs

METHOD = """from lrt_bench import LinearMapping


class Mine(LinearMapping):
    def solve(self, states):
        return 1
"""


def test_plain_code_is_taken():
    report = read_code(METHOD.encode())
    assert (report.class_name, report.problems) == ("Mine", [])


@pytest.mark.parametrize(
    "line",
    ["from lrt_bench.mappings.target.stitched import Stitched as LinearMapping",
     "from lrt_bench.mappings.target.target_aware import TargetAware as LinearMapping"],
)  # fmt: skip
def test_a_fit_that_would_run_the_target_is_refused_before_it_is_run(line):
    code = METHOD.replace("from lrt_bench import LinearMapping", line)
    [problem] = read_code(code.encode()).problems
    assert problem.startswith("line 1: lrt_bench.mappings.target.")
    assert "given no model that its fit could run" in problem


@pytest.mark.parametrize("encoding", ["utf-7", "unicode_escape", "latin-1", "utf-16"])
def test_code_in_another_encoding_than_it_is_read_in_is_refused(encoding):
    """Python honours such a first line: a comment here would be code there."""
    hidden = f"# coding: {encoding}\n# +AAo-import os; os.abort()+AAo-\n{METHOD}"
    problems = read_code(hidden.encode()).problems
    assert problems
    assert "encoding" in problems[0] or "not Python" in problems[0]


def test_a_lattice_of_classes_is_read_at_once():
    """Each inherits from all before it; walked path by path that takes years."""
    classes = [f"class A{n}({', '.join(f'A{m}' for m in range(n))}):\n    pass" for n in range(40)]
    began = time.monotonic()
    report = read_code("\n".join(classes).encode())
    assert time.monotonic() - began < 20  # not a figure of speed: the walk would never end
    assert report.problems


@pytest.mark.parametrize("metadata", ["5", '{"a": 1}', "NaN", '{"a": "\\ud800"}'])
def test_headers_that_only_one_of_two_readers_takes_are_refused(metadata):
    data = save({"weight": torch.ones(2, 2)})
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    text = json.dumps(header)[:-1] + f', "__metadata__": {metadata}' + "}"
    changed = len(text).to_bytes(8, "little") + text.encode() + data[8 + size :]
    with pytest.raises(TensorError):
        read_tensors(changed, {"weight": (2, 2)})

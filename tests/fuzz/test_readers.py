"""Changed files of every kind: read, or refused in a line.

Exit code 0, 1 or 2, no traceback, no hang, no more than 500 MB, no control codes. `LRT_BENCH_FUZZ` is how
many inputs are read, over all readers together. `explore.py` looks for more, and shortens them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Harness, problem
from readers import READERS

INPUTS = int(os.environ.get("LRT_BENCH_FUZZ", "500"))
EACH = max(1, -(-INPUTS // len(READERS)))

YAML = "what YAML raises beside YAMLError (files/schema.py, read_yaml); control codes of field names"
DECODING = "bytes that are not UTF-8, and control codes (data/tasks.py, data/datasets.py, data/corpus.py)"
# Readers that do not bear every input yet, and what they do not bear. Empty it where they are mended.
KNOWN: dict[str, str] = {
    **{name: f"{YAML}; {DECODING}" for name in READERS if name.startswith("task-")},
    **{name: YAML for name in READERS if name.startswith("suite-")},
    **{name: DECODING for name in READERS if name.startswith("corpus-")},
    "vector-gguf": "control codes of names in its error",
    "results-summary": "control codes of names in the table",
    "propensities": "what safetensors raises (results/storage.py, read_propensities)",
    "sae": "an error's line of 70,000 characters",
}


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    harness = Harness()
    yield harness
    harness.close()


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_changed_files_are_read_or_refused_in_a_line(reader: str, harness: Harness, tmp_path: Path) -> None:
    valid = harness.made(reader, tmp_path / "valid")
    met, refused = [], 0
    for seed, said, outcome in harness.changed(reader, valid, EACH):
        refused += outcome["code"] != 0
        if what := problem(outcome):
            met.append(f"seed {seed}: {said}: {what}\n{outcome['printed'][-1500:]}")
    if met and reader in KNOWN:
        pytest.xfail(f"KNOWN, {len(met)} of {EACH} inputs: {KNOWN[reader]}")
    assert not met, f"{len(met)} of {EACH} inputs\n" + "\n".join(met[:3])
    if reader != "corpus-txt":  # where every text is one
        assert refused, "no change was noticed: the changes reach nothing"

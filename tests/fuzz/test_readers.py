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
    assert not met, f"{len(met)} of {EACH} inputs\n" + "\n".join(met[:3])
    if reader not in ("corpus-txt", "results-summary"):  # every text is one; what is left out is said there
        assert refused, "no change was noticed: the changes reach nothing"

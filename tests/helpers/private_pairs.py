"""A folder that is read as a private family, made in no time: the embedded members under other roles.

Its weights are public, so it hides nothing. It has what a test needs: members that are steerable, pairs and a
corpus that no public result was made of.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from lrt_bench._version import __version__
from lrt_bench.files.resources import TASKS
from lrt_bench.models.checks.digests import folder_digest
from lrt_bench.nano.family import FAMILY, WEIGHTS
from lrt_bench.nano.language import PUBLIC
from lrt_bench.unseen.family import CORPUS, MANIFEST, Family, Manifest, Member, Pair, commitment, read_family

STREAM = 77  # of the grammar's documents: neither training nor any suite reads it
CONCEPTS = ("sentiment", "person", "topic-dogs", "number", "tense", "case")
PAIRS = (
    Pair(source="M", source_layer=3, target="S", target_layer=2),
    Pair(source="S", source_layer=2, target="M", target_layer=3),
)


def public_suite(tasks: tuple[str, ...] = CONCEPTS, mappings: tuple[str, ...] = ("ridge",)) -> str:
    """A suite of one pair on which no map reaches the ceiling."""
    return f"""
name: public
corpus: {{source: nano, context: 128, fit_tokens: 6000, validation_tokens: 800, sample_tokens: 4000}}
shuffles: 2
fit_seeds: 1
bootstrap: 200
behaviour: {{alphas: [-0.25, 0.25], nats: 0.5, tokens: 8, first: 0.25, splits: 2, positions: all, prompts: 8}}
tasks: [{", ".join(tasks)}]
mappings: [{", ".join(mappings)}]
pairs:
  - {{name: S-M, source: nano/S, source_layer: 3, target: nano/M, target_layer: 2}}
"""


def family_of(
    folder: Path, tasks: tuple[str, ...] = CONCEPTS, pairs: tuple[Pair, ...] = PAIRS, documents: int = 400
) -> Family:
    """Write a family of the embedded members that the pairs name, and read it back."""
    names = sorted({name for pair in pairs for name in (pair.source, pair.target)})
    for name in names:
        shutil.copytree(WEIGHTS / name, folder / name)
    for name in tasks:
        shutil.copytree(TASKS / name, folder / "tasks" / name)
    lines = [json.dumps({"text": text}) + "\n" for text in PUBLIC.documents(STREAM, documents)]
    (folder / CORPUS).write_text("".join(lines))
    manifest = Manifest(
        commitment=commitment(str(folder)), created="2026-01-01T00:00:00+00:00", lrt_bench=__version__,
        members=tuple(_member(folder / name, len(tasks)) for name in names),
        pairs=pairs, tasks=tasks, gate=True,
    )  # fmt: skip
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    return read_family(folder)


def _member(folder: Path, tasks: int) -> Member:
    size = FAMILY[folder.name]
    return Member(
        name=folder.name, width=size.width, layers=size.layers, parameters=1, tokens=0, validation_loss=0.0,
        digest=folder_digest(folder), steerable=tasks, tasks=tasks,
    )  # fmt: skip

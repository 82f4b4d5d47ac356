"""A private family of seconds: members of the embedded one that no pair of the tests' public suite is of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from lrt_bench.files.resources import TASKS
from lrt_bench.models.checks.digests import folder_digest
from lrt_bench.nano.family import FAMILY
from lrt_bench.nano.grammar import documents
from lrt_bench.unseen import family
from lrt_bench.unseen.family import Manifest, Member, Pair

SECRET = "0123456789 not to be guessed"


def private_family(folder: Path, tasks: tuple[str, ...], pairs: tuple[Pair, ...]) -> Path:
    """Write the family's folder, as `scripts.nano.private` leaves one, with nothing trained."""
    names = dict.fromkeys(name for pair in pairs for name in (pair.source, pair.target))
    members = []
    for name in names:
        size = FAMILY[name]
        shutil.copytree(size.folder, folder / name)
        record = json.loads((size.folder / "training.json").read_text())
        members.append(
            Member(
                name=name, width=size.width, layers=size.layers, parameters=record["parameters"],
                tokens=record["tokens"], validation_loss=record["curve"][-1]["validation_loss"],
                digest=folder_digest(folder / name), steerable=len(tasks), tasks=len(tasks),
            )
        )  # fmt: skip
    for name in tasks:
        shutil.copytree(TASKS / name, folder / family.TASKS / name)
    lines = (json.dumps({"text": text}) + "\n" for text in documents(77, 1500))
    (folder / family.CORPUS).write_text("".join(lines))
    (folder / family.SECRET).write_text(f"{SECRET}\n")
    manifest = Manifest(
        commitment=family.commitment(SECRET), created="2026-01-01T00:00:00Z", lrt_bench="0", pairs=pairs,
        members=tuple(members), tasks=tasks, gate=True,
    )  # fmt: skip
    (folder / family.MANIFEST).write_text(manifest.model_dump_json())
    return folder

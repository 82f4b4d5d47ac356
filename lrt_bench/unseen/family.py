"""A private family: models that were trained from a secret, in a folder that never leaves its keeper.

`python -m scripts.nano.private` makes one. Words, first weights and the order of the training data all follow
from the secret. The commitment, a hash of it, is all that a result says of the family; whoever is told the
secret later can make the same family again.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from lrt_bench.data.suites import PairSpec, Suite
from lrt_bench.errors import UserError
from lrt_bench.files.schema import Strict, first_problem, record_of_json
from lrt_bench.files.whole import read_bounded
from lrt_bench.models.checks.digests import folder_digest
from lrt_bench.results.schema.bounds import Date, Name

MANIFEST, SECRET, CORPUS, TASKS, RESULTS = "private.json", "secret.txt", "corpus.jsonl", "tasks", "results"
LEAST_SECRET = 22  # characters: 128 bits in base64. What could be guessed would be no commitment.
Commitment = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Member(Strict):
    """A model of the family.

    steerable, tasks : how many choice tasks the gate found steerable at the pairs' layers, of how many.
    """

    name: Name
    width: Annotated[int, Field(ge=1)]
    layers: Annotated[int, Field(ge=1)]
    parameters: Annotated[int, Field(ge=1)]
    tokens: Annotated[int, Field(ge=0)]
    validation_loss: float
    digest: Commitment
    steerable: Annotated[int, Field(ge=0)]
    tasks: Annotated[int, Field(ge=1)]


class Pair(Strict):
    """A source and a target of the family, by name, and their layers, counted from 1."""

    source: Name
    source_layer: Annotated[int, Field(ge=1)]
    target: Name
    target_layer: Annotated[int, Field(ge=1)]

    @property
    def name(self) -> str:
        """Its name in the private results."""
        return f"{self.source}{self.source_layer}-{self.target}{self.target_layer}"


class Manifest(Strict):
    """What private.json says.

    commitment : hash of the secret (`commitment`). gate : whether the gate passed every member.
    """

    format: Literal["lrt-bench private family 1"] = "lrt-bench private family 1"
    commitment: Commitment
    created: Date
    lrt_bench: str
    members: Annotated[tuple[Member, ...], Field(min_length=1)]
    pairs: Annotated[tuple[Pair, ...], Field(min_length=1)]
    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    gate: bool


def commitment(secret: str) -> str:
    """Return the hash that stands for a secret until it is told: SHA-256 of a first line and the secret."""
    return hashlib.sha256(f"lrt-bench private family\n{secret}".encode()).hexdigest()


def derived(secret: str, purpose: str) -> int:
    """Return a seed, below 2**63, for one purpose; from none of them can the secret or another be told."""
    digest = hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@dataclass(frozen=True)
class Family:
    """A private family in its folder."""

    folder: Path
    manifest: Manifest

    @property
    def commitment(self) -> str:
        """All that a result says of the family."""
        return self.manifest.commitment

    @property
    def results(self) -> Path:
        """Where the private results are kept, for the keeper alone."""
        return self.folder / RESULTS

    def suite(self, protocol: Suite) -> Suite:
        """Return the protocol of a public suite, on the private pairs and their choice tasks."""
        pairs = tuple(
            PairSpec(
                name=pair.name,
                source=str(self.folder / pair.source), source_layer=pair.source_layer,
                target=str(self.folder / pair.target), target_layer=pair.target_layer,
            )
            for pair in self.manifest.pairs
        )  # fmt: skip
        corpus = protocol.corpus.model_dump() | {
            "source": str(self.folder / CORPUS), "mix": (), "column": None,
        }  # fmt: skip
        return protocol.model_copy(
            update={
                "name": f"private-{self.commitment[:12]}",
                "corpus": type(protocol.corpus).model_validate(corpus),
                "tasks": tuple(str(self.folder / TASKS / name) for name in self.manifest.tasks),
                "pairs": pairs,
            }
        )


def read_family(folder: Path) -> Family:
    """Read a private family's folder, its weights by their hashes.

    Raises
    ------
    UserError
        Where it is none, its gate has not passed, or a member is not the one that was trained.
    """
    folder = folder.expanduser().resolve()
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(
            f"--private {folder}: no {MANIFEST} in it; make private-family OUT={folder} makes one"
        )
    try:
        manifest = record_of_json(read_bounded(path), Manifest, path)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}") from error
    if not manifest.gate:
        raise UserError(f"{path}: field gate: the members are not steerable enough; make another family")
    for member in manifest.members:
        if not (folder / member.name).is_dir() or folder_digest(folder / member.name) != member.digest:
            raise UserError(f"{folder / member.name}: not the model of {MANIFEST}; put it back")
    return Family(folder, manifest)

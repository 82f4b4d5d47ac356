"""A fitted map with its card: what `fit` gives, a folder holds, and `transfer` reuses.

A folder holds ``map.safetensors`` (the tensors), ``map.json`` (the card) and ``README.md`` (the card for
people). A linear map's tensors are ``weight`` [d_target, d_source] and ``bias`` [d_target], as
`LinearMapping.save` writes them; a network's are its standardisation and its parameters,
a `FeatureRidge`'s what its features are made of and their decoder.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from lrt_bench.errors import UserError
from lrt_bench.files.tensors import TensorError
from lrt_bench.files.whole import write_whole
from lrt_bench.mappings import FixedLinear, LinearMapping, Mapping, find_mapping, is_built_in
from lrt_bench.mappings.concepts.task_aware import TaskAware
from lrt_bench.models.states import PairedStates
from lrt_bench.vectors.map_card import MapCard, map_readme, read_card
from lrt_bench.vectors.map_tensors import mapping_of, tensors_of

TENSORS, CARD, README = "map.safetensors", "map.json", "README.md"
MAX_CARD, MAX_TENSORS = 1 << 16, 1 << 32  # bytes


@dataclass(frozen=True, eq=False)
class FittedMap:
    """A fitted mapping with its card, and with the states that it was fitted on where that was just now."""

    mapping: Mapping
    card: MapCard
    states: PairedStates | None = field(default=None, repr=False)

    @property
    def linear(self) -> bool:
        """Whether a vector alone is enough to carry over; else its contrast states are wanted."""
        return isinstance(self.mapping, LinearMapping)

    @functools.cached_property
    def digest(self) -> str:
        """Hash of the map's card and tensors, sha256 as hexadecimal digits.

        Another number or word in either gives another digest. Of a map that cannot be kept it is the card's.
        """
        card = self.card
        if not card.tensors and storable(card.mapping, type(self.mapping)):
            card = card.model_copy(update={"tensors": hashlib.sha256(self._tensor_bytes()).hexdigest()})
        return hashlib.sha256(card.model_dump_json().encode()).hexdigest()

    def _tensor_bytes(self) -> bytes:
        """Return what map.safetensors holds.

        Raises UserError where the mapping cannot be written.
        """
        from safetensors.torch import save

        kind = "linear mapping" if self.linear else "network mapping"
        check_storable(self.card.mapping, type(self.mapping))
        data: bytes = save(tensors_of(self.mapping), metadata={"format": f"lrt-bench {kind} v1"})
        return data

    def files(self) -> dict[str, bytes]:
        """Return what its folder holds.

        Raises UserError where the mapping cannot be written.
        """
        tensors = self._tensor_bytes()
        card = self.card.model_copy(update={"tensors": hashlib.sha256(tensors).hexdigest()})
        text = card.model_dump_json(indent=1) + "\n"
        return {TENSORS: tensors, README: map_readme(card), CARD: text.encode()}

    def save(self, folder: str | Path) -> None:
        """Write the folder, its card last.

        Raises UserError where something else lies there.
        """
        folder = Path(folder)
        check_folder(folder)
        for name, data in self.files().items():
            write_whole(folder / name, data)


def check_folder(folder: Path) -> None:
    """Raise UserError unless the folder is missing, empty, or holds a map."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--save {folder}: a file is there; give a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CARD).is_file():
        raise UserError(f"--save {folder}: holds something that is no map; give another folder")


def storable(spec: str, method: type[Mapping]) -> bool:
    """Whether a mapping's fit can be kept: it is built in, or a linear map that carries v to A v."""
    plain = issubclass(method, LinearMapping) and method.transfer is LinearMapping.transfer
    return plain or is_built_in(spec)


def check_corpus_map(spec: str, method: type[Mapping]) -> None:
    """Raise UserError where a mapping is made of a suite's concepts: a fit for vectors reads none."""
    if issubclass(method, TaskAware):
        raise UserError(
            f"mapping {spec}: made of a suite's concepts, which only evaluate reads: "
            f"lrt-bench evaluate --mapping {spec}"
        )


def check_storable(spec: str, method: type[Mapping]) -> None:
    """Raise UserError where a mapping's fit cannot be kept."""
    if not storable(spec, method):
        raise UserError(
            f"--mapping {spec}: only linear maps that carry v to A v can be saved, and the built-in ones: "
            "transfer without --save"
        )


def load_map(folder: str | Path) -> FittedMap:
    """Read a map's folder.

    Nothing of it is run; whatever is wrong is one UserError.
    """
    folder = Path(folder)
    for name, most in ((CARD, MAX_CARD), (TENSORS, MAX_TENSORS)):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: no map there: {name} is missing; `lrt-bench fit --save` writes one")
        if (folder / name).stat().st_size > most:
            raise UserError(f"{folder / name}: larger than {most} bytes: no map")
    card = read_card((folder / CARD).read_bytes(), folder / CARD)
    data = (folder / TENSORS).read_bytes()
    if hashlib.sha256(data).hexdigest() != card.tensors:
        raise UserError(f"{folder / TENSORS}: not the file that {CARD} tells of: fetch or fit it again")
    try:
        return FittedMap(_mapping(card, data), card)
    except TensorError as error:
        raise UserError(f"{folder / TENSORS}: {error}") from error


def _mapping(card: MapCard, data: bytes) -> Mapping:
    """Return the mapping behind a card: a built-in class with its tensors, or A x + b.

    Raises TensorError.
    """
    method: type[Mapping] = find_mapping(card.mapping) if is_built_in(card.mapping) else FixedLinear
    return mapping_of(method, data, card.source.width, card.target.width)

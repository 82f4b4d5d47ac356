"""Which files of a folder are data, which are not, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lrt_bench.data.reading.readers import READERS
from lrt_bench.errors import UserError
from lrt_bench.files.text import PACKINGS, unpacked_suffix

METADATA = {"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "croissant.json"}
PROSE = re.compile(  # what stands beside data and tells of it
    r"(un)?licen[cs]e|copying|notice|read[-_]?me|changelog|citation|authors|contributing|code[-_]of[-_]conduct"
    r"|requirements",
    re.IGNORECASE,
)
NAMED = 5  # files that a line names before it counts the rest


@dataclass(frozen=True)
class Listing:
    """The data files of a file or folder, sorted by path, and the others, each with the reason."""

    path: Path
    files: tuple[Path, ...]
    left_out: tuple[tuple[Path, str], ...] = ()

    @property
    def summary(self) -> str | None:
        """What is read and what is left out, in one line; None where nothing is left out."""
        if not self.left_out:
            return None
        read = _named([str(file.relative_to(self.path)) for file in self.files])
        others = _named([f"{file.relative_to(self.path)} ({why})" for file, why in self.left_out])
        return f"{self.path}: reads {read}; leaves out {others}"


def list_data(path: Path) -> Listing:
    """List the data files of a file or folder.

    Raises
    ------
    UserError
        Where the path is neither a plain file nor a folder, or holds no data file.
    """
    if path.is_file():
        return Listing(path, (path,))
    if not path.is_dir():
        raise UserError(f"{path}: neither a plain file nor a folder")
    files, left_out = [], []
    for file in sorted(path.rglob("*")):
        if file.is_dir():
            continue
        if reason := _reason(file, path):
            left_out.append((file, reason))
        else:
            files.append(file)
    if not files:
        others = _named([f"{file.relative_to(path)} ({why})" for file, why in left_out])
        tail = f"; it holds {others}" if left_out else ""
        raise UserError(f"{path}: no {', '.join(READERS)} file in that folder{tail}")
    return Listing(path, tuple(files), tuple(left_out))


def find_data_file(path: Path, name: str) -> Path:
    """Find the data file that a name ("a/b.jsonl") means, by its last parts or by its own name.

    Raises
    ------
    UserError
        Where there is none.
    """
    wanted = Path(name)
    files = list_data(path).files
    exact = [file for file in files if file.parts[-len(wanted.parts) :] == wanted.parts]
    matches = exact or [file for file in files if file.name == wanted.name]
    if not matches:
        raise UserError(f"{path}: no file {name} there")
    return matches[0]


def _reason(file: Path, folder: Path) -> str | None:
    """Say why a file of a folder is no data; None where it is."""
    parts = file.relative_to(folder).parts
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return "hidden"
    if not file.is_file():
        return "not a plain file"
    if file.name in METADATA:
        return "tells of the data"
    if PROSE.fullmatch(re.split(r"[-_. ](?!of|me)", file.name, maxsplit=1)[0]) and _is_prose(file):
        return "tells of the data"
    if unpacked_suffix(file) not in READERS:
        return "not a format that is read"
    if file.suffix.lower() in PACKINGS and file.with_suffix("").is_file():
        return f"packed, and {file.with_suffix('').name} lies beside it"
    return None


def _is_prose(file: Path) -> bool:
    return unpacked_suffix(file) in (".txt", ".md", ".rst", "")


def _named(names: list[str]) -> str:
    """Join names, the first few in full."""
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")

"""Reads submissions: a folder with submission.yaml and a mapping.py, or fitted weights.

Nothing in a submission is trusted or imported here: files are read once, within limits, and everything that
is wrong is said at once.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from lrt_bench.errors import UserError, one_line
from lrt_bench.files.schema import Strict
from lrt_bench.files.tensors import TensorError, read_header, read_tensors
from lrt_bench.mappings.names import is_built_in
from lrt_bench.results.schema.bounds import LINK
from lrt_bench.results.schema.records import CONTROL_NAMES
from lrt_bench.submissions.code_check import read_code

if TYPE_CHECKING:
    from lrt_bench.mappings import FixedLinear

KB, MB = 1000, 1_000_000
CARD, CODE = "submission.yaml", "mapping.py"
# what a folder may hold, with its size limit; `*` is a name without path parts
SIZES = {CARD: 16 * KB, CODE: 64 * KB, "README.md": 64 * KB, "LICENSE": 64 * KB}
FOLDERS = {"weights": (".safetensors", 100 * MB), "claimed": (".json", 20 * MB)}
MAX_TOTAL, MAX_FILES, MAX_DEPTH = 200 * MB, 64, 6
IGNORED = {"claimed/PULL_REQUEST.md"}
Licence = Literal[
    "0BSD", "AGPL-3.0-only", "AGPL-3.0-or-later", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0",
    "CC-BY-4.0", "CC0-1.0", "GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later", "ISC",
    "LGPL-2.1-only", "LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later", "MIT", "MIT-0", "MPL-2.0",
    "Unlicense", "Zlib",
]  # fmt: skip


def _one_line(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("one line of visible characters, no space at its ends")
    return text


def _lines(text: str) -> str:
    if not all(character.isprintable() or character == "\n" for character in text):
        raise ValueError("only visible characters and line ends")
    return text


Line = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,59}$")]
PairName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=120)]


class SubmissionCard(Strict):
    """What submission.yaml says.

    track : corpus (code, fitted by us) or weights (fitted maps as safetensors, ranked apart).
    pairs : the pairs that it is for; none named means every pair (code only).
    seed : of the self-run that `submit pack` makes.
    """

    name: Slug
    authors: tuple[Line, ...] = Field(min_length=1, max_length=20)
    link: Annotated[str, Field(pattern=LINK, max_length=500), AfterValidator(_one_line)]
    licence: Licence
    description: Line
    track: Literal["corpus", "weights"] = "corpus"
    pairs: tuple[PairName, ...] = Field(default=(), max_length=64)
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    notes: Annotated[str, Field(max_length=4000), AfterValidator(_lines)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> SubmissionCard:
        if is_built_in(self.name) or self.name in CONTROL_NAMES:
            raise ValueError(f"name: {self.name} is the name of a built-in row; choose another")
        if len(set(self.pairs)) < len(self.pairs):
            raise ValueError("pairs: a name stands twice")
        if self.track == "weights" and not self.pairs:
            raise ValueError("pairs: weights are for named pairs; name them")
        return self


@dataclass(frozen=True)
class Submission:
    """A submission that was read and checked."""

    path: Path
    card: SubmissionCard
    files: dict[str, bytes]
    class_name: str = ""

    @property
    def code(self) -> bytes:
        """The source of mapping.py."""
        return self.files[CODE]

    @functools.cached_property
    def digest(self) -> str:
        """Hash of what its row depends on: card, code, weights."""
        digest = hashlib.sha256()
        for name in sorted(self.files):
            if name in (CARD, CODE) or name.startswith("weights/"):
                digest.update(f"{name} {len(self.files[name])} ".encode())
                digest.update(self.files[name])
        return digest.hexdigest()

    def applies(self, pair: str) -> bool:
        """Tell whether the submission is for a pair."""
        return not self.card.pairs or pair in self.card.pairs

    def read_weights(self, pair: str, d_source: int, d_target: int) -> FixedLinear:
        """Return the fitted map for a pair.

        Raises TensorError.
        """
        from lrt_bench.mappings import FixedLinear

        shapes = {"weight": (d_target, d_source), "bias": (d_target,)}
        tensors = read_tensors(self.files[f"weights/{pair}.safetensors"], shapes)
        return FixedLinear(tensors["weight"], tensors["bias"])


@dataclass
class Report:
    """All that is wrong with a folder, and notes for its reviewer; the submission if nothing is."""

    submission: Submission | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check(path: Path) -> Report:
    """Read a submission's folder without importing anything of it."""
    report = Report()
    try:
        files = _read_folder(path, report.problems)
    except OSError as error:
        report.problems.append(f"cannot be read: {error.strerror or error}")
        return report
    if not files and report.problems:
        return report
    card = _read_card(files, path, report.problems)
    class_name = None
    if CODE in files:
        code = read_code(files[CODE])
        report.problems += [f"{CODE}: {problem}" for problem in code.problems]
        report.notes += code.notes
        class_name = code.class_name
    weights = sorted(name for name in files if name.startswith("weights/"))
    for name in weights:
        if problem := _weights_problem(files[name]):
            report.problems.append(f"{name}: {problem}")
    if card:
        report.problems += _mismatches(card, set(files), weights)
    if card and not report.problems:
        report.submission = Submission(path, card, files, class_name or "")
    return report


def load(path: Path) -> Submission:
    """Return a checked submission.

    Raises UserError with the first problem.
    """
    report = check(path)
    if report.submission:
        return report.submission
    more = f" (and {len(report.problems) - 1} more: see `lrt-bench submit check`)"
    raise UserError(f"{path}: {report.problems[0]}{more if len(report.problems) > 1 else ''}")


def _mismatches(card: SubmissionCard, files: set[str], weights: list[str]) -> Iterator[str]:
    if card.track == "corpus":
        if CODE not in files:
            yield f"{CODE}: missing; track corpus wants the method's code"
        if weights:
            yield f"weights/: track corpus is fitted from {CODE}; remove the weights, or say track: weights"
        return
    if CODE in files:
        yield f"{CODE}: track weights is weights alone; remove it, or say track: corpus"
    wanted = {f"weights/{pair}.safetensors" for pair in card.pairs}
    yield from (f"{name}: missing; field pairs names it" for name in sorted(wanted - set(weights)))
    yield from (f"{name}: field pairs does not name it; remove it" for name in sorted(set(weights) - wanted))


def _weights_problem(data: bytes) -> str | None:
    try:
        entries = read_header(data, {"weight", "bias"})
    except TensorError as error:
        return str(error)
    weight, bias = entries["weight"].shape, entries["bias"].shape
    if len(weight) != 2 or bias != weight[:1] or 0 in weight:
        return f"weight {list(weight)} and bias {list(bias)}: want [d_target, d_source] and [d_target]"
    try:
        read_tensors(data, {"weight": weight, "bias": bias})
    except TensorError as error:
        return str(error)
    return None


def _read_folder(path: Path, problems: list[str]) -> dict[str, bytes]:
    """Every allowed file's bytes.

    Links, special, sparse, large and unexpected files are problems.
    """
    if not path.is_dir():
        problems.append("no such folder")
        return {}
    if path.is_symlink():
        problems.append("it is a symbolic link; give the folder itself")
        return {}
    files: dict[str, bytes] = {}
    total = 0
    for count, (name, entry) in enumerate(_entries(path)):
        if count >= MAX_FILES:
            problems.append(f"more than {MAX_FILES} files")
            break
        shown = _shown(name)
        if entry.is_symlink():
            problems.append(f"{shown}: a symbolic link; put the file itself here")
        elif entry.is_dir(follow_symlinks=False):
            if name not in FOLDERS:
                problems.append(f"{shown}/: unexpected; remove it")
        elif (limit := _limit(name)) is None:
            problems.append(f"{shown}: unexpected; remove it")
        else:
            problem, data = _read_file(Path(entry.path), min(limit, MAX_TOTAL - total))
            total += len(data)
            if problem:
                problems.append(f"{shown}: {problem}")
            elif name not in IGNORED:
                files[name] = data
    if CARD not in files and not any(problem.startswith(CARD) for problem in problems):
        problems.append(f"{CARD}: missing")
    return files


def _entries(path: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(path) as listing:
        for entry in sorted(itertools.islice(listing, 2 * MAX_FILES), key=lambda entry: entry.name):
            yield entry.name, entry
            if entry.name in FOLDERS and entry.is_dir(follow_symlinks=False):
                with os.scandir(entry.path) as below:
                    for child in sorted(itertools.islice(below, 2 * MAX_FILES), key=lambda child: child.name):
                        yield f"{entry.name}/{child.name}", child


def _limit(name: str) -> int | None:
    """Return the largest size of a file of this name; None where no such file belongs in a submission."""
    if name in IGNORED:
        return 64 * KB
    folder, _, file = name.rpartition("/")
    if not folder:
        return SIZES.get(file)
    suffix, size = FOLDERS[folder]
    return size if file.endswith(suffix) and not file.startswith(".") else None


def _read_file(path: Path, limit: int) -> tuple[str | None, bytes]:
    """(problem, content) of a regular file; never follows a link, never waits, never reads past the limit."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            return "not a regular file; remove it", b""
        if about.st_size > limit:
            return f"{about.st_size} bytes: larger than {limit}", b""
        if about.st_size and _has_hole(handle, about.st_size):
            return "a sparse file: write it out in full", b""
        data = file.read(limit + 1)
    return ("larger than it said", b"") if len(data) > limit else (None, data)


def _has_hole(handle: int, size: int) -> bool:
    try:
        hole = os.lseek(handle, 0, os.SEEK_HOLE)
    except (OSError, AttributeError):
        return False
    finally:
        os.lseek(handle, 0, os.SEEK_SET)
    return hole < size


def _read_card(files: dict[str, bytes], path: Path, problems: list[str]) -> SubmissionCard | None:
    if CARD not in files:
        return None
    content, problem = safe_yaml(files[CARD])
    if problem:
        problems.append(f"{CARD}: {problem}")
        return None
    if not isinstance(content, dict):
        problems.append(f"{CARD}: want fields and values, as in `lrt-bench submit new`")
        return None
    try:
        card = SubmissionCard.model_validate(content)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False)[:20]:
            where = ".".join(_shown(str(part)) for part in fault["loc"])
            reason = fault["msg"].removeprefix("Value error, ")
            if fault["loc"] == ("licence",):
                reason = f"want an SPDX name that allows sharing: {', '.join(get_args(Licence))}"
            problems.append(f"{CARD}: {f'field {where}: ' if where else 'field '}{reason}")
        return None
    if card.name != path.resolve().name:
        problems.append(
            f"{CARD}: field name: {card.name} is not the folder's name {_shown(path.resolve().name)}"
        )
    return card


def safe_yaml(data: bytes) -> tuple[Any, str | None]:
    """(content, problem) of one plain YAML document: no alias, tag, repeated key or deep nesting."""
    try:
        text = data.decode("utf-8")
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                return None, "anchors and aliases are not accepted: write the value out"
            if getattr(event, "tag", None):
                return None, "tags (!) are not accepted: write a plain value"
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                return None, "nested too deeply"
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if isinstance(node, yaml.MappingNode):
            keys = [str(key.value) for key, _ in node.value]
            if twice := [key for key in keys if keys.count(key) > 1]:
                return None, f"field {_shown(twice[0])}: stands twice"
        return yaml.safe_load(text), None
    except UnicodeDecodeError:
        return None, "not UTF-8 text"
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        return None, f"{where}not YAML: {_shown(str(getattr(error, 'problem', None) or 'it cannot be read'))}"
    except Exception:  # PyYAML's constructors raise whatever their arithmetic and look-ups raise
        return None, "not YAML that can be read: a value has no meaning"


def _shown(name: str) -> str:
    """Return a stranger's name on one line of a message."""
    return one_line(name, 80)

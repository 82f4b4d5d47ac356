"""JSON, YAML and CSV of strangers: one guarded parser a format.

A parser of the standard library or of PyYAML may raise almost anything on what is not well formed. Here
that is always a UserError, one line that names the file, the place and the mend.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Hashable, Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

from lrt_bench.errors import UserError
from lrt_bench.files.text import LINE_LIMIT, numbered_lines, read_text

YAML_LIMIT = 1_000_000  # characters
DEPTH_LIMIT = 100  # of nested lists and tables
DELIMITERS = ",;\t|"
STEPS = [1 if chr(byte) in "[{" else -1 for byte in range(256)]  # that a bracket goes into lists and tables
NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class _DuplicateError(ValueError):
    """A key that stands twice in one object."""


def parse_json(text: str, place: str) -> Any:
    """Parse a JSON text.

    Raises
    ------
    UserError
        Naming `place`: not JSON, a key that stands twice, a number that is too long, nesting that is too
        deep, or an escape of half a character (a lone surrogate).
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except _DuplicateError as error:
        raise UserError(f"{place}: {error}") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise UserError(f"{place}: not JSON: {error.msg} ({where})") from error
    except RecursionError as error:
        raise UserError(f"{place}: not JSON that can be read: its lists are nested too deep") from error
    except ValueError as error:
        raise UserError(f"{place}: not JSON that can be read: a number is too long") from error
    if "\\ud" in text or "\\uD" in text:
        _refuse_half_characters(value, place)
    return value


def check_depth(data: bytes, place: str) -> None:
    """Raise UserError where the lists and tables of a JSON file are nested deeper than a record's can be.

    Brackets in texts count, too: a record has few.
    """
    brackets = data.translate(None, NO_BRACKETS)
    if max(accumulate(map(STEPS.__getitem__, brackets)), default=0) > DEPTH_LIMIT:
        raise UserError(f"{place}: not JSON that can be read: its lists are nested too deep")


def parse_yaml(text: str, place: str) -> Any:
    """Parse a YAML text with the safe loader.

    Raises
    ------
    UserError
        Naming `place`: not YAML, a tag that is not plain data, a key that stands twice, control characters,
        or more than `YAML_LIMIT` characters.
    """
    if len(text) > YAML_LIMIT:
        raise UserError(f"{place}: longer than {YAML_LIMIT} characters: not a card")
    try:
        value = yaml.load(text, _UniqueLoader)  # a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise UserError(f"{place}: not valid YAML: {error.problem or error.context}{line}") from error
    except RecursionError as error:
        raise UserError(f"{place}: not valid YAML: nested too deep") from error
    except Exception as error:  # PyYAML's constructors raise whatever their arithmetic raises
        raise UserError(f"{place}: not valid YAML: {error or type(error).__name__}") from error
    _refuse_control_characters(value, place)
    return value


def read_yaml_file(path: Path) -> Any:
    """Parse a YAML file."""
    return parse_yaml(read_text(path), str(path))


def read_csv(path: Path, delimiter: str | None = None) -> Iterator[tuple[int, dict[str, str]]]:
    """Read the rows of a CSV file with a header line: (line number, {column: text}).

    Parameters
    ----------
    delimiter : str, optional
        Where None, that of ``, ; tab |`` which cuts the header into most columns.

    Raises
    ------
    UserError
        Where a row has other than the header's number of fields, a column stands twice, or a quotation mark
        is not closed.
    """
    csv.field_size_limit(LINE_LIMIT)  # the limit is the csv module's own: 131,072 characters otherwise
    lines = numbered_lines(path)
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        return
    delimiter = delimiter or max(DELIMITERS, key=lambda sign: len(_fields(first[1], sign)))
    reader = csv.reader(_with_ends(first, lines), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader)]
        if len(set(header)) < len(header):
            raise UserError(f"{path}, line {first[0]}: column {_twice(header)!r} stands twice in the header")
        for row in reader:
            number = reader.line_num + first[0] - 1
            if not row:
                continue
            if len(row) != len(header):
                raise UserError(
                    f"{path}, line {number}: {len(row)} fields, the header has {len(header)}: put quotation "
                    "marks around texts that hold the delimiter, and begin the file with a header"
                )
            yield number, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num + first[0] - 1}: not CSV: {error}") from error


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _with_ends(first: tuple[int, str], lines: Iterator[tuple[int, str]]) -> Iterator[str]:
    """Lines as the csv module reads them."""
    yield first[1] + "\n"
    for _, line in lines:
        yield line + "\n"


def _twice(names: Iterable[str]) -> str | None:
    """Find the first name that stands twice, cut to what a line can show."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name[:60]
        seen.add(name)
    return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise _DuplicateError(f"field {_twice(name for name, _ in pairs)!r} stands twice: drop one")
    return table


class _UniqueLoader(yaml.SafeLoader):
    """A safe loader that refuses a key which stands twice, and nesting that is too deep."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node, counting how deep it lies."""
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            raise RecursionError
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Construct a table whose keys are all different."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        if twice := _twice(keys):
            problem = f"field {twice!r} stands twice: drop one"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


def _strings(value: Any) -> Iterator[str]:
    """Every text in nested lists and tables; what YAML's aliases repeat comes once."""
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, (dict, list, tuple, set)) and id(item) not in seen:
            seen.add(id(item))
            waiting += [*item.keys(), *item.values()] if isinstance(item, dict) else list(item)


def _refuse_half_characters(value: Any, place: str) -> None:
    for text in _strings(value):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            code = f"\\u{ord(text[error.start]):04x}"
            raise UserError(
                f"{place}: {code} is half of a character (a lone surrogate): write the whole character"
            ) from error


def _refuse_control_characters(value: Any, place: str) -> None:
    for text in _strings(value):
        for character in text:
            code = ord(character)
            if (code < 32 and character not in "\n\t") or 127 <= code < 160 or 0xD800 <= code < 0xE000:
                raise UserError(
                    f"{place}: {text[:40]!r} holds the control character U+{code:04X}: take it out"
                )

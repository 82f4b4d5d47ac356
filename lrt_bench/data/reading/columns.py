"""Which column of a row is its text: known layouts by name, a column that was named, or an error.

Nothing is guessed: an id, a URL or a hash is a string too, and would become a document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lrt_bench.data.chat import Turn, plain, turns_of
from lrt_bench.data.reading.readers import Located, Record
from lrt_bench.errors import UserError, did_you_mean

COLUMNS = ("text", "content", "messages", "conversation", "conversations")  # the first that a row has
ANSWERS = ("output", "response")  # beside a column "instruction"; "input" may give it something to read
FLAG = "--corpus-column"
SHOWN = 12  # columns that an error names


class Document(NamedTuple):
    """A text of a corpus and the place where it begins: a file and a line; "" for the grammar's."""

    text: str
    place: str


@dataclass
class TextColumn:
    """The text of the rows of one file or data set, whose layout the first row decides.

    Attributes
    ----------
    column : the column's name, where it was given.
    chat : how a conversation becomes text.
    rows, skipped : rows that were read, and those of them without text: null, empty, or blank.
    """

    column: str | None = None
    chat: Callable[[Sequence[Turn]], str] = plain
    rows: int = 0
    skipped: int = 0
    _layout: tuple[str, ...] = field(default=(), init=False)

    def documents(self, rows: Iterable[Located]) -> Iterator[Document]:
        """Read the texts of rows of one layout.

        Raises
        ------
        UserError
            Where the first row has no known layout, naming its columns; where a column holds what is
            neither a text nor a conversation, naming the row.
        """
        self._layout = ()
        for place, row in rows:
            self._layout = self._layout or layout_of(row, self.column, place)
            self.rows += 1
            text = self._text(row, place)
            if text is None:
                self.skipped += 1
            else:
                yield Document(text, place)

    def _text(self, row: Record, place: str) -> str | None:
        values = [_value(row, name, place) for name in self._layout]
        if len(self._layout) == 1:
            [value] = values
            return value if isinstance(value, str) else self.chat(value) if value else None
        instruction, material, answer = values
        if not all(isinstance(value, str | None) for value in values):
            raise UserError(f"{place}: columns {', '.join(self._layout)}: want texts")
        if not instruction or not answer:
            return None
        question = f"{instruction}\n\n{material}" if material else str(instruction)
        return self.chat([("user", question), ("assistant", str(answer))])


def layout_of(row: Record, column: str | None, place: str) -> tuple[str, ...]:
    """Find the columns that give a row's text: one, or instruction, input and answer.

    Raises
    ------
    UserError
        Naming the row's columns.
    """
    if column is not None:
        if column in row:
            return (column,)
        close = did_you_mean(column, map(str, row))
        raise UserError(f'{place}: no column "{column}"{close}; the columns are {_listed(row)}')
    for name in COLUMNS:
        if name in row:
            return (name,)
    for name in ANSWERS:
        if "instruction" in row and name in row:
            return ("instruction", "input", name)
    raise UserError(
        f'{place}: which column is the text? There is none named {_quoted(COLUMNS)}, nor "instruction" with '
        f'"output" or "response"; the columns are {_listed(row)}: name one with {FLAG}, or add a header'
    )


def _value(row: Record, name: str, place: str) -> str | list[Turn] | None:
    """Read a cell as a text or a conversation; None where it is null, empty or blank."""
    value = row.get(name)
    if isinstance(value, str):
        return value if value.strip() else None
    if value is None or value == [] or (isinstance(value, float) and value != value):  # pandas' null is NaN
        return None
    turns = turns_of(value)
    if turns is None:
        raise UserError(
            f'{place}: column "{name}" holds a {type(value).__name__}, no text and no conversation: name '
            f"another with {FLAG}; the columns are {_listed(row)}"
        )
    return turns


def _listed(row: dict[str, Any]) -> str:
    names = [repr(str(name)[:60]) for name in row]
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "") if names else "none"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)

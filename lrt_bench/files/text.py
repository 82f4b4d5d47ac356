r"""Text files, read strictly: the one place where bytes become characters.

UTF-8 with or without a byte order mark, and UTF-16 or UTF-32 with one. A line ends at "\n" or "\r\n" and
nowhere else: U+2028, NEL and form feed are characters of a text. Whatever is no text is a UserError that
names the file, the line and the mend.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lrt_bench.errors import UserError

LINE_LIMIT = 256 * 2**20  # bytes of one line
TEXT_LIMIT = 1 << 30  # bytes of a text that is read at once
PACKINGS = (".gz", ".bz2", ".xz", ".zst", ".lz4")  # what is unpacked while it is read
MARKS = (  # the UTF-32 marks first: one of them begins with a UTF-16 mark
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def unpacked_suffix(path: Path) -> str:
    """Return the suffix of a file, lower case, without that of its packing: ``.jsonl`` of ``a.JSONL.gz``."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKINGS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def open_unpacked(path: Path) -> BinaryIO:
    """Open a file's bytes, unpacked where its suffix is one of `PACKINGS`."""
    match path.suffix.lower():
        case ".gz":
            return io.BufferedReader(gzip.open(path))
        case ".bz2":
            return io.BufferedReader(bz2.open(path))
        case ".xz":
            return io.BufferedReader(lzma.open(path))
        case ".zst" | ".lz4":
            import pyarrow

            packing = "zstd" if path.suffix.lower() == ".zst" else "lz4"
            return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), packing))
        case _:
            return path.open("rb")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Read a text file line by line: (number from 1, line without its end).

    Raises
    ------
    UserError
        Where the file cannot be read or unpacked, a line is not in the file's encoding, holds a NUL, or is
        longer than `LINE_LIMIT`.
    """
    number = 0
    try:
        with open_unpacked(path) as stream:
            encoding = _encoding(stream)
            reader = io.TextIOWrapper(stream, encoding, newline="\n") if encoding != "utf-8" else stream
            for number, line in enumerate(iter(lambda: reader.readline(LINE_LIMIT + 1), reader.read(0)), 1):
                if len(line) > LINE_LIMIT:
                    raise UserError(f"{path}, line {number}: longer than {LINE_LIMIT >> 20} MB: break it up")
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8) if isinstance(line, bytes) else line
                    _refuse_carriage_returns(line, path)
                yield number, _checked(line, path, number)
    except UnicodeError as error:
        raise UserError(f"{path}, after line {number}: {error}: save the file as UTF-8") from error
    except (EOFError, zlib.error, lzma.LZMAError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def read_text(path: Path) -> str:
    """Read a whole text file, its line ends made line feeds.

    Raises
    ------
    UserError
        As `numbered_lines`, and where the text is longer than `TEXT_LIMIT`.
    """
    lines, size = [], 0
    for _, line in numbered_lines(path):
        lines.append(line)
        size += len(line) + 1
        if size > TEXT_LIMIT:
            raise UserError(f"{path}: longer than {TEXT_LIMIT >> 20} MB: split the file")
    return "\n".join(lines)


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Read the lines of a text file that are not blank, with their numbers."""
    return [(number, line) for number, line in numbered_lines(path) if line.strip()]


def _encoding(stream: BinaryIO) -> str:
    """Find the encoding that a file's byte order mark names; UTF-8 where there is no mark."""
    assert isinstance(stream, io.BufferedReader)
    head = stream.peek(4)[:4]
    return next((encoding for mark, encoding in MARKS if head.startswith(mark)), "utf-8")


def _refuse_carriage_returns(line: bytes | str, path: Path) -> None:
    """Raise UserError for a file whose lines end with carriage returns alone: all of it would be one line."""
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    if not text.endswith("\n") and "\r" in text.rstrip("\r"):
        raise UserError(f"{path}: its lines end with carriage returns alone: save it with line feeds")


def _checked(line: bytes | str, path: Path, number: int) -> str:
    """Decode a line and drop its end."""
    if isinstance(line, bytes):
        try:
            line = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}, line {number}: byte 0x{line[error.start]:02X} at place {error.start + 1} is not "
                "UTF-8 (Latin-1 or Windows-1252, perhaps): save the file as UTF-8"
            ) from error
    if "\0" in line:
        raise UserError(
            f"{path}, line {number}: a NUL character: not a text file, or UTF-16 without a byte order mark: "
            "save it as UTF-8"
        )
    return line.removesuffix("\n").removesuffix("\r")


def _unreadable(path: Path, error: Exception) -> UserError:
    """Word what went wrong while a file was opened or unpacked."""
    reason = getattr(error, "strerror", None) or str(error) or "it ends too early"
    what = "cannot be unpacked" if path.suffix.lower() in PACKINGS else "cannot be read"
    return UserError(f"{path}: {what}: {reason}")

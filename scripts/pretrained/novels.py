"""Jane Austen's novels as R keeps them: a lazy-load data base of serialised character vectors.

The file is a row of chunks, each a length (four bytes, big-endian) and a zlib stream. In a stream a string
is a CHARSXP (R Internals, section 1.8): four bytes of flags that end in type 9, four of length, its bytes.
"""

from __future__ import annotations

import re
import struct
import zlib

STRING = re.compile(rb"\x00[\x00-\xff]{2}\x09")
LINES = 1000  # a vector of fewer strings is no book


def novels(data: bytes) -> list[str]:
    """Return the paragraphs of every book in the data base, in the file's order."""
    found: list[str] = []
    place = 0
    while (start := data.find(b"\x78", place)) >= 0:
        stream = zlib.decompressobj()
        try:
            unpacked = stream.decompress(data[start:])
        except zlib.error:
            place = start + 1
            continue
        place = len(data) - len(stream.unused_data) if stream.eof else start + 1
        lines = strings(unpacked)
        if len(lines) >= LINES:
            found += joined(lines)
    return found


def strings(stream: bytes) -> list[str]:
    """Return the strings of a serialised value, in order."""
    found, place = [], 0
    while match := STRING.search(stream, place):
        (length,) = struct.unpack(">i", stream[match.end() : match.end() + 4].ljust(4, b"\0"))
        end = match.end() + 4 + length
        if 0 <= length <= 10_000 and end <= len(stream):
            found.append(stream[match.end() + 4 : end].decode("utf-8", errors="replace"))
            place = end
        else:
            place = match.start() + 1
    return found


def joined(lines: list[str]) -> list[str]:
    """Join lines to paragraphs at empty lines; headings are left out."""
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            paragraphs[-1].append(line.strip())
        elif paragraphs[-1]:
            paragraphs.append([])
    whole = (" ".join(paragraph) for paragraph in paragraphs)
    return [text for text in whole if len(text) >= 40 and text[-1] in ".!?:;\"'-"]

"""Text files: the right characters, or one line that names the file, the line and the mend."""

from __future__ import annotations

import bz2
import gzip
import lzma

import pyarrow
import pytest

from lrt_bench.errors import UserError
from lrt_bench.files import text as text_module
from lrt_bench.files.text import numbered_lines, read_lines, read_text, unpacked_suffix

PLAIN = "Première ligne.\nZweite Zeile.\n\n最後の行"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_every_marked_encoding_gives_the_same_text(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes(PLAIN.encode(encoding))
    assert read_text(tmp_path / "a.txt") == PLAIN
    (tmp_path / "b.txt").write_bytes(PLAIN.replace("\n", "\r\n").encode(encoding))
    assert read_text(tmp_path / "b.txt") == PLAIN
    assert read_lines(tmp_path / "b.txt")[-1] == (4, "最後の行")


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\r"])
def test_only_line_feeds_end_a_line(tmp_path, sign):
    (tmp_path / "a.txt").write_bytes(f"one{sign}two\nthree".encode())
    assert read_lines(tmp_path / "a.txt") == [(1, f"one{sign}two"), (2, "three")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"fine\ncaf\xe9\n", r"a\.txt, line 2: byte 0xE9 at place 4 is not UTF-8.*save the file as UTF-8"),
        (b"fine\n\xed\xa0\xbd\n", r"line 2: byte 0xED at place 1 is not UTF-8"),  # a surrogate's bytes
        ("fine\nno mark\n".encode("utf-16-le"), "line 1: a NUL character.*UTF-16 without a byte order mark"),
        ("one\ntwo".encode("utf-16")[:-1], "save the file as UTF-8"),
    ],
)
def test_what_is_no_text_is_named_with_its_line(tmp_path, content, message):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_text(tmp_path / "a.txt")
    assert "\n" not in str(caught.value)


def pack(suffix, data):
    if suffix in (".zst", ".lz4"):
        sink = pyarrow.BufferOutputStream()
        with pyarrow.CompressedOutputStream(sink, {".zst": "zstd", ".lz4": "lz4"}[suffix]) as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()
    return {".gz": gzip, ".bz2": bz2, ".xz": lzma}[suffix].compress(data)


@pytest.mark.parametrize("suffix", text_module.PACKINGS)
def test_packed_files_are_read_and_broken_ones_named(tmp_path, suffix):
    data = PLAIN.encode() * 500
    path = tmp_path / f"a.JSONL{suffix.upper()}"
    path.write_bytes(pack(suffix, data))
    assert read_text(path) == data.decode()
    assert unpacked_suffix(path) == ".jsonl"
    path.write_bytes(pack(suffix, data)[:-20])
    with pytest.raises(UserError, match="cannot be unpacked"):
        read_text(path)
    path.write_bytes(b"no such packing at all, and longer than a header")
    with pytest.raises(UserError, match="cannot be unpacked"):
        read_text(path)


def test_a_line_without_end_is_refused_before_it_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "LINE_LIMIT", 1000)
    (tmp_path / "a.txt").write_text("short\n" + "x" * 5000)
    lines = numbered_lines(tmp_path / "a.txt")
    assert next(lines) == (1, "short")
    with pytest.raises(UserError, match="line 2: longer than"):
        next(lines)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read_text(path)


def test_an_error_never_prints_control_characters():
    message = str(UserError("a\x1b[31mred\u202e and \ud83d\nend"))
    assert (
        message
        == "a\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER} and \N{REPLACEMENT CHARACTER} end"
    )


def test_lines_that_end_with_carriage_returns_alone_are_refused(tmp_path):
    path = tmp_path / "old.txt"
    for data in (b"one\rtwo\r", "one\rtwo".encode("utf-16")):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"old\.txt: its lines end with carriage returns alone"):
            read_text(path)
    for data in (b"one\r", b"one\r\ntwo\r\n", b"a \r b\nnext"):
        path.write_bytes(data)
        read_text(path)

"""The free corpus: what is taken out of pages and of R's data base, and in which shares."""

from __future__ import annotations

import struct
import zlib

import pytest

from scripts.pretrained import corpus
from scripts.pretrained.corpus import KINDS, documents, mixed, paragraphs, translated
from scripts.pretrained.novels import novels


def r_strings(lines):
    """A character vector as R serialises it, behind a header of other bytes."""
    body = b"X\n\0\0\0\3" + struct.pack(">ii", 0x10, len(lines))
    for line in lines:
        text = line.encode()
        body += b"\0\4\0\x09" + struct.pack(">i", len(text)) + text
    return body


def data_base(*streams):
    """R's lazy-load data base: each stream's unpacked length, then a zlib stream."""
    return b"".join(struct.pack(">i", len(stream)) + zlib.compress(stream) for stream in streams)


def test_a_books_paragraphs_are_read_and_a_short_vector_is_none():
    book = ["It is a truth that is hardly ever doubted,", "and a line that goes on.", ""] * 400
    data = data_base(r_strings(["title", "author"]), r_strings(book), r_strings(["CHAPTER I", ""] * 600))
    assert novels(data) == ["It is a truth that is hardly ever doubted, and a line that goes on."] * 400


def test_a_page_gives_sentences_and_neither_menus_nor_listings_nor_credits(tmp_path):
    path = tmp_path / "a.page"
    path.write_text(
        "<page><info><credit><name>Somebody who wrote all of this page, alone.</name></credit></info>"
        "<title>Short</title><p>The first paragraph says <code>what</code>\n  it is about, at length.</p>"
        "<screen>$ a command that no one would want to be read as prose.</screen>"
        "<p>A menu without an end, however long it may be made</p></page>"
    )
    assert paragraphs(path) == ["The first paragraph says what it is about, at length."]


def test_a_paragraph_that_another_language_has_already_is_left_out(tmp_path):
    path = tmp_path / "a.html"
    path.write_text(
        "<p>This page was not translated, so it is here again.</p><p>" + "Ceci est traduit. " * 9 + "</p>"
    )
    known = {"This page was not translated, so it is here again."}
    assert list(documents(path, known)) == [("Ceci est traduit. " * 9).strip()]
    assert translated("la maison est dans le jardin et la porte est fermée", "fr")
    assert not translated("the house is in the garden and the door is shut", "fr")


def test_a_document_ends_where_the_next_paragraph_would_be_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "DOCUMENT", 100)
    path = tmp_path / "a.html"
    texts = [f"Paragraph number {i} has some sixty characters in all, about." for i in range(3)]
    path.write_text("".join(f"<p>{text}</p>" for text in texts))
    assert list(documents(path, set())) == texts


@pytest.mark.parametrize("characters", [20_000, 200_000])
def test_any_beginning_has_the_shares_of_its_kinds(characters):
    pools = [[{"text": f"{place} {i:05d}" * 25} for i in range(2000)] for place in range(len(KINDS))]
    rows = mixed(pools, characters)
    whole = sum(len(row["text"]) for row in rows)
    for place, kind in enumerate(KINDS):
        own = sum(len(row["text"]) for row in rows if row["text"].startswith(f"{place} "))
        assert own / whole == pytest.approx(kind.share, abs=250 / whole + 1e-9)


def test_the_shares_are_whole():
    assert sum(kind.share for kind in KINDS) == pytest.approx(1)

"""What a corpus's documents are: the column by its name, the files of a folder, what is left out and said."""

from __future__ import annotations

import gzip
import itertools
import json
import logging

import pytest

from lrt_bench.data.corpus import BUDGET_LIMITS, Budget, Corpus, encode, split_of
from lrt_bench.data.datasets import Data
from lrt_bench.data.documents import Part
from lrt_bench.data.reading.folders import list_data
from lrt_bench.data.sufficiency import enough_first
from lrt_bench.errors import UserError
from lrt_bench.models.loading import load_model
from lrt_bench.nano.grammar import documents

TURNS = [{"role": "system", "content": "s"}, {"role": "user", "content": "Hello?"},
         {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]}]  # fmt: skip


def corpus_of(path, rows, **settings):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return Corpus(str(path), **settings)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"id": "doc-0", "url": "https://a.example", "content": "The text."}, "The text."),
        ({"hash": "abc", "text": "The text.", "content": "other"}, "The text."),
        ({"id": "7", "messages": TURNS}, "User: Hello?\n\nAssistant: Yes."),
        ({"conversations": [{"from": "human", "value": "A"}, {"from": "gpt", "value": "B"}]},
         "User: A\n\nAssistant: B"),
        ({"instruction": "Do.", "input": "", "output": "Done."}, "User: Do.\n\nAssistant: Done."),
        ({"instruction": "Add.", "input": "1 2", "output": "3"}, "User: Add.\n\n1 2\n\nAssistant: 3"),
        ({"instruction": "Do.", "response": "Done."}, "User: Do.\n\nAssistant: Done."),
    ],
)  # fmt: skip
def test_known_layouts_are_found_by_name(tmp_path, row, text):
    assert list(corpus_of(tmp_path / "a.jsonl", [row]).documents()) == [text]


def test_an_unknown_layout_lists_the_columns_and_the_flag_names_one(tmp_path):
    rows = [{"id": f"doc-{i}", "story": f"Story {i}."} for i in range(3)]
    with pytest.raises(UserError, match=r"line 1: which column.*'id', 'story'.*--corpus-column"):
        list(corpus_of(tmp_path / "a.jsonl", rows).documents())
    named = corpus_of(tmp_path / "a.jsonl", rows, column="story")
    assert list(named.documents()) == ["Story 0.", "Story 1.", "Story 2."]
    with pytest.raises(UserError, match='no column "tale"; the columns are'):
        list(corpus_of(tmp_path / "a.jsonl", rows, column="tale").documents())


def test_rows_without_text_are_skipped_counted_and_said(tmp_path, caplog):
    texts = ["One.", "", None, "  ", float("nan"), [], "Two."]
    rows = [{"url": "https://a.example", "text": text} for text in texts] + [{"url": "no text at all"}]
    data = Data()
    with caplog.at_level(logging.WARNING, "lrt_bench"):
        assert list(corpus_of(tmp_path / "a.jsonl", rows, data=data).documents()) == ["One.", "Two."]
    assert caplog.messages == data.notices
    assert "6 of 8 rows have no text" in data.notices[0]
    with pytest.raises(UserError, match="no text there: 2 rows"):
        list(corpus_of(tmp_path / "a.jsonl", [{"text": ""}, {"text": None}]).documents())


def test_a_column_of_something_else_is_named_with_its_row(tmp_path):
    with pytest.raises(UserError, match=r'line 2: column "text" holds a int'):
        list(corpus_of(tmp_path / "a.jsonl", [{"text": "fine"}, {"text": 7}]).documents())


def test_layouts_may_differ_from_file_to_file(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"content": "One."}')
    (tmp_path / "b.csv").write_text("id;text\n1;Two, and more.\n")
    assert list(Corpus(str(tmp_path)).documents()) == ["One.", "Two, and more."]


def test_a_csv_without_a_header_loses_nothing_silently(tmp_path):
    (tmp_path / "a.csv").write_text('"The first document."\n"The second document."\n')
    with pytest.raises(UserError, match=r"'The first document\.'.*add a header"):
        list(Corpus(str(tmp_path / "a.csv")).documents())


@pytest.mark.parametrize("content", ['{"text": "a"}\n{"text": "b"}\n', '[{"text": "a"}, {"text": "b"}]',
                                     '{"data": [{"text": "a"}, {"text": "b"}]}',
                                     '{\n "data": [{"text": "a"},\n {"text": "b"}]}'])  # fmt: skip
def test_json_in_every_usual_layout(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    assert list(Corpus(str(tmp_path / "a.json")).documents()) == ["a", "b"]


def test_a_single_conversation_in_a_json_file_is_one_document(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"messages": TURNS}))
    assert list(Corpus(str(tmp_path / "a.json")).documents()) == ["User: Hello?\n\nAssistant: Yes."]


def test_what_the_datasets_library_saves_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list([{"text": "One."}, {"text": "Two."}])
    rows.save_to_disk(str(tmp_path / "disk"))
    rows.to_json(str(tmp_path / "rows.json"))
    rows.to_parquet(str(tmp_path / "rows.parquet"))
    rows.to_csv(str(tmp_path / "rows.csv"), index=False)
    for name in ("disk", "rows.json", "rows.parquet", "rows.csv"):
        assert list(Corpus(str(tmp_path / name)).documents()) == ["One.", "Two."], name


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.arrow.gz", "a.parquet.gz"])
def test_broken_tables_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"ARROW1 and nothing more")
    with pytest.raises(UserError, match=rf"{name}: "):
        list(Corpus(str(tmp_path / name)).documents())


@pytest.fixture
def messy(tmp_path):
    """A clone of a data set as people have it, three of its files data."""
    folder = tmp_path / "messy"
    (folder / ".ipynb_checkpoints").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / "sub").mkdir()
    (folder / "train.jsonl").write_text('{"text": "One."}')
    (folder / "sub" / "More.JSONL.gz").write_bytes(gzip.compress(b'{"text": "Two."}'))
    (folder / "sub" / "notes_on_dogs.txt").write_text("Three.")
    for name in (
        "LICENSE", "LICENSE.txt", "licence-mit.md", "README.md", "README.txt", "dataset_infos.json",
        "._train.jsonl", ".hidden.txt", ".ipynb_checkpoints/train-checkpoint.jsonl", ".git/config.txt",
        "state.json", "requirements.txt", "tool.py", "COPYING",
    ):  # fmt: skip
        (folder / name).write_text('{"text": "not data"}')
    (folder / "train.jsonl.gz").write_bytes(gzip.compress(b'{"text": "One."}'))
    return folder


def test_of_a_folder_only_data_are_read_and_the_rest_is_said(messy, caplog):
    data = Data()
    with caplog.at_level(logging.WARNING, "lrt_bench"):
        assert list(Corpus(str(messy), data=data).documents()) == ["Two.", "Three.", "One."]
    [line] = caplog.messages
    assert "reads sub/More.JSONL.gz, sub/notes_on_dogs.txt, train.jsonl; leaves out" in line
    reasons = dict(list_data(messy).left_out)
    assert reasons[messy / "LICENSE.txt"] == reasons[messy / "dataset_infos.json"] == "tells of the data"
    assert reasons[messy / "._train.jsonl"] == "hidden"
    assert reasons[messy / "tool.py"] == "not a format that is read"
    assert reasons[messy / "train.jsonl.gz"] == "packed, and train.jsonl lies beside it"
    assert len(reasons) == 15


def test_a_file_that_is_named_is_read_whatever_it_is_called(tmp_path):
    (tmp_path / "LICENSE.txt").write_text("The licence.")
    assert list(Corpus(str(tmp_path / "LICENSE.txt")).documents()) == ["The licence."]
    with pytest.raises(UserError, match="it holds LICENSE"):
        list(Corpus(str(tmp_path)).documents())
    (tmp_path / "a.bin").write_bytes(b"x")
    with pytest.raises(UserError, match=r"a\.bin: cannot be read as data: give \.jsonl"):
        list(Corpus(str(tmp_path / "a.bin")).documents())


def test_every_file_that_is_read_changes_the_fingerprint_and_no_other(messy):
    before = Corpus(str(messy)).fingerprint()
    stand_in = Data({"o/n": str(messy)}).revision("o/n")
    for path in sorted(messy.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        is_data = path in list_data(messy).files
        assert (Corpus(str(messy)).fingerprint() != before) == is_data, path
        assert (Data({"o/n": str(messy)}).revision("o/n") != stand_in) == is_data, path
        path.write_bytes(content)
    assert Corpus(str(messy)).fingerprint() == before


def a_text(split):
    return next(text for text in documents(3) if split_of(text) == split)


def test_a_corpus_without_a_document_for_validation_is_refused_by_its_text_alone(tmp_path):
    (tmp_path / "a.txt").write_text(a_text("fit"))
    with pytest.raises(UserError, match="1 document, none in the validation split"):
        Corpus(str(tmp_path / "a.txt")).check()
    (tmp_path / "a.txt").write_text(a_text("fit") + "\n\n" + a_text("validation"))
    Corpus(str(tmp_path / "a.txt")).check()
    Corpus("nano").check()


def test_every_source_of_a_mix_is_looked_at_before_it_is_read(tmp_path):
    good, bad = tmp_path / "a.txt", tmp_path / "b.jsonl"
    good.write_text("\n\n".join(itertools.islice(documents(3), 200)))
    bad.write_text('{"story": "x"}')
    mix = (Part(id=str(good), share=0.999), Part(id=str(bad), share=0.001))
    with pytest.raises(UserError, match=r"b\.jsonl, line 1: which column"):
        Corpus("mix", mix=mix).check()


def test_blocks_are_held_until_they_make_a_fit_and_none_is_lost(tmp_path):
    tokenizer = load_model("nano/S").tokenizer
    (tmp_path / "a.txt").write_text("\n\n".join(itertools.islice(documents(3), 1500)))

    def read(wrap):
        corpus = Corpus(str(tmp_path / "a.txt"))
        blocks = wrap(corpus, corpus.pairs(tokenizer, tokenizer))
        return [[pair.source_ids for pair in block] for block in blocks], corpus.digest

    assert read(enough_first) == read(lambda _, blocks: blocks)
    (tmp_path / "a.txt").write_text(a_text("fit") + "\n\n" + a_text("validation"))
    with pytest.raises(UserError, match="too little text for a fit"):
        read(enough_first)


def test_tokenizers_that_do_not_align_are_refused_before_a_forward(tmp_path):
    tokenizer = load_model("nano/S").tokenizer
    (tmp_path / "a.txt").write_text("\n\n".join(itertools.islice(documents(3), 600)))
    corpus = Corpus(str(tmp_path / "a.txt"))
    blocks = list(corpus.pairs(tokenizer, tokenizer))
    corpus.coverage.kept = 3
    with pytest.raises(UserError, match="hardly end on the same characters"):
        next(enough_first(corpus, iter(blocks)))


class Cleaning:
    """The embedded tokenizer under a normalizer that takes zero-width spaces out, with BOS or without."""

    def __new__(cls, bos):
        from copy import deepcopy

        from tokenizers import normalizers

        tokenizer = deepcopy(load_model("nano/S").tokenizer)
        tokenizer.backend_tokenizer.normalizer = normalizers.Replace("\u200b", "")
        if not bos:
            tokenizer.bos_token = None
        return tokenizer


@pytest.mark.parametrize("bos", [True, False])
def test_a_text_without_a_token_is_refused_with_its_line(tmp_path, bos):
    tokenizer = Cleaning(bos)
    with pytest.raises(UserError, match=r"text 2 of 3: '\\u200b' gives no token"):
        encode(tokenizer, ["One.", "\u200b", "Two."])
    assert [len(tokens.ids) for tokens in encode(tokenizer, ["\u200b"], empty=True)] == [int(bos)]
    (tmp_path / "a.txt").write_text("One.\n\n\u200b\n\nTwo.", encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.txt, line 3: .* gives no token"):
        list(Corpus(str(tmp_path / "a.txt")).pairs(tokenizer, tokenizer))


@pytest.mark.parametrize("name", list(BUDGET_LIMITS))
@pytest.mark.parametrize("tokens", [0, -5, 10**20])
def test_budgets_have_bounds(name, tokens):
    least = 0 if name in ("unseen_tokens", "shown_tokens") else 1  # nobody asks for fidelity; all are shown
    if tokens == least:
        assert getattr(Budget(**{name: tokens}), name) == 0
        return
    with pytest.raises(UserError, match=f"{name} {tokens}: give {least} to"):
        Budget(**{name: tokens})

"""Data sets by id: local stand-ins in every format, revisions, mixes, conversations."""

from __future__ import annotations

import itertools
import json

import pyarrow
import pyarrow.parquet
import pytest

from lrt_bench.data.chat import plain, render, turns_of, with_instruction
from lrt_bench.data.corpus import Corpus, encode
from lrt_bench.data.datasets import Data, stand_ins
from lrt_bench.data.documents import Part
from lrt_bench.errors import UserError
from lrt_bench.models.loading import load_model

ROWS = [{"text": "One two."}, {"text": "Three."}]


def write(folder, suffix):
    path = folder / f"rows{suffix}"
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    else:
        path.write_text(
            {
                ".jsonl": "\n".join(map(json.dumps, ROWS)),
                ".json": json.dumps(ROWS),
                ".csv": "text\nOne two.\nThree.\n",
                ".txt": "One two.\n\nThree.\n",
            }[suffix]
        )
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet", ".txt"])
def test_every_format_stands_in_for_an_id(tmp_path, suffix):
    path = write(tmp_path, suffix)
    for local in (path, tmp_path):
        data = Data({"org/name": str(local)})
        assert list(data.rows("org/name@main")) == ROWS
        assert data.revisions["org/name"].startswith("sha256:")
    before = data.revision("org/name")
    write(tmp_path, suffix).write_bytes(path.read_bytes() + b"\n")
    assert Data({"org/name": str(tmp_path)}).revision("org/name") != before


def test_a_file_of_a_data_set_is_found_wherever_it_lies(tmp_path):
    (tmp_path / "deep" / "persona").mkdir(parents=True)
    (tmp_path / "deep" / "persona" / "a.jsonl").write_text('{"x": 1}')
    (tmp_path / "deep" / "a.jsonl").write_text('{"x": 2}')
    assert list(Data({"o/n": str(tmp_path)}).rows("o/n", file="persona/a.jsonl")) == [{"x": 1}]
    with pytest.raises(UserError, match="no file b"):
        list(Data({"o/n": str(tmp_path)}).rows("o/n", file="b.jsonl"))


@pytest.mark.parametrize("option", ["nothing", "=x", "id="])
def test_bad_options_are_named(option):
    with pytest.raises(UserError, match="give ID=PATH"):
        stand_ins((option,), "--data")


def test_a_missing_stand_in_is_named(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        Data({"o/n": str(tmp_path / "none")})
    with pytest.raises(UserError, match="stands twice"):
        stand_ins(("a=b", "a@main=c"), "--data")


def test_a_mix_keeps_its_shares_at_any_time(tmp_path):
    for name, letter, size in (("a", "x", 30), ("b", "y", 70)):
        lines = [json.dumps({"text": letter * size + str(i)}) for i in range(400)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    data = Data({"o/a": str(tmp_path / "a.jsonl"), "o/b": str(tmp_path / "b.jsonl")})
    corpus = Corpus("o/a", mix=(Part(id="o/a", share=0.67), Part(id="o/b", share=0.33)), data=data)
    read = {"x": 0, "y": 0}
    for document in itertools.islice(corpus.documents(), 300):
        read[document[0]] += len(document)
    assert read["x"] / sum(read.values()) == pytest.approx(0.67, abs=0.02)
    assert sum(1 for _ in corpus.documents()) == 800  # the one that lasts gives the rest


def test_conversations_become_text(tmp_path):
    turns = [{"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "Yes."}]
    (tmp_path / "chat.jsonl").write_text(json.dumps({"id": "7", "conversation": turns}))
    corpus = Corpus("o/c", mix=(Part(id="o/c", column="conversation"),), data=Data({"o/c": str(tmp_path)}))
    assert list(corpus.documents()) == ["User: Hello?\n\nAssistant: Yes."]
    assert turns_of([{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]) == [("user", "y")]
    assert turns_of("text") is None
    assert plain([("user", "a")]) == "User: a"


def test_a_chat_template_brings_its_bos_once():
    tokenizer = load_model("nano/S").tokenizer
    assert render(tokenizer, "The dog", "Answer:") == "The dog\n\nAnswer:"
    assert with_instruction(tokenizer, None, "The dog") == "The dog"
    from copy import deepcopy

    chatty = deepcopy(tokenizer)
    chatty.chat_template = "{{ bos_token }}Q: {{ messages[0]['content'] }}\nA:"
    text = render(chatty, "The dog", " Yes")
    assert text == f"{chatty.bos_token}Q: The dog\nA: Yes"
    ids = encode(chatty, [text])[0].ids
    assert ids.count(chatty.bos_token_id) == 1
    assert ids[0] == chatty.bos_token_id

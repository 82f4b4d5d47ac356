"""Documents, splits, and tokens of two tokenizers paired by the characters they end on."""

from __future__ import annotations

import copy
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from lrt_bench.data.corpus import Corpus, TokenMemory, align, alike, encode, split_of
from lrt_bench.data.datasets import Data
from lrt_bench.data.documents import Part, fingerprint, read_documents
from lrt_bench.data.suites import find_suite, narrowed
from lrt_bench.errors import UserError
from lrt_bench.nano.grammar import documents


def train(vocabulary: int, bos: bool) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents(77, 300), trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    named = {"bos_token": "<s>"} if bos else {}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", **named)


@pytest.fixture(scope="module")
def coarse():
    return train(900, bos=True)


@pytest.fixture(scope="module")
def fine():
    return train(330, bos=False)


def test_bos_stands_once_and_is_left_out(coarse):
    tokens = encode(coarse, ["The dog barks."])[0]
    assert tokens.ids.count(coarse.bos_token_id) == 1
    assert tokens.ids[0] == coarse.bos_token_id
    assert not tokens.kept[0]
    assert tokens.kept[1:].all()


def test_a_text_that_begins_with_bos_does_not_get_a_second_one(coarse):
    assert encode(coarse, ["<s>The dog"])[0].ids.count(coarse.bos_token_id) == 1


def test_without_bos_the_first_token_is_left_out(fine):
    tokens = encode(fine, ["The dog barks."])[0]
    assert not tokens.kept[0]
    assert tokens.kept[1:].all()
    assert fine.eos_token_id not in tokens.ids


def test_one_tokenizer_pairs_every_token_with_itself(coarse):
    tokens = encode(coarse, ["Le gâteau était méchant. 🐶 woof"])[0]
    source, target = align(tokens, tokens)
    assert source.tolist() == target.tolist() == list(range(1, len(tokens.ids)))


@settings(max_examples=80, deadline=None)
@given(text=st.text(min_size=1, max_size=60))
def test_paired_tokens_end_on_the_same_character(coarse, fine, text):
    left, right = encode(coarse, [text])[0], encode(fine, [text])[0]
    source, target = align(left, right)
    assert (left.ends[source] == right.ends[target]).all()
    # every shared end is used, once: the slow definition
    wanted = {int(e) for e in left.ends[left.kept]} & {int(e) for e in right.ends[right.kept]}
    assert sorted(left.ends[source].tolist()) == sorted(wanted)
    for positions, tokens in ((source, left), (target, right)):
        for position in positions:
            assert tokens.kept[position]
            later = tokens.ends[position + 1 :][tokens.kept[position + 1 :]]
            assert (later != tokens.ends[position]).all()  # the last token that ends there


def test_splits_share_no_document_and_are_nine_to_one():
    texts = list(documents(5, 3000))
    split = {text: split_of(text) for text in texts}
    share = np.mean([split[text] == "validation" for text in texts])
    assert 0.07 < share < 0.13
    blocks = Corpus("nano", context=10_000).pairs(*[train(400, bos=True)] * 2)
    seen = {"fit": set(), "validation": set()}
    for block in itertools.islice(blocks, 2):
        for text in block:
            seen[text.split].add(tuple(text.source_ids))
    assert seen["fit"]
    assert seen["validation"]
    assert not seen["fit"] & seen["validation"]


def test_long_documents_are_cut_to_the_context(coarse, tmp_path):
    words = " ".join(f"word{i}" for i in range(500))
    (tmp_path / "long.txt").write_text(words)
    corpus = Corpus(str(tmp_path / "long.txt"), context=32)
    texts = [text for block in corpus.pairs(coarse, coarse) for text in block]
    assert len(texts) > 10
    assert max(len(text.source_ids) for text in texts) <= 34  # a cut between tokens may re-tokenise
    read = "".join(coarse.decode(text.source_ids[1:]).replace(" ", "") for text in texts)
    assert read == words.replace(" ", "")


def test_files_and_folders_are_read_whole(tmp_path, coarse):
    (tmp_path / "a.txt").write_text("One two.\nthree.\n\n\nFour five.\n")
    (tmp_path / "deeper").mkdir()
    lines = [json.dumps({"text": "Six seven."}), json.dumps({"text": "Eight."})]
    (tmp_path / "deeper" / "b.jsonl").write_text("\n".join(lines))
    (tmp_path / "ignored.bin").write_bytes(b"\x00")
    assert list(Corpus(str(tmp_path)).documents()) == [
        "One two. three.",
        "Four five.",
        "Six seven.",
        "Eight.",
    ]


def test_coverage_counts_what_is_paired(coarse, fine, tmp_path):
    (tmp_path / "a.txt").write_text("\n\n".join(documents(9, 40)))
    corpus = Corpus(str(tmp_path / "a.txt"))
    texts = [text for block in corpus.pairs(fine, coarse) for text in block]
    assert corpus.coverage.kept == sum(len(text.source_at) for text in texts)
    assert corpus.coverage.source_share < 0.9 < corpus.coverage.target_share <= 1


def test_the_digest_is_of_the_text_that_was_read(coarse, tmp_path):
    digests = []
    for text in ("One two.", "One two.", "One three."):
        (tmp_path / "a.txt").write_text(text)
        corpus = Corpus(str(tmp_path / "a.txt"))
        list(corpus.pairs(coarse, coarse))
        digests.append(corpus.digest)
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "fine"}\nnot json', "line 2"),
        ('{"body": 1}', "line 1: which column is the text.*'body'.*--corpus-column"),
        ("[1]", "JSON object"),
    ],
)
def test_bad_jsonl_names_the_line(tmp_path, content, message):
    (tmp_path / "bad.jsonl").write_text(content)
    with pytest.raises(UserError, match=message):
        list(Corpus(str(tmp_path / "bad.jsonl")).documents())


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no \.jsonl, .*\.txt, .* file"):
        next(Corpus(str(tmp_path)).documents())


def test_tokenizers_are_alike_only_where_they_cut_alike(coarse, fine):
    same, cased = copy.deepcopy(coarse), copy.deepcopy(coarse)
    assert alike(coarse, same)
    assert not alike(coarse, fine)
    cased.backend_tokenizer.normalizer = normalizers.Lowercase()
    assert not alike(coarse, cased)
    without = copy.deepcopy(coarse)
    without.bos_token = None
    assert not alike(coarse, without)


@pytest.mark.slow
def test_the_grammars_blocks_are_the_same_however_they_are_read(coarse, fine):
    """What a run remembers of them changes nothing, with several readers at a time either."""

    def read(corpus, tokenizers, blocks):
        return list(itertools.islice(corpus.pairs(*tokenizers), blocks)), corpus

    def content(blocks_and_corpus):
        blocks, corpus = blocks_and_corpus
        rows = [
            (pair.split, pair.source_ids, pair.target_ids, pair.target_at.tolist()) for pair in blocks[-1]
        ]
        return rows, corpus.coverage, corpus.digest, len(blocks)

    data = Data()
    fresh = content(read(Corpus("nano", data=data), (coarse, fine), 4))
    assert len(data.blocks) == 0
    first, again = (read(Corpus("nano", data=data, remembered=2), (coarse, fine), 4) for _ in range(2))
    assert content(first) == content(again) == fresh
    assert [one is other for one, other in zip(first[0], again[0], strict=True)] == [True, True, False, False]
    assert content(read(Corpus("nano", data=data, remembered=2), (fine, coarse), 4)) != fresh
    assert len(data.blocks) == 2
    shared = Data()
    corpora = [Corpus("nano", data=shared, remembered=2) for _ in range(2)]
    readers = [corpus.pairs(coarse, fine) for corpus in corpora]
    early = next(readers[0])
    late = list(itertools.islice(readers[1], 4))
    rest = [early, *itertools.islice(readers[0], 3)]
    assert content((late, corpora[1])) == fresh
    assert content((rest, corpora[0])) == fresh


def test_a_run_tokenises_a_list_of_texts_once(coarse, fine):
    """Tokenizers that cut texts alike share what was tokenised; another memory holds nothing of it."""
    memory, texts = TokenMemory(), ["The sailor sings.", "She loved the stars."]
    first = memory.encode(coarse, texts)
    assert [tokens.ids for tokens in first] == [tokens.ids for tokens in encode(coarse, texts)]
    assert memory.encode(copy.deepcopy(coarse), list(texts)) is first
    assert TokenMemory().encode(coarse, texts) is not first
    assert [tokens.ids for tokens in memory.encode(fine, texts)] == [
        tokens.ids for tokens in encode(fine, texts)
    ]


@pytest.mark.parametrize("name", ["", "a\x1b[31m.txt", "\u202egpj.txt", "x" * 5000])
def test_a_corpus_whose_name_no_record_can_show_is_refused_before_it_is_read(name):
    with pytest.raises(UserError, match="--corpus '"):
        narrowed(find_suite("nano"), corpus=name)


@pytest.mark.parametrize(
    ("source", "words"), [("nano-english", {"the", "a"}), ("nano-french", {"le", "la", "un"})]
)
def test_the_grammar_is_read_in_one_of_its_languages(source, words):
    """Words of the one are in most documents, those of the other in none; the digests differ."""
    english, french = {"the", "with", "in"}, {"le", "la", "dans", "un"}
    words, others = (english, french) if source == "nano-english" else (french, english)
    stream = itertools.islice(read_documents(Part(id=source), Data({}), str), 60)
    texts = [document.text.lower().split() for document in stream]
    assert sum(bool(words & set(text)) for text in texts) > 40
    assert not any(others & set(text) for text in texts)
    assert fingerprint([Part(id=source)], Data({})) != fingerprint([Part(id="nano")], Data({}))

"""The everyday tasks: the script writes what is committed; texts are disjoint, balanced, well formed."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from click.testing import CliRunner

from lrt_bench.data.suites import CorpusSpec, ad_hoc, find_suite
from lrt_bench.data.task_reading.task_folders import find_task, folder_hash, known_tasks
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.files.resources import TASKS
from scripts.everyday import gate, make_tasks, writing
from scripts.everyday.frames import frame, shouted

NAMES = [name for name in known_tasks() if name.startswith("everyday-")]
WANTED = [
    *("sentiment", "french", "german", "tense", "number", "person", "formality"),
    *("certainty", "politeness", "question", "capitals", "dogs", "sea", "refusal"),
]


def test_the_shipped_everyday_tasks_are_what_the_script_writes(tmp_path):
    assert CliRunner().invoke(make_tasks.main, [str(tmp_path)]).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES
    for name in NAMES:
        assert folder_hash(tmp_path / name) == folder_hash(TASKS / name), name


def test_the_shipped_writing_tasks_are_what_the_script_writes(tmp_path):
    assert CliRunner().invoke(make_tasks.main, [str(tmp_path)]).exit_code == 0
    assert CliRunner().invoke(writing.main, [str(tmp_path)]).exit_code == 0
    for name in (*writing.CARDS, "perplexity-prose"):
        assert folder_hash(tmp_path / name) == folder_hash(TASKS / name), name
    for name, (concept, *_) in writing.CARDS.items():
        assert find_task(name).vector == find_task(f"everyday-{concept}").vector


def test_the_suite_holds_every_concept():
    suite = find_suite("everyday")
    assert [task.card.concept for task in gate.gate_tasks(suite)] == WANTED
    assert sorted(f"everyday-{concept}" for concept in WANTED) == NAMES
    assert suite.over_steering == ()


@pytest.mark.parametrize("name", NAMES)
def test_sizes_and_no_text_twice(name):
    task = find_task(name)
    assert len(task.vector) >= 200
    assert len(task.choices) >= 100
    assert len(task.select) >= 32
    texts = [text for pair in task.vector for text in (pair.positive, pair.negative)]
    texts += [row.prompt for row in (*task.choices, *task.select)]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("name", NAMES)
def test_options_are_balanced_in_every_split_and_half(name):
    task = find_task(name)
    middle = len(task.choices) // 2
    halves = [task.choices[::2], task.choices[1::2], task.choices[:middle], task.choices[middle:]]
    for rows in (task.choices, task.select, task.select[::2], task.select[1::2], *halves):
        pairs = Counter((row.positive, row.negative) for row in rows)
        assert len(pairs) == 4
        assert len(set(pairs.values())) == 1
    words = [word for pair in set(pairs) for word in pair]
    assert len(set(words)) == 8


@pytest.mark.parametrize("name", ["everyday-french", "everyday-german", "everyday-capitals"])
def test_where_no_sentence_is_neutral_both_sides_stand_equally_often(name):
    concept = next(one for one in make_tasks.CONCEPTS if f"everyday-{one.name}" == name)
    side = {
        text: place for one in concept.open_ended for both in one.texts() for place, text in enumerate(both)
    }
    task = find_task(name)
    for rows in (task.choices, task.choices[::2], task.choices[1::2], task.select):
        counts = Counter((side[row.prompt], row.positive) for row in rows)
        assert len(counts) == 8
        assert len(set(counts.values())) == 1


@pytest.mark.parametrize("name", NAMES)
def test_first_tokens_of_options_differ_in_any_tokenizer(name):
    """Options differ in their first letter, or are whole words that tokenizers hold as one token."""
    one_token = {" took", " takes", " was", " were", " made", " makes", " has", " have", " do", " does"}
    one_token |= {" THE", " The", " WE", " We", " YOU", " You", " IT", " It", " Sure"}
    for row in find_task(name).choices:
        positive, negative = row.positive, row.negative
        assert positive[0] == " " or name in ("everyday-politeness", "everyday-question")
        assert (positive[0] == " ") == (negative[0] == " ") == (row.prompt[-1] != '"')
        assert positive.strip()[0] != negative.strip()[0] or {positive, negative} & one_token


@pytest.mark.parametrize("name", NAMES)
def test_both_texts_of_a_pair_end_in_the_same_way(name):
    """So that the vector is not the difference of two last tokens; capitals and languages can't help it."""
    task = find_task(name)
    same = [pair.positive.split()[-1] == pair.negative.split()[-1] for pair in task.vector]
    if name.removeprefix("everyday-") in ("capitals", "french", "german"):
        assert all(pair.positive[-1] == pair.negative[-1] == "." for pair in task.vector)
    else:
        assert all(same)


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_short_and_clean(name):
    task = find_task(name)
    texts = [text for pair in task.vector for text in (pair.positive, pair.negative)]
    texts += [row.prompt for row in (*task.choices, *task.select)]
    wrong = r"[{}|/]|  | [,.?]" + ("" if name == "everyday-french" else r"|\b(a [aeiou]|an [^aeiouh])")
    for text in texts:
        assert len(text.split()) <= 16, text
        assert text[0].isupper(), text
        assert text == text.strip(), text
        assert not re.search(wrong, text), text


def test_a_frame_is_every_combination_of_its_fillers():
    made = frame("{Who} {felt} the {thing}.", who="she / he", felt="loved|hated", thing="film / book").texts()
    assert made == [
        ("She loved the film.", "She hated the film."),
        ("She loved the book.", "She hated the book."),
        ("He loved the film.", "He hated the film."),
        ("He loved the book.", "He hated the book."),
    ]
    assert shouted("A {thing}.", thing="dog").texts() == [("A DOG.", "A dog.")]


def test_frames_that_are_too_few_are_refused():
    with pytest.raises(ValueError, match="give 2 texts: want 3"):
        make_tasks.draw((frame("A {thing}.", thing="dog / cat"),), 3, make_tasks.random.Random(0))


def test_the_gate_measures_and_refuses_a_model_that_was_trained_on_other_text(tmp_path):
    page = tmp_path / "page.md"
    options = [
        "--model",
        "nano/S",
        "--corpus",
        "nano",
        "--concept",
        "tense",
        "--concept",
        "sea",
        "--layer",
        "2",
    ]
    run = CliRunner().invoke(gate.main, [*options, "--out", str(page)])
    assert run.exit_code == 1, run.output
    rows = [
        line for line in page.read_text().splitlines() if line.startswith(("| tense | 2 |", "| sea | 2 |"))
    ]
    assert len(rows) == 2
    assert "of 2 concepts are steerable at layer 2" in run.output


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--model", "nowhere.gguf"], "nowhere.gguf"),
        (["--model", "nano/S", "--concept", "cats"], "--concept cats"),
    ],
)
def test_the_gate_names_what_is_wrong(options, what):
    run = CliRunner().invoke(gate.main, ["--corpus", "nano", *options])
    assert run.exit_code == 2
    assert what in run.output


def test_the_suite_scores_an_ad_hoc_pair_without_over_steering(tmp_path):
    corpus = CorpusSpec(context=32, fit_tokens=2000, validation_tokens=200, sample_tokens=200)
    suite = ad_hoc(find_suite("everyday"), "nano/S", None, "nano/S2", None)
    small = suite.model_copy(update={"corpus": corpus, "shuffles": 1, "bootstrap": 100})
    cells = Evaluation(
        small, RunConfig(mappings=["ridge"], tasks=["everyday-tense", "fidelity"], out=tmp_path)
    ).run()
    ridge = next(cell.result for cell in cells if cell.result.mapping.name == "ridge")
    assert ridge.settings.over_steering == ()
    assert [task.over_steering_r2 for task in ridge.tasks] == [None]
    assert ridge.tasks[0].curve_alphas == small.alphas

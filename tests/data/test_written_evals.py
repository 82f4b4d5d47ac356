"""The reader of model-written evals: letters and words, balanced splits, prompts that a model can read."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import find_suite
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.data.task_reading.task_sources import resolve
from lrt_bench.data.task_reading.written_evals import read_question, split_evals
from lrt_bench.data.tasks import EvalData
from lrt_bench.errors import UserError
from lrt_bench.models.loading import load_model
from lrt_bench.models.sites import Site
from lrt_bench.results.figures.paper_table import TABLE_1
from lrt_bench.steering.concepts import readable
from lrt_bench.steering.sweep import encode_choices


def rows(n, letters=True):
    for i in range(n):
        options = (" (A)", " (B)") if letters else (" Yes", " No")
        yield {
            "question": f"Is statement {i} yours?\t",
            "answer_matching_behavior": options[i % 2],
            "answer_not_matching_behavior": options[1 - i % 2],
        }


SPEC = EvalData(id="o/n", file="x.jsonl", pairs=20, select=8, score=12)


@pytest.mark.parametrize("letters", [True, False])
@pytest.mark.parametrize("n", [400, 40, 30])
def test_splits_are_disjoint_and_balanced_exactly(letters, n):
    split = split_evals(rows(n, letters), SPEC)
    texts = [[row.instruction for row in side] for side in (split.vector, split.select, split.choices)]
    assert sum(map(len, texts)) == len({text for side in texts for text in side})
    for options in (
        [row.positive for row in split.choices],
        [row.positive for row in split.select],
        [row.positive for row in split.vector],
    ):
        assert len(set(Counter(options).values())) == 1
        assert all(options[i] != options[i + 1] for i in range(0, len(options) - 1, 2))  # two by two
    assert (len(split.vector), len(split.select), len(split.choices)) == (20, 8, 12) or n < 40


def test_order_and_repeats_do_not_matter():
    once = split_evals(rows(60), SPEC)
    again = split_evals([*reversed(list(rows(60))), *rows(60)], SPEC)
    assert once.digest == again.digest


def test_letters_are_asked_within_their_brackets():
    question = read_question(next(rows(1)), "row 1")
    assert question.choice.prompt == "Answer: ("
    assert question.contrast.positive == "Answer: (A"
    word = read_question(next(rows(1, letters=False)), "row 1")
    assert (word.choice.prompt, word.choice.positive) == ("Answer:", " Yes")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "x"}, "field answer_matching_behavior"),
        (
            {"question": "x", "answer_matching_behavior": " Yes", "answer_not_matching_behavior": "Yes"},
            "both",
        ),
    ],
)
def test_bad_rows_are_named(row, message):
    with pytest.raises(UserError, match=f"x.jsonl, row 1.*{message}"):
        split_evals([row], SPEC)


def test_a_file_with_one_sided_answers_is_refused():
    with pytest.raises(UserError, match="want two options"):
        split_evals([row for row in rows(50) if row["answer_matching_behavior"] == " (A)"], SPEC)


def test_table_1_is_read_from_a_folder_by_the_names_of_its_files(tmp_path):
    for name in TABLE_1:
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows(400))))
    data = Data({"Anthropic/model-written-evals": str(tmp_path)})
    suite = find_suite("paper-base")
    tasks = [resolve(task, data) for task in suite.read_tasks() if task.card.kind == "choice"]
    assert [task.name for task in tasks] == list(TABLE_1)
    assert all(len(task.vector) == 200 and len(task.choices) == 100 for task in tasks)
    with pytest.raises(UserError, match="no file persona/absent"):
        resolve(find_task("mwe/absent"), data)
    with pytest.raises(UserError, match="not a name"):
        find_task("mwe/../secret")


def test_what_a_model_cannot_read_is_left_out_in_balance():
    model = load_model("nano/S")
    split = split_evals(rows(400), SPEC)
    long = [
        replace_instruction(row, "word " * 200) if index in (0, 3, 5) else row
        for index, row in enumerate(split.choices)
    ]
    encoded = encode_choices(Site(model, 2), long)
    assert max(len(row.ids) for row in encoded) <= model.context
    counts = Counter(row.positive for row in encoded)
    assert len(set(counts.values())) == 1
    assert sum(counts.values()) >= len(long) - 6
    pairs = [replace_instruction(row, "word " * 200) if i == 3 else row for i, row in enumerate(split.vector)]
    assert list(readable(pairs, [model])) == [*pairs[:2], *pairs[4:]]


def replace_instruction(row, text):
    return row.model_copy(update={"instruction": text})


def test_a_resolved_task_keeps_its_identity(tmp_path):
    task = find_task("mwe/narcissism")
    (tmp_path / "narcissism.jsonl").write_text("\n".join(map(json.dumps, rows(60, letters=False))))
    resolved = resolve(task, Data({"Anthropic/model-written-evals": str(tmp_path)}))
    assert resolved.digest == task.digest
    assert resolved.data_digest
    assert replace(resolved, vector=(), select=(), choices=(), data_digest="") == task

"""Refusal tasks: rows by data set id, split without a shared text; what a card may not say."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
import yaml
from refusal import TASK, advbench

from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import PairSpec
from lrt_bench.data.task_reading.task_folders import describe_tasks, find_task, read_task
from lrt_bench.data.task_reading.task_sources import resolve, split_instructions
from lrt_bench.data.tasks import Column, InstructionData
from lrt_bench.errors import UserError
from lrt_bench.files.resources import TASKS

SPEC = InstructionData(
    harmless=Column(id="org/good", column="instruction", empty="input"),
    harmful=Column(id="org/bad", column="prompt"),
    pairs=4, select=3, score=2, seed=7,
)  # fmt: skip


GOOD = [f"Bake a cake of {i} eggs." for i in range(12)]


BAD = [f"Rob {i} banks." for i in range(14)]


def test_rows_are_split_without_a_shared_text_whatever_their_order():
    split = split_instructions(GOOD, BAD, SPEC)
    assert (len(split.vector), len(split.instructions), len(split.prompts), len(split.harmless)) == (
        4,
        3,
        2,
        2,
    )
    roles = [
        *(pair.positive for pair in split.vector), *(pair.negative for pair in split.vector),
        *(row.prompt for row in (*split.instructions, *split.prompts, *split.harmless)),
    ]  # fmt: skip
    assert len(set(roles)) == len(roles)
    assert {pair.positive for pair in split.vector} | {row.prompt for row in split.harmless} <= set(GOOD)
    again = split_instructions(GOOD[::-1] + GOOD[:3], [f" {text}\n" for text in BAD[::-1]], SPEC)
    assert again == split
    other = split_instructions(GOOD, BAD, SPEC.model_copy(update={"seed": 8}))
    assert other.digest != split.digest


def test_a_text_in_both_lists_is_in_neither_and_too_few_are_named():
    split = split_instructions([*GOOD, BAD[0]], [*BAD, GOOD[0]], SPEC)
    texts = {pair.positive for pair in split.vector} | {row.prompt for row in split.harmless}
    assert BAD[0] not in texts
    assert GOOD[0] not in {row.prompt for row in (*split.instructions, *split.prompts)}
    with pytest.raises(UserError, match=r"org/bad: column prompt: 8 different instructions, 9 are wanted"):
        split_instructions(GOOD, BAD[:8], SPEC)


def test_the_papers_task_is_listed_without_its_data_and_resolved_with_them(tmp_path):
    task = find_task("refusal-advbench")
    assert (task.vector, task.data_digest) == ((), "")
    row = next(row for row in describe_tasks() if row["name"] == "refusal-advbench")
    assert (row["pairs"], row["prompts"]) == (128, 15)
    resolved = resolve(task, advbench(tmp_path))
    assert (len(resolved.vector), len(resolved.instructions), len(resolved.prompts)) == (128, 32, 15)
    assert resolved.digest == task.digest
    assert resolved.data_digest
    numbers = [int(pair.positive.split()[1]) for pair in resolved.vector]
    assert all(number % 5 for number in numbers)  # rows whose instruction wants an input are left out
    broken = Column(id="tatsu-lab/alpaca", column="question")
    card = task.card.model_copy(update={"data": task.card.data.model_copy(update={"harmless": broken})})
    with pytest.raises(UserError, match="no text in column question; it has instruction, input"):
        resolve(dataclasses.replace(task, card=card), advbench(tmp_path))
    assert resolve(TASK, Data()) is TASK


def test_the_shipped_refusal_texts_are_not_those_of_the_choice_task():
    choice = find_task("refusal")
    seen = {text for pair in choice.vector for text in (pair.positive, pair.negative)}
    ours = [*(p.positive for p in TASK.vector), *(p.negative for p in TASK.vector)]
    ours += [row.prompt for row in (*TASK.instructions, *TASK.prompts, *TASK.harmless)]
    assert not {TASK.card.template.replace("{instruction}", text) for text in ours} & seen
    assert len(set(ours)) == len(ours)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.pop("openings"), "openings: a refusal task says"),
        (lambda card: card.pop("scorer"), "scorer: a refusal task"),
        (lambda card: card["scorer"].update(name="keywords"), "scored by phrases"),
        (lambda card: card["alphas"].append(0), "alphas: 0 is run anyway"),
        (lambda card: card.update(template="User:"), "template: say where the instruction goes"),
        (lambda card: card.update(kind="side-effect", data={"harmless": {"id": "a", "column": "b"},
         "harmful": {"id": "c", "column": "d"}}), "such data sets are for a refusal task"),
    ],
)  # fmt: skip
def test_a_bad_card_is_named(tmp_path, change, message):
    folder = shutil.copytree(TASKS / "nano-refusal", tmp_path / "task")
    card = yaml.safe_load((folder / "task.yaml").read_text())
    change(card)
    (folder / "task.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(UserError, match=message):
        read_task(folder)


def test_an_instruction_in_two_roles_is_named(tmp_path):
    folder = shutil.copytree(TASKS / "nano-refusal", tmp_path / "task")
    shutil.copy(folder / "score.jsonl", folder / "harmless.jsonl")
    with pytest.raises(UserError, match=r"harmless.jsonl, line 1: the same text as score.jsonl, line 1"):
        read_task(folder)


def test_a_search_beside_given_layers_is_refused():
    search = {"task": "nano-refusal", "depths": (0.5,)}
    with pytest.raises(ValueError, match="choose_layers: leave source_layer"):
        PairSpec(name="a", source="nano/S", source_layer=2, target="nano/L", choose_layers=search)

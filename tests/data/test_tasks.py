"""Task folders: what ships is sound and can be made again; what is bad is named with file, field, mend."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest
import yaml
from click.testing import CliRunner

from lrt_bench.data.suites import Suite, ad_hoc, find_suite, known_suites, narrowed
from lrt_bench.data.task_folders import find_task, folder_hash, known_tasks, read_task
from lrt_bench.data.tasks import ScorerCard
from lrt_bench.errors import UserError
from lrt_bench.evaluation.scorers.text import score_text
from lrt_bench.files.resources import TASKS
from scripts.nano import make_tasks


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(TASKS / "sentiment", tmp_path / "sentiment")


def rewrite(folder, name, change):
    path = folder / name
    if name.endswith(".yaml"):
        card = yaml.safe_load(path.read_text())
        change(card)
        path.write_text(yaml.safe_dump(card))
    else:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        change(rows)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_shipped_tasks_are_what_the_script_writes(tmp_path):
    assert CliRunner().invoke(make_tasks.main, [str(tmp_path)]).exit_code == 0
    written = sorted(p.name for p in tmp_path.iterdir())
    by_script = [name for name in known_tasks() if "nano.make_tasks" in find_task(name).card.source]
    assert written == by_script
    for name in written:
        assert folder_hash(tmp_path / name) == folder_hash(TASKS / name), name


@pytest.mark.parametrize("name", known_tasks())
def test_shipped_tasks_are_sound(name):
    task = find_task(name)
    assert task.card.licence
    assert task.card.source
    if task.card.kind == "choice":
        assert len(task.vector) >= 64
        assert len(task.choices) >= 48
        for rows in (task.choices, task.select):
            counts = Counter((row.positive, row.negative) for row in rows)
            assert len(set(counts.values())) == 1
            for half in (rows[::2], rows[1::2]):
                assert len(set(Counter(row.positive for row in half).values())) == 1


def test_kinds_are_all_there():
    kinds = Counter(find_task(name).card.kind for name in known_tasks())
    assert kinds["choice"] >= 10
    assert kinds["generation"] >= 3
    assert kinds["fidelity"] == kinds["side-effect"] == 1


def test_a_tasks_hash_follows_its_data(folder):
    before = read_task(folder).digest
    rewrite(folder, "score.jsonl", lambda rows: rows.reverse())
    assert read_task(folder).digest != before


@pytest.mark.parametrize("field", ["name", "version", "kind", "description", "metric", "licence", "concept"])
def test_a_missing_field_is_named(folder, field):
    rewrite(folder, "task.yaml", lambda card: card.pop(field))
    with pytest.raises(UserError, match=rf"task\.yaml: .*{field}"):
        read_task(folder)


def test_an_unknown_field_is_named(folder):
    rewrite(folder, "task.yaml", lambda card: card.update(colour="red"))
    with pytest.raises(UserError, match=r"task\.yaml: field colour"):
        read_task(folder)


def test_overlapping_splits_name_both_lines(folder):
    def copy_prompt(rows):
        shared = json.loads((folder / "vector.jsonl").read_text().splitlines()[4])["negative"]
        rows[6]["prompt"] = shared

    rewrite(folder, "score.jsonl", copy_prompt)
    with pytest.raises(UserError, match=r"score\.jsonl, line 7: the same text as vector\.jsonl, line 5"):
        read_task(folder)


def test_unbalanced_options_are_named(folder):
    rewrite(folder, "score.jsonl", lambda rows: rows.pop())
    with pytest.raises(UserError, match=r"score\.jsonl: field positive: options are not balanced"):
        read_task(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "score.jsonl").unlink(), r"score\.jsonl: missing"),
        (lambda f: (f / "score.jsonl").write_text(""), r"score\.jsonl: empty"),
        (lambda f: (f / "vector.jsonl").write_text("{"), r"vector\.jsonl, line 1: not JSON"),
        (lambda f: (f / "vector.jsonl").write_text('{"positive": "x"}'), r"line 1: field negative"),
        (
            lambda f: (f / "vector.jsonl").write_text('{"positive": "x", "negative": "y"}'),
            "give 2 or more",
        ),
        (lambda f: (f / "task.yaml").write_text("a: [b"), r"task\.yaml: not valid YAML"),
        (lambda f: (f / "task.yaml").unlink(), r"task\.yaml: cannot be read"),
        (
            lambda f: (f / "task.yaml").write_text("!!python/object/apply:os.system ['true']"),
            r"task\.yaml: not valid YAML",
        ),
    ],
)
def test_bad_folders_are_named_in_one_line(folder, change, message):
    change(folder)
    with pytest.raises(UserError, match=message) as caught:
        read_task(folder)
    assert "\n" not in str(caught.value)


def test_unknown_tasks_are_named():
    with pytest.raises(UserError, match="--task nothing: no such task"):
        find_task("nothing")


@pytest.mark.parametrize("name", known_suites())
def test_shipped_suites_name_tasks_that_exist(name):
    suite = find_suite(name)
    assert suite.name == name
    assert suite.read_tasks()
    assert suite.description


def test_the_default_suite_is_the_promised_one():
    suite = find_suite("nano")
    assert [pair.name for pair in suite.pairs] == ["S-L", "S-L-mid", "L-S", "planted-rotation"]
    assert len(suite.alphas) == 7
    assert sum(task.card.kind == "choice" for task in suite.read_tasks()) >= 8


def test_the_full_suite_holds_every_ordered_pair():
    names = ("S", "S2", "M", "L")
    pairs = {(p.source, p.target) for p in find_suite("nano-full").pairs}
    assert {(f"nano/{a}", f"nano/{b}") for a in names for b in names if a != b} <= pairs
    assert sum(p.target.startswith("planted-") for p in find_suite("nano-full").pairs) == 2


SUITE = {"name": "x", "tasks": ["sentiment"], "mappings": ["ridge"],
         "pairs": [{"name": "p", "source": "nano/S", "target": "nano/M"}]}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alphas": [0.1, 0.2, 0.3]}, "field alphas: give at least three different alphas, 0 among them"),
        ({"random_directions": 3}, "field random_directions"),
        ({"pairs": []}, "field pairs"),
        ({"pairs": SUITE["pairs"] * 2}, "pairs: the name p stands twice"),
        ({"pairs": [{"name": "../up", "source": "a", "target": "b"}]}, r"field pairs\.0\.name"),
        ({"name": "a/b"}, "field name"),
        ({"colour": 1}, "field colour"),
    ],
)
def test_bad_suites_are_named(tmp_path, change, message):
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(SUITE | change))
    with pytest.raises(UserError, match=message):
        find_suite(str(path))


def test_the_protocols_hash_leaves_out_pairs_and_mappings_only():
    suite = Suite.model_validate(SUITE)
    assert suite.digest == narrowed(suite, pairs=["p"]).digest
    assert suite.digest != narrowed(suite, corpus="other.txt").digest
    assert suite.digest != suite.model_copy(update={"fit_seeds": 5}).digest


def test_an_ad_hoc_pair_has_a_name_fit_for_a_folder():
    suite = ad_hoc(find_suite("nano"), "/models/My Model!/", 3, "org/name@v1", None)
    assert suite.name == "nano-ad-hoc"
    assert suite.pairs[0].name == "My-Model-3--name-v1"
    assert suite.pairs[0].source == "/models/My Model!/"


@pytest.mark.parametrize(
    ("scorer", "text", "score"),
    [
        ({"name": "words", "present": ["le", "la"], "absent": ["the"]}, "Le chat, la vie, THE end", 2 / 3),
        ({"name": "words", "present": ["le"], "absent": ["the"]}, "xyz 12", 0.0),
        ({"name": "keywords", "present": ["dog", "dogs"]}, "Two DOGS.", 1.0),
        ({"name": "keywords", "present": ["dog"]}, "dogma", 0.0),
        ({"name": "uppercase"}, "ABc. É!", 0.75),
        ({"name": "uppercase"}, "123", 0.0),
        ({"name": "phrases", "present": ["I cannot"]}, "Sorry, i cannot do it", 1.0),
    ],
)
def test_scorers_by_hand(scorer, text, score):
    assert score_text(ScorerCard(**scorer), text) == pytest.approx(score)

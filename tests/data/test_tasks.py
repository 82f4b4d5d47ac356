"""Task folders: what ships is sound and can be made again; what is bad is named with file, field, mend."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from collections import Counter
from dataclasses import replace

import pytest
import yaml
from click.testing import CliRunner
from tokenizers import normalizers

from lrt_bench.data.suites import Suite, ad_hoc, find_suite, known_suites, narrowed
from lrt_bench.data.task_reading.task_folders import find_task, folder_hash, known_tasks, read_task
from lrt_bench.data.task_reading.task_tokens import check_tokens
from lrt_bench.data.tasks import TASK_KINDS, ChoicePrompt, ScorerCard
from lrt_bench.errors import UserError
from lrt_bench.evaluation.scorers.text import score_text
from lrt_bench.files.resources import TASKS
from lrt_bench.models.loading import load_model
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
    assert kinds["fidelity"] == 1
    assert kinds["side-effect"] == 2  # of the embedded grammar, and of prose


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
    early, others = ["S-L-early", "M-L-early", "L-S-early"], ["S-L", "planted-rotation"]
    assert [pair.name for pair in suite.pairs] == early + others
    assert len(suite.alphas) == 7
    assert sum(task.card.kind == "choice" for task in suite.read_tasks()) >= 24


def test_the_full_suite_holds_every_ordered_pair():
    names = ("S", "S2", "M", "L")
    pairs = {(p.source, p.target) for p in find_suite("nano-full").pairs}
    assert {(f"nano/{a}", f"nano/{b}") for a in names for b in names if a != b} <= pairs
    assert sum(p.target.startswith("planted-") for p in find_suite("nano-full").pairs) == 2


@pytest.mark.parametrize("name", ["nano-refusal", "sentiment", "write-dogs", "perplexity", "fidelity"])
def test_every_file_of_a_task_changes_its_hash(tmp_path, name):
    folder = shutil.copytree(TASKS / name, tmp_path / name)
    before = folder_hash(folder)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        assert folder_hash(folder) != before, path
        path.write_bytes(content)
    assert folder_hash(folder) == before


def test_a_changed_folder_is_read_anew(folder):
    before = find_task(str(folder)).digest
    rewrite(folder, "score.jsonl", lambda rows: rows.reverse())
    assert find_task(str(folder)).digest != before


def test_a_suite_and_its_copies_read_a_task_once():
    suite = Suite.model_validate(SUITE)
    [task] = suite.read_tasks()
    assert narrowed(suite, pairs=["p"]).read_tasks()[0] is task
    assert pickle.loads(pickle.dumps(suite)) == suite
    assert Suite.model_validate(SUITE).read_tasks()[0] is not task


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_a_task_of_every_kind_is_of_its_own_class(kind):
    name = next(name for name in known_tasks() if find_task(name).card.kind == kind)
    task = find_task(name)
    assert type(task) is TASK_KINDS[kind]
    assert task.kind == task.card.kind == kind
    assert hasattr(task, "vector") == (kind in ("choice", "generation", "refusal"))
    assert hasattr(task, "choices") == (kind == "choice")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alphas": [-0.5, 1e9]}, r"field alphas\.1"),
        ({"alphas": [float("inf")]}, r"field alphas\.0"),
        ({"alphas": [0.5, 0.5]}, "none stands twice"),
        ({"stitch_rows": 10**9}, "field stitch_rows"),
        ({"version": 10**12}, "field version"),
        ({"new_tokens": 10**6}, "field new_tokens"),
        ({"concept": "[/x]dogs"}, "field concept"),
        ({"name": "[red]x"}, "field name"),
        ({"metric": "\x1b[31m"}, "control character"),
        ({"data": {"id": "o/n", "file": "x.jsonl", "pairs": 10**12}}, r"field data"),
    ],
)
def test_cards_out_of_their_bounds_are_named(folder, change, message):
    rewrite(folder, "task.yaml", lambda card: card.update(change))
    with pytest.raises(UserError, match=message):
        read_task(folder)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"positive": "a", "negative": "b", "positive": "c"}', "field 'positive' stands twice"),
        ('{"positive": "a", "negative": "\\ud83d"}', "half of a character"),
        ('{"positive": "a", "negative": ' + "9" * 5001 + "}", "a number is too long"),
        ('{"positive": ' + "[" * 5000, "nested too deep"),
    ],
)
def test_bad_lines_are_named(folder, line, message):
    with (folder / "vector.jsonl").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(UserError, match=rf"vector\.jsonl, line 65: .*{message}"):
        read_task(folder)


def test_a_line_separator_within_a_text_ends_no_line(folder):
    rows = [
        {"positive": f"It was\u2028wonderful {i}.", "negative": f"It was\x85terrible {i}."} for i in range(4)
    ]
    lines = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (folder / "vector.jsonl").write_bytes(lines.encode("utf-8-sig"))
    task = read_task(folder)
    assert [pair.positive for pair in task.vector] == [row["positive"] for row in rows]


@pytest.mark.parametrize("name", ["sentiment", "write-dogs", "nano-refusal", "perplexity", "fidelity"])
def test_a_text_without_a_token_is_named_with_file_line_and_field(tmp_path, name):
    folder = shutil.copytree(TASKS / name, tmp_path / name)
    tokenizer = copy.deepcopy(load_model("nano/S").tokenizer)
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("\u200b", "")
    check_tokens(read_task(folder), tokenizer)
    for path in folder.glob("*.jsonl"):
        for field in json.loads(path.read_text().splitlines()[0]):
            content = path.read_text()
            rewrite(folder, path.name, lambda rows, field=field: rows[2].update({field: "\u200b"}))
            task = read_unbalanced(folder)
            with pytest.raises(UserError, match=rf"{path.name}, line 3, field {field}: .* gives no token"):
                check_tokens(task, tokenizer)
            path.write_text(content)


def read_unbalanced(folder):
    """A task whose options are no longer balanced, as a data set may give it."""
    try:
        return read_task(folder)
    except UserError as error:
        assert "not balanced" in str(error)  # noqa: PT017
        task = find_task(folder.name)
        rows = [json.loads(line) for line in (folder / "score.jsonl").read_text().splitlines()]
        select = [json.loads(line) for line in (folder / "select.jsonl").read_text().splitlines()]
        made = {"choices": rows, "select": select}
        return replace(task, **{k: tuple(ChoicePrompt(**row) for row in v) for k, v in made.items()})


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
        ({"bootstrap": 10**12}, "field bootstrap"),
        ({"random_directions": 10**9}, "field random_directions"),
        ({"shuffles": 10**9}, "field shuffles"),
        ({"fit_seeds": 10**9}, "field fit_seeds"),
        ({"corpus": {"sample_tokens": 10**20}}, r"field corpus\.sample_tokens"),
        ({"corpus": {"fit_tokens": 10**20}}, r"field corpus\.fit_tokens"),
        ({"corpus": {"validation_tokens": 10**20}}, r"field corpus\.validation_tokens"),
        ({"corpus": {"context": 10**20}}, r"field corpus\.context"),
        ({"corpus": {"draws": 0}}, r"field corpus\.draws"),
        ({"corpus": {"draws": 10**9}}, r"field corpus\.draws"),
        (
            {"pairs": [{"name": "p", "source": "a", "target": "b", "fit_tokens": 100}]},
            r"pairs\.0\.fit_tokens",
        ),
        (
            {"corpus": {"mix": [{"id": "a", "share": 1.5}, {"id": "b", "share": -0.5}]}},
            r"corpus\.mix\.0\.share",
        ),
        ({"corpus": {"mix": [{"id": "a", "share": 0.5}, {"id": "b", "share": 0.4}]}}, "shares sum to 0.9"),
        ({"corpus": {"mix": [{"id": "a", "share": 0}, {"id": "b"}]}}, r"corpus\.mix\.0\.share"),
        ({"corpus": {"column": "x", "mix": [{"id": "a"}]}}, "each part of a mix names its own"),
        ({"alphas": [-1e9, 0.0, 1.0]}, r"field alphas\.0"),
        ({"alphas": [0.0, *(i / 100 for i in range(1, 100))]}, "field alphas"),
        ({"over_steering": [0.5]}, "stands twice, or is scored anyway"),
        ({"over_steering": [float("nan")]}, r"field over_steering\.0"),
        (
            {"pairs": [{"name": "p", "source": "a", "target": "b", "source_layer": "9/3"}]},
            "above the last layer",
        ),
        ({"pairs": [{"name": "p", "source": "a", "target": "b", "source_layer": -1}]}, "source_layer"),
        ({"pairs": [{"name": "p", "source": "a", "target": "b", "source_layers": []}]}, "source_layers"),
        ({"pairs": [{"name": "p", "source": "a", "target": "b", "skip_kinds": ["chioce"]}]}, "skip_kinds"),
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
    other, named = (narrowed(suite, corpus="other.csv", column=column).digest for column in (None, "story"))
    assert other != named
    assert suite.digest != suite.model_copy(update={"fit_seeds": 5}).digest
    drawn = [suite.corpus.model_copy(update={"draws": draws}) for draws in (1, 5)]
    digests = [suite.model_copy(update={"corpus": corpus}).digest for corpus in drawn]
    assert digests[0] == suite.digest != digests[1]


def test_a_few_tokens_fit_is_shown_validation_text_in_proportion():
    """A fit on 200 tokens that chooses among 5,000 tokens of validation would not be one on few tokens."""
    corpus = Suite.model_validate(SUITE).corpus.model_copy(
        update={"fit_tokens": 5000, "validation_tokens": 5000, "draws": 5}
    )
    shown = {tokens: corpus.budget_for(tokens).shown_tokens for tokens in (200, 1000, 5000, None)}
    assert shown == {200: 40, 1000: 200, 5000: 1000, None: 1000}
    assert corpus.model_copy(update={"draws": 1}).budget.shown_tokens == 0  # all


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

"""JSON, YAML and CSV: what is well formed is read, what is not is one line, whatever the parser raises."""

from __future__ import annotations

import json
import random
from typing import Annotated

import pytest
import yaml
from pydantic import Field

from lrt_bench.errors import UserError, one_line_errors
from lrt_bench.files.parse import parse_json, parse_yaml, read_csv
from lrt_bench.files.schema import Strict, read_yaml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "here: field 'a' stands twice"),
        ("[" * 100_000, "nested too deep"),
        ('{"n": ' + "9" * 5001 + "}", "a number is too long"),
        ('{"text": "the dog \\ud83d barked"}', r"\\ud83d is half of a character"),
        ('{"text": "the dog \\uDC00"}', "half of a character"),
        ('{"a": 1,\n "b" 2}', r"not JSON: .*line 2, column 6"),
        ("", "not JSON"),
    ],
)
def test_bad_json_is_one_line(text, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_json(text, "here")
    assert str(caught.value).startswith("here")


def test_good_json_is_what_the_library_reads():
    for text in ('{"a": [1, 2.5, null, "\\ud83d\\ude00"]}', "3", '"x"', '{"a": {"a": 1}}'):
        assert parse_json(text, "here") == json.loads(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [b", "not valid YAML"),
        ("a: 1\na: 2", "field 'a' stands twice"),
        ("a: {b: 1, b: 2}", "field 'b' stands twice"),
        ("when: 2026-13-45", "not valid YAML"),  # ValueError
        ("n: " + "9" * 5001, "not valid YAML"),  # ValueError
        ("f: !!float ''", "not valid YAML"),  # IndexError
        ("b: !!bool nope", "not valid YAML"),  # KeyError
        ("i: !!int ''", "not valid YAML"),
        ("t: !!timestamp x", "not valid YAML"),  # AttributeError
        ("x: !!binary é", "not valid YAML"),
        ("{[a]: 1}", "not valid YAML"),
        ("? {a: 1}\n: 2", "not valid YAML"),
        ("[" * 5000, "nested too deep"),
        ("- " * 3000 + "a", "nested too deep"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
        ('name: "a\\eb"', r"control character U\+001B"),
        ('name: "\\ud83d"', "here"),
        ("a: 1 # " + "x" * 1_000_001, "longer than"),
    ],
)
def test_bad_yaml_is_one_line(text, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_yaml(text, "here")
    assert str(caught.value).startswith("here")
    assert str(caught.value).isprintable()


def test_aliases_do_not_blow_up():
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert len(parse_yaml("\n".join(layers), "here")) == 12


def test_good_yaml_is_what_the_library_reads():
    text = "base: &b {x: 1}\nother: {<<: *b, y: [1, 2.5, null, true, 'é']}\nlong: |\n  two\n  lines\n"
    assert parse_yaml(text, "here") == yaml.safe_load(text)


def test_mutated_cards_never_raise_anything_else():
    text = "name: odd\nversion: 1\nalphas: [-1.0, 0.5]\ndata: {id: a/b, when: 2020-01-01}\ntext: 'x'\n"
    rng = random.Random(5)
    for _ in range(400):
        signs = list(text)
        for _ in range(rng.randint(1, 6)):
            signs[rng.randrange(len(signs))] = rng.choice("{}[]&*!|>'\"%@`:,-?#\t\n\\0159e_.~\u2028é")
        try:
            parse_yaml("".join(signs), "here")
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017


def rows(path, content, **kwargs):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_csv(path, **kwargs))


def test_csv_fields_of_any_size_with_line_breaks_and_other_delimiters(tmp_path):
    path = tmp_path / "a.csv"
    wide = "word " * 60_000
    assert rows(path, f'text,n\n"{wide}",1\n') == [(2, {"text": wide, "n": "1"})]
    assert rows(path, 'text\n"two\r\nlines; one text"\n') == [(3, {"text": "two\nlines; one text"})]
    for sign in ";\t|":
        assert rows(path, f"id{sign}text\n7{sign}One, two.\n") == [(2, {"id": "7", "text": "One, two."})]
    assert rows(path, "\ufefftext\nx\n") == [(2, {"text": "x"})]
    assert rows(path, "") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text\nOne, two.\n", r"a\.csv, line 2: 2 fields, the header has 1: put quotation marks"),
        ("a,b\n1,2\n3\n", r"line 3: 1 fields, the header has 2"),
        ('text\n"never closed\n', "not CSV"),
        ('text\n"a"b\n', r"line 2: not CSV"),
        ("text,text\na,b\n", r"line 1: column 'text' stands twice"),
        (b"text\ncaf\xe9\n", "line 2: byte 0xE9"),
        (b"text\na\x00b\n", "line 2: a NUL character"),
    ],
)
def test_bad_csv_names_the_line(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        rows(tmp_path / "a.csv", content)


def test_true_is_no_number(tmp_path):
    class Counted(Strict):
        count: int
        share: float | None = None
        kept: bool = False

    path = tmp_path / "card.yaml"
    for text, name in (("count: true", "count"), ("count: 1\nshare: false", "share")):
        path.write_text(text)
        with pytest.raises(UserError, match=rf"card\.yaml: {name}: \w+ is no number"):
            read_yaml(path, Counted)
    path.write_text("count: 1\nkept: true")
    assert read_yaml(path, Counted).kept


def test_a_record_that_refuses_what_a_user_gave_is_one_line(capsys):
    class Counted(Strict):
        count: Annotated[int, Field(le=3)]

    with pytest.raises(SystemExit, match="2"):
        one_line_errors(lambda: Counted(count=4))()
    assert capsys.readouterr().err == "error: Counted: count: Input should be less than or equal to 3\n"
    with pytest.raises(ValueError, match="a bug"):
        one_line_errors(lambda: (_ for _ in ()).throw(ValueError("a bug")))()

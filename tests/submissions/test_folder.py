"""Submissions from the command line: scaffold, check, malformed ones of every kind, failures, tracks."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from command_line import outcome as run

from lrt_bench.data.suites import find_suite
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.evaluation.rows import controls
from lrt_bench.mappings.base import FixedLinear
from lrt_bench.results.schema.records import CONTROL_NAMES
from lrt_bench.results.storage import read_result
from lrt_bench.submissions.folder import check, load
from lrt_bench.submissions.row import submission_rows
from lrt_bench.submissions.sandbox.launcher import Limits
from lrt_bench.submissions.scaffold import new_submission

pytestmark = pytest.mark.slow  # whole runs

STANDING = {row.name for row in controls()}  # of every run; others come beside the maps that they unmask
EXAMPLES = Path(__file__).parents[2] / "submissions"


def test_new_and_check(tmp_path):
    code, out, _ = run("submit", "new", "my-map", "--into", tmp_path)
    assert code == 0
    *files, following = out.splitlines()
    assert files == [str(tmp_path / "my-map" / file) for file in ("submission.yaml", "mapping.py")]
    assert following.startswith("next: fill in submission.yaml, write your method in mapping.py, then: ")
    assert following.endswith(f"lrt-bench submit check {tmp_path / 'my-map'}")
    code, out, err = run("submit", "check", tmp_path / "my-map")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 4
    for name in ("authors", "link", "description", "notes"):
        assert f"field {name}: still as `submit new` left it" in err
    card = tmp_path / "my-map" / "submission.yaml"
    text = card.read_text().partition("notes:")[0].replace("Your Name", "Ada").replace("One line for", "Maps")
    card.write_text(text.replace("example.org/your-paper-or-code", "example.org/maps"))
    code, out, err = run("submit", "check", tmp_path / "my-map")
    assert (code, err) == (0, "")
    assert "nothing wrong" in out
    assert "next: lrt-bench evaluate --submission" in out
    assert load(tmp_path / "my-map").class_name == "MyMap"


@pytest.mark.parametrize(
    "name", ["../x", "x/y", "Upper", "ridge", "native", "", ".", "a b", "a" * 61, "-x", "\u202ex"]
)
def test_new_refuses_bad_names(name, tmp_path):
    code, _, err = run("submit", "new", "--into", tmp_path / "in", "--", name)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_new_leaves_what_is_there(tmp_path):
    run("submit", "new", "mine", "--into", tmp_path)
    (tmp_path / "mine" / "mapping.py").write_text("my work")
    assert run("submit", "new", "mine", "--into", tmp_path)[0] == 2
    assert (tmp_path / "mine" / "mapping.py").read_text() == "my work"


def test_the_controls_names_are_known():
    assert set(CONTROL_NAMES) > STANDING


def test_a_missing_folder_is_one_line(tmp_path):
    code, _, err = run("submit", "check", tmp_path / "nowhere")
    assert (code, err) == (2, f"error: {tmp_path}/nowhere: no such folder\n")


# Each makes a good submission a malformed one, somehow.
Mutation = Callable[[Path, random.Random], None]


def _card(change: Callable[[dict, random.Random], None]) -> Mutation:
    def mutate(folder: Path, rng: random.Random) -> None:
        path = folder / "submission.yaml"
        fields = yaml.safe_load(path.read_text())
        change(fields, rng)
        path.write_text(yaml.safe_dump(fields, allow_unicode=rng.random() < 0.5))

    return mutate


BAD_VALUES = [
    None,
    [],
    {},
    3.5,
    -1,
    True,
    "",
    "\x07",
    "a\nb",
    "x" * 5000,
    [[]],
    {"a": {"b": 1}},
    "../..",
    "\u2028",
]


def _bad_value(fields: dict, rng: random.Random) -> None:
    name = rng.choice(["name", "authors", "link", "licence", "description"])
    fields[name] = rng.choice(BAD_VALUES)


def _without(fields: dict, rng: random.Random) -> None:
    del fields[rng.choice(["name", "authors", "link", "licence", "description"])]


def _unknown(fields: dict, rng: random.Random) -> None:
    fields["".join(rng.choices("abc/.\x01é ", k=rng.randint(1, 300)))] = rng.choice(BAD_VALUES)


def _bad_pairs(fields: dict, rng: random.Random) -> None:
    fields["pairs"] = rng.choice([["../a"], ["a", "a"], "a", [1], ["a" * 200], [None], list("abc") * 40])


def _bad_seed(fields: dict, rng: random.Random) -> None:
    fields["seed"] = rng.choice([-1, 2**40, "x", 0.5, [], None, float("nan"), float("inf")])


def _garbage(file: str) -> Mutation:
    def mutate(folder: Path, rng: random.Random) -> None:
        (folder / file).write_bytes(b"\x00" + rng.randbytes(rng.randint(0, 3000)))

    return mutate


def _brackets(file: str) -> Mutation:
    def mutate(folder: Path, rng: random.Random) -> None:
        text = rng.choice("([{") * rng.randint(10, 12_000)
        (folder / file).write_text(f"x = {text}" if file.endswith("py") else f"name: {text}")

    return mutate


def _cut(folder: Path, rng: random.Random) -> None:
    path = folder / "mapping.py"
    text = path.read_text()
    path.write_text(text[: rng.randint(0, text.index("class ") + 5)])


def _missing(folder: Path, rng: random.Random) -> None:
    (folder / rng.choice(["mapping.py", "submission.yaml"])).unlink()


def _unexpected(folder: Path, rng: random.Random) -> None:
    name = rng.choice(["a.pkl", ".env", "setup.py", "mapping.pyc", "weights.bin", "x" * 200, "é\n.py", "-rf"])
    (folder / name).write_bytes(rng.randbytes(100))


def _unexpected_folder(folder: Path, rng: random.Random) -> None:
    deep = folder / rng.choice([".git", "__pycache__", "src", "weights/x", "claimed/y.json"]) / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "mapping.py").write_text("x")


def _link(folder: Path, rng: random.Random) -> None:
    name = rng.choice(["mapping.py", "submission.yaml", "README.md", "weights", "claimed"])
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(
        rng.choice(["/etc/passwd", "/", "..", ".", "nowhere", "/proc/self/mem", "/dev/zero"])
    )


def _special(folder: Path, rng: random.Random) -> None:
    path = folder / rng.choice(["README.md", "LICENSE", "mapping.py"])
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _weights(folder: Path, rng: random.Random) -> None:
    (folder / "mapping.py").unlink()
    _card(lambda fields, _: fields.update(track="weights", pairs=["p"]))(folder, rng)
    (folder / "weights").mkdir()
    header = json.dumps({
        "weight": {"dtype": rng.choice(["F32", "I8", "BOOL", 4, None]), "shape": rng.choice(
            [[2, 2], [-1], [10**12, 10**12], "x", [[2]], [True, 4]]), "data_offsets": [0, rng.randint(0, 9)]},
        "bias": {"dtype": "F32", "shape": [2], "data_offsets": [rng.randint(-9, 9), rng.randint(0, 2**62)]},
    }).encode()  # fmt: skip
    size = rng.choice([len(header), 2**63, rng.randint(0, 300)])
    data = struct.pack("<Q", size) + header + rng.randbytes(rng.randint(0, 60))
    (folder / "weights" / "p.safetensors").write_bytes(data)


def _sparse(folder: Path, rng: random.Random) -> None:
    with open(folder / rng.choice(["mapping.py", "README.md", "submission.yaml"]), "wb") as file:
        file.truncate(rng.choice([10_000, 10**7, 2**40]))


def _code(folder: Path, rng: random.Random) -> None:
    path = folder / "mapping.py"
    text = path.read_text()
    path.write_text(rng.choice([
        text.replace("LinearMapping)", "object)"), text.replace("def solve", "def unsolved"),
        text + f"\nA = {[rng.random() for _ in range(400)]}\n", text + f"\nA = {'z' * 9000!r}\n",
        text + "\nclass B(LinearMapping):\n    def solve(self, states): ...\n",
        text + "\n    def transfer(self): ...\n",
        text + "\nimport lrt_bench.evaluation\n", text.replace("class", "async class"), text + "\n\u200b",
        text + "\nx = " + "-" * 30_000 + "1",
    ]))  # fmt: skip


MUTATIONS: list[Mutation] = [
    *map(_card, (_bad_value, _without, _unknown, _bad_pairs, _bad_seed)),
    *map(_garbage, ("mapping.py", "submission.yaml")), *map(_brackets, ("mapping.py", "submission.yaml")),
    _cut, _missing, _unexpected, _unexpected_folder, _link, _special, _weights, _sparse, _code,
]  # fmt: skip


def _tree(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


@pytest.mark.slow
def test_500_malformed_submissions(tmp_path):
    """Exit code 2 each, a line for each problem, no traceback, nothing running or written."""
    new_submission("demo", tmp_path / "good")
    children = set(Path(f"/proc/{os.getpid()}/task").glob("*/children"))
    before = {path: path.read_text() for path in children}
    for seed in range(500):
        rng = random.Random(seed)
        folder = tmp_path / "case" / "demo"
        shutil.copytree(tmp_path / "good" / "demo", folder)
        rng.choice(MUTATIONS)(folder, rng)
        tree = _tree(tmp_path)
        code, out, err = run("submit", "check", folder)
        assert (code, out) == (2, ""), (seed, out, err)
        lines = err.splitlines()
        assert lines, seed
        for line in lines:
            assert line.startswith((f"error: {folder}: ", "note: ")), (seed, line)
            assert line.isprintable(), (seed, line)
            assert len(line) < 1500, (seed, line)
        assert _tree(tmp_path) == tree, seed
        if seed % 25 == 0:  # the main job says the same, before it computes anything
            code, _, err = run("evaluate", "--submission", folder, "--out", tmp_path / "results")
            assert code == 2, (seed, err)
            assert len(err.splitlines()) == 1
            assert _tree(tmp_path) == tree, seed
        shutil.rmtree(tmp_path / "case")
    assert {path: path.read_text() for path in children} == before


def test_any_changed_byte_is_no_crash(tmp_path):
    new_submission("demo", tmp_path)
    for name in ("submission.yaml", "mapping.py"):
        path = tmp_path / "demo" / name
        original = path.read_bytes()
        for seed in range(150):
            rng = random.Random(seed)
            data = bytearray(original)
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            path.write_bytes(data)
            assert run("submit", "check", tmp_path / "demo")[0] in (0, 2)
        path.write_bytes(original)


CRASHES = """
from lrt_bench import Mapping
class Crash(Mapping):
    def fit(self, states):
        raise RuntimeError("oh no")
    def __call__(self, h):
        return h
"""


@pytest.fixture(scope="module")
def scored(tmp_path_factory, small_suite):
    """The scaffold, weights and a crash beside ridge, from the command line."""
    root = tmp_path_factory.mktemp("scored")
    new_submission("demo", root)
    new_submission("crash", root)
    (root / "crash" / "mapping.py").write_text(CRASHES)
    map_ = FixedLinear(torch.eye(96), torch.zeros(96))
    map_.save(root / "identity.safetensors")
    new_submission("identity", root, root / "identity.safetensors", "rotated")
    options = ["--suite", str(small_suite), "--mapping", "ridge", "--out", str(root / "results"), "--json"]
    for name in ("demo", "crash", "identity"):
        options += ["--submission", str(root / name)]
    return root, *run("evaluate", *options)


@pytest.mark.sandbox
def test_a_crash_is_a_counted_failure_and_the_others_are_scored(scored):
    root, code, out, _ = scored
    assert code == 1
    rows = {row["mapping"]: row for row in json.loads(out)}
    assert rows["demo"]["transfer_score"] > 99
    assert rows["native"]["transfer_score"] == 100
    failed = rows["crash"]
    assert failed["failure"] == (
        "submission crash on rotated: fit fails (mapping.py, line 5): RuntimeError: oh no"
    )
    assert failed["transfer_score"] is None
    assert rows["demo"]["failure"] is None
    assert not (root / "results" / "small" / "rotated" / "crash.json").exists()


@pytest.mark.sandbox
def test_the_scaffold_equals_the_method_it_imitates(scored):
    folder = scored[0] / "results" / "small" / "rotated"
    demo, ridge = (read_result(folder / f"{name}.json").model_dump() for name in ("demo", "ridge"))
    for name in ("transfer_score", "ci95", "tasks", "fidelity", "generation", "propensities"):
        assert demo[name] == ridge[name], name
    assert demo["mapping"]["kind"] == "linear"
    assert demo["mapping"]["parameters"] == ridge["mapping"]["parameters"]
    assert demo["mapping"]["rule"] == "A v"


@pytest.mark.sandbox
def test_a_result_tells_of_its_submission(scored):
    mapping = read_result(scored[0] / "results" / "small" / "rotated" / "demo.json").mapping
    assert (mapping.origin, mapping.licence) == ("submission", "Apache-2.0")
    assert mapping.authors == ("Your Name",)
    assert mapping.link == "https://example.org/your-paper-or-code"
    assert mapping.digest == check(scored[0] / "demo").submission.digest


@pytest.mark.sandbox
def test_weights_have_a_track_of_their_own(scored):
    rows = {row["mapping"]: row for row in json.loads(scored[2])}
    assert rows["identity"]["track"] == "weights"
    assert rows["identity"]["rank"] == 1  # alone there, however little it carries over
    assert rows["identity"]["transfer_score"] < rows["demo"]["transfer_score"]
    assert read_result(scored[0] / "results" / "small" / "rotated" / "identity.json").audit is None


@pytest.mark.sandbox
def test_weights_of_another_width_are_a_failure(tmp_path, small_suite):
    FixedLinear(torch.eye(5), torch.zeros(5)).save(tmp_path / "w.safetensors")
    new_submission("narrow", tmp_path, tmp_path / "w.safetensors", "rotated")
    assert check(tmp_path / "narrow").problems == []
    options = ["--suite", small_suite, "--mapping", "affine", "--task", "person", "--out", tmp_path / "out"]
    code, out, _ = run("evaluate", *options, "--submission", tmp_path / "narrow")
    assert code == 1
    assert "failed: narrow on rotated:" in out
    assert "weight is [5, 5]: want [96, 96]" in out
    assert "1 failed" in out


def test_a_submission_for_none_of_the_pairs_is_bad_input(tmp_path, small_suite):
    FixedLinear(torch.eye(5), torch.zeros(5)).save(tmp_path / "w.safetensors")
    new_submission("other", tmp_path, tmp_path / "w.safetensors", "S-L")
    code, _, err = run("evaluate", "--suite", small_suite, "--submission", tmp_path / "other")
    assert code == 2
    assert "field pairs: none of S-L is run here (rotated)" in err


@pytest.mark.parametrize("folder", sorted(EXAMPLES.iterdir()), ids=lambda folder: folder.name)
def test_the_shipped_submissions_pass_the_check(folder):
    code, out, err = run("submit", "check", folder)
    assert (code, err) == (0, "")
    assert "nothing wrong" in out


@pytest.mark.sandbox
def test_a_computed_row_of_a_submission_is_verified(scored, small_suite):
    path = scored[0] / "results" / "small" / "rotated" / "demo.json"
    code, out, err = run("verify", path, "--suite", small_suite, "--submission", scored[0] / "demo")
    assert code == 0, out + err
    assert out.strip() == f"{path}: the same"


FAILING = {
    "hangs": ("while True:\n            pass", "took longer than 6 seconds: stopped"),
    "eats": (
        "self.bad = states.moments.s_xx.new_ones(2**40)",
        "fit fails (mapping.py, line 5): RuntimeError",
    ),
    "junk": ("self.bad = 1", "mapped holds NaN or infinity"),
    "quits": ("raise SystemExit(3)", "fit fails (mapping.py, line 5): SystemExit: 3"),
}


@pytest.mark.sandbox
def test_each_failure_is_a_line_and_no_row_is_lost(tmp_path, small_suite):
    """Hanging, eating memory, junk and quitting, together, between rows that are scored."""
    suite = find_suite(str(small_suite))
    rows = []
    for name, (body, _) in FAILING.items():
        new_submission(name, tmp_path)
        code = CRASHES.replace('raise RuntimeError("oh no")', body).replace("return h", "return h / 0")
        (tmp_path / name / "mapping.py").write_text(code)
        seconds = 6 if name == "hangs" else 60
        rows += submission_rows([tmp_path / name], suite, Limits(seconds=seconds, memory=3 * 2**30))
    evaluation = Evaluation(
        suite, RunConfig(mappings=["affine"], tasks=["person"], out=tmp_path / "out"), submissions=rows
    )
    names = {cell.result.mapping.name for cell in evaluation.run()}
    assert names == {*STANDING, "affine"}
    reasons = {failure.mapping: failure.reason for failure in evaluation.failures}
    assert reasons.keys() == FAILING.keys()
    for name, (_, message) in FAILING.items():
        assert reasons[name].startswith(f"submission {name} on rotated: ")
        assert message in reasons[name]

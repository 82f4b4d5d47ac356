"""The workflows: audited, valid, and no more than what runs on any machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BIN = Path(sys.executable).parent


def steps(path: Path):
    return [step for job in yaml.safe_load(path.read_text())["jobs"].values() for step in job["steps"]]


def test_zizmor_finds_nothing():
    done = subprocess.run([BIN / "zizmor", "--offline", ROOT / ".github"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", [str(path) for path in WORKFLOWS]),
        ("vendor.dependabot", [str(ROOT / ".github" / "dependabot.yml")]),
        ("vendor.github-issue-config", [str(ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml")]),
        (
            "vendor.github-issue-forms",
            [str(ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml") for name in ("bug", "result", "task")],
        ),
    ],
)
def test_they_are_valid(schema, files):
    command = [BIN / "check-jsonschema", "--builtin-schema", schema, *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_step_is_a_make_target_that_exists_or_a_pinned_action(path):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for step in steps(path):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), step
        else:
            match = re.match(r"make ([\w-]+)", step["run"])
            assert match, step
            assert match[1] in targets, step


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_none_gives_a_stranger_anything(path):
    text = path.read_text()
    content = yaml.safe_load(text)
    triggers = content[True]  # YAML reads the key `on` as true
    assert "pull_request_target" not in triggers
    assert "secrets." not in text
    assert content["permissions"] == {}
    for job in content["jobs"].values():
        rights = job["permissions"]
        assert rights.get("contents") == "read"
        if "pull_request" in triggers:
            assert set(rights) == {"contents"}
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False
        assert "${{" not in step.get("run", "")  # a value in a script is code


def test_folder_names_of_a_pull_request_never_pass_through_a_shell(tmp_path):
    """The pipe of the Makefile, with a folder that would be a command."""
    name = "x$(touch owned)`touch owned`;touch owned 'q\" y"
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]

    def run(*words):
        subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)

    run("git", "init", "-q", "-b", "main")
    run(*git, "commit", "-q", "--allow-empty", "-m", "begin")
    (tmp_path / "submissions" / name).mkdir(parents=True)
    (tmp_path / "submissions" / name / "mapping.py").write_text("1")
    run("git", "add", "-A")
    run(*git, "commit", "-q", "-m", "a submission")
    makefile = (ROOT / "Makefile").read_text()
    changed = re.search(r"^CHANGED = (.*)$", makefile, re.MULTILINE)[1].replace("$(BASE)", "HEAD~1")
    (tmp_path / "Makefile").write_text(
        f"CHANGED = {changed}\ncheck:\n\t$(CHANGED) | xargs -0 -r -n1 printf '<%s>' > told\n"
    )
    run("make", "check")
    assert (tmp_path / "told").read_text() == f"<submissions/{name}>"
    assert not (tmp_path / "owned").exists()

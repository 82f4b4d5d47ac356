"""The documentation: its commands and its notebook run, its pages build without a warning."""

from __future__ import annotations

import doctest
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from command_line import run
from doc_commands import (
    ROOT,
    Command,
    commands,
    inline_commands,
    make_targets,
    parse,
    unknown_options,
    write_files,
)
from small import SMALL_SUITE

pytestmark = pytest.mark.slow  # whole runs

DOCS = ROOT / "docs"
START = DOCS / "index.md"  # first: other pages read the results of its run
PAGES = [START, *sorted(set(DOCS.glob("*.md")) - {START}), ROOT / "README.md"]
PROSE = [*PAGES, ROOT / "CONTRIBUTING.md"]
RUN = [command for page in PAGES for command in commands(page) if command.reason is None]
NOT_RUN = [command for page in PAGES for command in commands(page) if command.reason is not None]
ELSEWHERE = r"""=["']?(?:https?:)?//"""
EXTERNAL = re.compile(
    rf"<(?:script|img|iframe|source)[^>]+src{ELSEWHERE}"
    rf"|<link(?=[^>]*(?:stylesheet|icon|pre))[^>]+href{ELSEWHERE}"
)


class Workspace:
    """A folder in which the pages' commands are run in order, each distinct one once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "small.yaml").write_text(SMALL_SUITE)
        self.done: dict[tuple[str, ...], str] = {}

    def run(self, command: Command) -> str:
        """The command's output. Fails the test where it does not exit with 0."""
        words = (*command.words[1:], *command.added)
        if words not in self.done:
            before = Path.cwd()
            os.chdir(self.folder)
            try:
                outcome = run(*words)
            finally:
                os.chdir(before)
            assert outcome.exit_code == 0, f"{command.where}: {command.text}: {outcome.output}"
            self.done[words] = outcome.output
        return self.done[words]

    def page(self, page: Path) -> None:
        """Run a page's commands."""
        write_files(page, self.folder)
        for command in commands(page):
            if command.reason is None and command.words[0] == "lrt-bench":
                self.run(command)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    space = Workspace(tmp_path_factory.mktemp("docs"))
    space.page(START)
    return space


def test_the_pages_have_commands():
    assert {"docs/index.md", "docs/submit.md", "README.md"} <= {
        str(page.relative_to(ROOT)) for page in PAGES if list(commands(page))
    }
    assert len(RUN) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_run(page, workspace):
    workspace.page(page)


def test_the_first_run_prints_scores(workspace):
    first = next(command for command in RUN if "evaluate" in command.words)
    assert "Transfer Score" in workspace.run(first)
    assert (workspace.folder / "results/nano/S-L/ridge.json").is_file()


@pytest.mark.parametrize("command", RUN, ids=lambda command: command.text)
def test_what_is_run_is_ours_or_a_make_target(command):
    assert command.words[0] in ("lrt-bench", "make")
    if command.words[0] == "make":
        assert {word for word in command.words[1:] if "=" not in word} <= make_targets()


@pytest.mark.parametrize("command", NOT_RUN, ids=lambda command: command.text)
def test_what_is_not_run_exists(command):
    assert len(command.reason.split()) >= 3
    if command.words[0] == "lrt-bench":
        parse(command.words)
    elif command.words[0] == "make":
        assert command.words[1] in make_targets()


def test_a_wrong_option_is_noticed():
    with pytest.raises(click.ClickException):
        parse(("lrt-bench", "evaluate", "--no-such-option"))
    with pytest.raises(click.ClickException):
        parse(("lrt-bench", "leaderboard", "serve", "--port", "many"))
    with pytest.raises(KeyError):
        parse(("lrt-bench", "evaluat"))


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_commands_in_prose_exist(page):
    for command in inline_commands(page):
        if command.words[0] == "make":
            assert command.words[1] in make_targets(), command
        else:
            assert not unknown_options(command.words), command


@pytest.mark.slow
def test_pages_build_without_a_warning_and_ask_nobody(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert process.returncode == 0, process.stderr
    assert "WARNING" not in process.stderr
    pages = {path.name: path.read_text() for path in (tmp_path / "site").rglob("*.html")}
    for name, text in pages.items():
        assert not EXTERNAL.search(text), name
        assert "<!-- record" not in text, name
    styles = [*(tmp_path / "site").rglob("*.css")]
    assert styles
    for style in styles:
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style.read_text()), style.name
    assert "transfer_score" in pages["schema.html"]
    assert "native-split" in pages["index.html"]  # the table of the committed run
    for name in ("tutorial", "own-method"):
        assert (tmp_path / "site" / f"{name}.ipynb").is_file()
        assert f"{name}.ipynb" in pages[f"{name}.html"]


def test_a_field_without_a_description_ends_the_build():
    sys.path.insert(0, str(DOCS / "hooks"))
    try:
        pages = importlib.import_module("pages")
    finally:
        sys.path.pop(0)
    with pytest.raises(Exception, match=r"Prompt: described and real fields differ: \['prompt'\]"):
        pages.record_tables("lrt_bench.data.tasks", "Prompt", {"Prompt": {"": "A text."}})
    table = pages.record_tables(
        "lrt_bench.data.tasks", "Prompt", {"Prompt": {"": "A text.", "prompt": "It."}}
    )
    assert "| `prompt` | text | It. |" in table


@pytest.mark.slow
def test_tutorial_runs(tmp_path):
    import jupytext
    from nbclient import NotebookClient

    notebook = jupytext.read(DOCS / "tutorial.md")
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    printed = "".join(
        output["text"] for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output
    )
    scores = {name: float(r2) for name, r2 in re.findall(r"^(\w+) +steering R2 ([-+.\d]+)", printed, re.M)}
    assert scores["native"] == 1
    assert scores["transferred"] > 0.5 > scores["random"]
    assert re.search(r"^widest.Widest +-?\d", printed, re.M)


OWN_METHOD = DOCS / "own-method.ipynb"


def test_the_notebook_is_whole_and_without_output():
    import nbformat

    notebook = nbformat.read(OWN_METHOD, as_version=4)
    nbformat.validate(notebook)
    assert notebook.nbformat == 4
    assert not [cell.id for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}  # as in a notebook, where a class is called by its own name
    for cell in json.loads(OWN_METHOD.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    rows = names["results"].to_frame().set_index("mapping")
    low, high = rows.loc["Mine", ["ci95_low", "ci95_high"]]
    assert low < rows.loc["Mine", "transfer_score"] < high
    assert rows.loc["Mine", "transfer_score"] > rows.loc["random", "transfer_score"]
    assert set(names["by_task"]["mapping"]) == {"ridge", "Mine"}
    assert len(names["by_task"]) == 2 * len(names["tasks"])
    assert {path.name for path in tmp_path.iterdir()} >= {"first.png", "mine.png", "results"}


MODULES = [
    path
    for path in sorted((ROOT / "lrt_bench").rglob("*.py"))
    if re.search(r"^\s*>>> ", path.read_text(), re.M)
]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_doctests(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    outcome = doctest.testmod(module)
    assert outcome.attempted
    assert not outcome.failed

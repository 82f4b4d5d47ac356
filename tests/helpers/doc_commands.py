"""Commands in the pages: found with what their block says about running them, checked and run.

A block marked ``bash``, ``console`` or ``sh`` is run, line by line, unless a comment before it says not to:

- ``<!-- not run: REASON -->``, or ``<!-- not run (BEGINNING): REASON -->`` for lines that begin so. They must
  parse all the same: the command exists, and takes these options with these values.
- ``<!-- run with: OPTIONS -->``, or ``<!-- run with (BEGINNING): OPTIONS -->``: what is added to the lines,
  so that they take seconds; ``--suite small.yaml`` is the tests' small suite.

README.md holds no such comments: what they would say stands in readme_commands.yaml, beside this file.

Lines of `make` are never run, because they install; their target must be in the Makefile. Files that the
pages show (a block below a line that begins with the file's name in backquotes, or whose first line is a
comment with the name alone) are written before the page's commands run.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import yaml

from lrt_bench.cli.main import main

ROOT = Path(__file__).parents[2]
README_MARKS = Path(__file__).with_name("readme_commands.yaml")
MARK = r"<!-- (?:not run|run with)[^\n]*-->\n"
BLOCK = re.compile(rf"(?P<marks>(?:^{MARK}\n*)*)^```(?:bash|console|sh)\n(?P<body>.*?)^```$", re.M | re.S)
NOT_RUN = re.compile(r"<!-- not run(?: \((?P<begins>[^)]*)\))?: (?P<reason>.+) -->")
RUN_WITH = re.compile(r"<!-- run with(?: \((?P<begins>[^)]*)\))?: (?P<options>.+) -->")
NAMED_FILE = re.compile(r"^`(?P<name>[\w./-]+\.\w+)`[^\n]*\n\n```\w+\n(?P<body>.*?)^```$", re.M | re.S)
COMMENT_FILE = re.compile(r"^```\w+\n(?P<body># (?P<name>[\w./-]+\.\w+)\n.*?)^```$", re.M | re.S)
FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
INLINE = re.compile(r"`((?:lrt-bench|make) [^`]+)`")


@dataclass(frozen=True)
class Command:
    """A command of a page: its words, where it stands, why it is not run, and what it is run with."""

    words: tuple[str, ...]
    where: str
    reason: str | None = None
    added: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return shlex.join(self.words)


def commands(page: Path) -> Iterator[Command]:
    """The commands of a page's blocks, in order."""
    text = page.read_text(encoding="utf-8")
    for block in BLOCK.finditer(text):
        reasons = [(m["begins"] or "", m["reason"]) for m in NOT_RUN.finditer(block["marks"])]
        options = [(m["begins"] or "", m["options"]) for m in RUN_WITH.finditer(block["marks"])]
        reasons += _beside(page, "not run")
        options += _beside(page, "run with")
        line = text[: block.start("body")].count("\n") + 1
        for command in block["body"].replace("\\\n", " ").splitlines():
            words = shlex.split(command.removeprefix("$ "), comments=True)
            if not words:
                continue
            where = f"{page.name}, block at line {line}"
            added = shlex.split(_said(options, words) or "")
            yield Command(tuple(words), where, _said(reasons, words), tuple(added))


def _beside(page: Path, what: str) -> list[tuple[str, str]]:
    """What the file beside the tests says of the README's commands, as marks."""
    if page != ROOT / "README.md":
        return []
    return [(one["begins"], one[what]) for one in yaml.safe_load(README_MARKS.read_text()) if what in one]


def _said(marks: list[tuple[str, str]], words: list[str]) -> str | None:
    """What the first mark says that is about a command which begins like these words."""
    return next((text for begins, text in marks if shlex.join(words).startswith(begins)), None)


def inline_commands(page: Path) -> Iterator[Command]:
    """The commands that a page's prose names; they may hold placeholders, and stop anywhere."""
    for match in INLINE.finditer(FENCED.sub("", page.read_text(encoding="utf-8"))):
        yield Command(tuple(match[1].split()), page.name)


def write_files(page: Path, folder: Path) -> None:
    """Write the files that a page shows."""
    text = page.read_text(encoding="utf-8")
    for match in [*NAMED_FILE.finditer(text), *COMMENT_FILE.finditer(text)]:
        path = folder / match["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(match["body"], encoding="utf-8")


def make_targets() -> set[str]:
    """The targets of the Makefile."""
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))


def resolved(words: tuple[str, ...]) -> tuple[click.Command, list[str]]:
    """The command of lrt-bench that the words name, and its arguments; KeyError where there is none."""
    command: click.Command = main
    rest = list(words[1:])
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        command = command.commands[rest.pop(0)]
    return command, rest


def parse(words: tuple[str, ...]) -> None:
    """Raises click.ClickException where lrt-bench does not take these options with these values."""
    command, rest = resolved(words)
    command.make_context(command.name, rest)


def unknown_options(words: tuple[str, ...]) -> set[str]:
    """The options among the words that the command does not have."""
    command, rest = resolved(words)
    known = {name for parameter in command.params for name in parameter.opts} | {"--help", "--version"}
    return {word.partition("=")[0] for word in rest if re.match(r"--\w", word)} - known

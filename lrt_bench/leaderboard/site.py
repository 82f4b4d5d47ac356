"""Renders the board as a static site: templates and assets in, a folder of files out, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment

from lrt_bench._version import __version__
from lrt_bench.data.task_reading.task_folders import find_task, known_tasks
from lrt_bench.data.tasks import Task
from lrt_bench.errors import UserError
from lrt_bench.files import format as formats
from lrt_bench.files.names import slug
from lrt_bench.files.resources import LEADERBOARD
from lrt_bench.files.templates import template_environment
from lrt_bench.files.whole import locked_folder, naming
from lrt_bench.leaderboard import downloads, markup, views
from lrt_bench.leaderboard.entries import Board, Entry, Key, PairEntries
from lrt_bench.leaderboard.front import kinds, panels, preview
from lrt_bench.leaderboard.front.links import Links
from lrt_bench.leaderboard.front.refusal import refusal_tables
from lrt_bench.leaderboard.ledger import Line
from lrt_bench.leaderboard.workers import share_out
from lrt_bench.results.frame import records

if TYPE_CHECKING:
    from pandas import DataFrame

MARK = "site.json"  # says that a folder is a site of ours, so that it may be replaced
HTML_ROWS = 250  # of a table of the index; the rest comes with the index's data, and stands on pairs' pages
Progress = Callable[[str, float, float], None]
Job = Callable[["_Builder"], None]


def build_site(
    board: Board, lines: Sequence[Line], out: Path, report: Progress, links: Links | None = None
) -> int:
    """Write the site to `out`, in place of an older site there, and return how many files it has.

    links : where the repository and the site itself lie, where that is known.

    Raises UserError where `out` holds something else.
    """
    check_replaceable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with naming(out), locked_folder(out) as made:
        count = _Builder(board, lines, made, report, links or Links()).build()
        _swap(made, out)
    return count


def check_replaceable(out: Path) -> None:
    """Raise UserError unless `out` is missing, empty, or an older site."""
    if out.is_dir() and (not any(out.iterdir()) or (out / MARK).is_file()):
        return
    if out.exists() or out.is_symlink():
        raise UserError(f"--out {out}: holds something that is no site of lrt-bench; give another folder")


def _swap(made: Path, out: Path) -> None:
    """Put the new site in the place of the old one; a killed swap leaves what the next build sweeps."""
    old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    if out.exists():
        out.rename(old)  # in the place of the empty folder
    made.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def environment() -> Environment:
    """Return the templates' environment: everything is escaped, an unknown name is an error."""
    made = template_environment(LEADERBOARD / "templates")
    made.filters |= {"number": formats.number, "seconds": formats.seconds, "count": formats.count}
    made.filters |= {"bytes": formats.size, "slug": slug}
    made.globals |= {"version": __version__, "task_of": views.task_of, "best_on": views.best_on}
    made.globals |= {"result_row": markup.result_row, "task_row": markup.task_row}
    made.globals |= {"reproduce": views.reproduce, "figure": markup.figure, "bar": markup.bar}
    made.globals |= {"score": markup.score, "state": markup.state, "rank": markup.rank, "site": markup.site}
    made.globals |= {"model_card": kinds.model_card, "model_kind": kinds.model_kind, "title_of": kinds.title}
    made.globals["weights_of"] = kinds.weights_told
    made.globals |= {"facts_of": kinds.facts, "pair_kind": kinds.pair_kind, "kind_words": kinds.KIND_WORDS}
    return made


@dataclass
class _Builder:
    """Renders one board into a folder.

    The pages of mappings, pairs and tasks are jobs that need nothing of each other: workers forked from this
    process share them out.
    """

    board: Board
    lines: Sequence[Line]
    folder: Path
    report: Progress
    links: Links

    def build(self) -> int:
        jobs = self._jobs()
        self._assets()
        tables = views.tables(self._results)
        self._script("data/index.js", "index", views.index_data(tables))
        self._fixed_pages(tables)
        _compile(self)  # once, before workers are forked
        assert self._rows  # the same
        share_out(lambda job: job(self), jobs, lambda done, total: self.report("pages", done, total))
        mark = {"lrt_bench": __version__, "results": len(self.board.entries), "pairs": len(self.board.pairs)}
        self._write(MARK, json.dumps(mark).encode() + b"\n")
        return sum(path.is_file() for path in self.folder.rglob("*"))

    def _jobs(self) -> list[Job]:
        """Everything but the fixed pages, the longest first."""
        board = self.board
        mappings = [partial(_mapping, name=name, rows=rows) for name, rows in views.by_mapping(board).items()]
        mappings.sort(key=lambda job: -len(job.keywords["rows"]))
        tasks = [partial(_task, name=name) for name in views.task_names(board)]
        pairs = [partial(_pair, pair=pair) for pair in board.pairs]
        return [_downloads, *tasks, *pairs, *mappings]

    def _fixed_pages(self, tables: list[views.Table]) -> None:
        board, lead = self.board, self._lead
        rows = {table.id: records(table.results[:HTML_ROWS]) for table in tables}
        words = kinds.KIND_WORDS[kinds.pair_kind(lead.pair.record)] if lead else ""
        front = {"groups": self._groups, "lead": lead, "lead_kind": words}
        self._page("index.html", "index.html", tables=tables, rows=rows, **front)
        shown = dict.fromkeys(table.suite for table in tables)
        by_suite = {suite: board.suites[suite] for suite in [*shown, *board.suites]}
        alone = views.without_rungs(self._results, board)
        overviews = views.overviews(alone, board.overall)
        self._page("pairs.html", "pairs.html", by_suite=by_suite, overviews=overviews)
        tasks = {name: self._shipped(name) for name in views.task_names(board)}
        self._page("tasks.html", "tasks.html", tasks=tasks)
        self._page("compare.html", "compare.html")
        points = views.scaling_points(alone)
        self._script("data/scaling.js", "scaling", points)
        self._page("scaling.html", "scaling.html", points=points)
        if board.ladders:
            self._script("data/ladders.js", "ladders", views.ladder_data(board.ladders))
            self._page("tokens.html", "tokens.html", ladders=board.ladders)
        self._page("about.html", "about.html", models=views.models(board))
        self._page("ledger.html", "ledger.html", lines=list(reversed(self.lines)))
        if self._lead is not None and self._preview is not None:
            self._write(preview.NAME, preview.draw_preview(self._lead))

    @cached_property
    def _environment(self) -> Environment:
        return environment()

    @cached_property
    def _common(self) -> dict[str, Any]:
        board = self.board
        newest = max(entry.result.provenance.created for entry in board.entries)
        common = {"board": board, "suites": board.suites, "updated": newest[:10], "row_of": self._row_of}
        return common | {"links": self.links, "summary": panels.summary(self._lead), "preview": self._preview}

    @cached_property
    def _preview(self) -> dict[str, Any] | None:
        """What the pages say of the picture for previews: none without an address, which it is named by."""
        if self._lead is None or self.links.address is None:
            return None
        return {"name": preview.NAME, "size": preview.SIZE, "words": preview.alternative(self._lead)}

    @cached_property
    def _groups(self) -> list[panels.Group]:
        return panels.groups(self.board)

    @cached_property
    def _lead(self) -> panels.Panel | None:
        return panels.lead(self._groups)

    @cached_property
    def _results(self) -> DataFrame:
        """The board as a table; its states are given before it is built."""
        return self.board.frame()

    @cached_property
    def _rows(self) -> dict[Key, dict[str, Any]]:
        rows = records(self._results)
        return {entry.key: row for entry, row in zip(self.board.entries, rows, strict=True)}

    def _row_of(self, entry: Entry) -> dict[str, Any]:
        return self._rows[entry.key]

    def _page(self, path: str, template: str, **values: Any) -> None:
        root = "../" * path.count("/")
        page = self._environment.get_template(template)
        self._write(path, page.render(root=root, path=path, **self._common, **values).encode())

    def _script(self, path: str, key: str, content: Any) -> None:
        """Return data as a script: pages opened as files may load scripts, but nothing else."""
        text = json.dumps(content, separators=(",", ":"), allow_nan=False)
        self._write(path, f"lrt.put({json.dumps(key)},{text});\n".encode())

    def _write(self, path: str, content: bytes) -> None:
        target = self.folder / path
        try:
            target.write_bytes(content)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)  # another worker may just have made it
            target.write_bytes(content)

    def _copy(self, entry: Entry) -> None:
        target = self.folder / "results" / f"{entry.address}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(
                entry.path, target
            )  # result files are replaced, never rewritten: a link stays what it was
        except OSError:
            shutil.copyfile(entry.path, target)

    def _assets(self) -> None:
        for kind in ("assets", "vendor"):
            for path in sorted((LEADERBOARD / kind).rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    self._write(f"{kind}/{path.relative_to(LEADERBOARD / kind)}", path.read_bytes())

    def _shipped(self, name: str) -> Task | None:
        """Return the task's own folder, where it ships with lrt-bench."""
        return find_task(name) if name in self._known else None

    @cached_property
    def _known(self) -> set[str]:
        return set(known_tasks())


def _compile(builder: _Builder) -> None:
    """Have the templates of the jobs compiled."""
    for name in ("mapping.html", "pair.html", "task.html"):
        builder._environment.get_template(name)


def _downloads(builder: _Builder) -> None:
    for name, content in downloads.table_files(builder.board, builder._results).items():
        builder._write(f"downloads/{name}", content)
    builder._write("feed.xml", downloads.feed(builder.board, builder.lines))


def _mapping(builder: _Builder, *, name: str, rows: list[tuple[PairEntries, Entry]]) -> None:
    """Return a mapping's page, and what charts and readers load of each of its results."""
    for _, entry in rows:
        builder._script(f"data/{entry.address}.js", entry.address, views.result_data(entry))
        builder._copy(entry)
    builder._page(f"mappings/{slug(name)}.html", "mapping.html", name=name, rows=rows)


def _pair(builder: _Builder, *, pair: PairEntries) -> None:
    best, table = views.differences(pair)
    tasks = [task.task for task in pair.entries[0].result.tasks]
    path = f"pairs/{pair.slug}.html"
    refusal = refusal_tables(pair)
    builder._page(path, "pair.html", pair=pair, best=best, differences=table, tasks=tasks, refusal=refusal)


def _task(builder: _Builder, *, name: str) -> None:
    builder._page(f"tasks/{slug(name)}.html", "task.html", name=name, task=builder._shipped(name))

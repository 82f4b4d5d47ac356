"""The whole board as CSV, JSON and Parquet, and as a feed."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from lrt_bench.leaderboard.entries import Board, Entry
from lrt_bench.leaderboard.ledger import Line

ATOM = "http://www.w3.org/2005/Atom"
FEED_LENGTH = 50
Columns = dict[str, list[Any]]
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def row(entry: Entry) -> dict[str, Any]:
    """One result as one flat row; the names are those of the result's schema where it has them."""
    result = entry.result
    source, target, mapping, cost = result.pair.source, result.pair.target, result.mapping, result.cost
    return {
        "suite": result.suite,
        "suite_version": result.suite_version,
        "pair": result.pair.name,
        "mapping": mapping.name,
        "track": mapping.track,
        "kind": mapping.kind,
        "origin": mapping.origin,
        "state": "control" if mapping.control else entry.state,
        "rank": entry.rank,
        "tied": entry.tied,
        "unranked": entry.unranked,
        "transfer_score": result.transfer_score,
        "ci95_low": entry.ci95[0] if entry.ci95 else None,
        "ci95_high": entry.ci95[1] if entry.ci95 else None,
        "steering_r2": result.steering_r2,
        "correlation_delta": result.correlation_delta,
        "fvu": result.fvu,
        "source_model": source.model,
        "source_layer": source.layer if source.layers is None else source.where,
        "source_parameters": source.parameters,
        "target_model": target.model,
        "target_layer": target.layer,
        "target_parameters": target.parameters,
        "steerable_tasks": sum(task.steerable for task in result.tasks),
        "tasks": len(result.tasks),
        "map_parameters": mapping.parameters,
        "fit_tokens": cost.fit_tokens,
        "fit_seconds": cost.fit_seconds,
        "states_seconds": cost.states_seconds,
        "peak_memory_bytes": cost.peak_memory_bytes,
        "created": result.provenance.created,
        "lrt_bench": result.provenance.lrt_bench,
        "result": f"results/{entry.address}.json",
    }


TASK_COLUMNS = (
    "task", "version", "concept", "prompts", "failures", "steerable", "ceiling_r2", "steering_r2",
    "over_steering_r2", "correlation", "correlation_delta", "concordance", "slope", "slope_ratio",
    "anti_steerable", "cosine", "norm_ratio", "reachable",
)  # fmt: skip


def task_columns(board: Board) -> Columns:
    """One row a task of each result, column by column."""
    rows = [(entry, task) for entry in board.entries for task in entry.result.tasks]
    columns: Columns = {
        "suite": [entry.result.suite for entry, _ in rows],
        "pair": [entry.result.pair.name for entry, _ in rows],
        "mapping": [entry.name for entry, _ in rows],
    }
    return columns | {name: [getattr(task, name) for _, task in rows] for name in TASK_COLUMNS}


def table_files(board: Board) -> dict[str, bytes]:
    """table.{csv,json,parquet}, one row a result, and tasks.{csv,parquet}, one row a task."""
    rows = [row(entry) for entry in board.entries]
    files = {"table.json": json.dumps(rows, allow_nan=False).encode() + b"\n"}
    results = {key: [line[key] for line in rows] for key in rows[0]}
    for name, columns in (("table", results), ("tasks", task_columns(board))):
        table = _arrow(columns)
        files[f"{name}.csv"] = _csv(table)
        files[f"{name}.parquet"] = _parquet(table)
    return files


WHOLE, TEXT, FIGURE, YES_NO = "int64", "string", "float64", "bool"

# column -> (type, meaning); the types do not depend on what a board holds
COLUMNS = {
    "suite": (TEXT, "the suite"),
    "suite_version": (WHOLE, "its version"),
    "pair": (TEXT, "the pair, by its name in the suite"),
    "mapping": (TEXT, "the mapping method or control"),
    "track": (TEXT, "corpus, task-aware or control; each is ranked by itself"),
    "kind": (TEXT, "linear, non-linear or control"),
    "origin": (TEXT, "built-in, file or submission"),
    "state": (TEXT, "claimed, reproduced, verified or control"),
    "rank": (WHOLE, "within pair and track; null where not ranked"),
    "tied": (YES_NO, "whether it shares its rank"),
    "unranked": (TEXT, "why it is not ranked"),
    "transfer_score": (FIGURE, "100: the native ceiling, 0: no steering"),
    "ci95_low": (FIGURE, "lower end of its 95% interval"),
    "ci95_high": (FIGURE, "upper end of its 95% interval"),
    "steering_r2": (FIGURE, "1 acts like the native vector, 0 like no steering"),
    "correlation_delta": (FIGURE, "Pearson correlation of steering effects with the native ones"),
    "fvu": (FIGURE, "fraction of the target states' variance unexplained, on validation text"),
    "source_model": (TEXT, "source model"),
    "source_layer": (WHOLE, "layer, counted from 1, after whose block its states are read"),
    "source_parameters": (WHOLE, "its parameters"),
    "target_model": (TEXT, "target model"),
    "target_layer": (WHOLE, "layer, counted from 1, at which it is steered"),
    "target_parameters": (WHOLE, "its parameters"),
    "steerable_tasks": (WHOLE, "tasks on which native steering works"),
    "tasks": (WHOLE, "choice tasks in all"),
    "map_parameters": (WHOLE, "numbers that the fit learned"),
    "fit_tokens": (WHOLE, "paired tokens that it was fitted on"),
    "fit_seconds": (FIGURE, "seconds of the fit alone"),
    "states_seconds": (FIGURE, "seconds of the forwards that give the states"),
    "peak_memory_bytes": (WHOLE, "peak memory of the process"),
    "created": (TEXT, "when it was computed"),
    "lrt_bench": (TEXT, "version that computed it"),
    "result": (TEXT, "path of the whole record"),
    "task": (TEXT, "the task"),
    "version": (WHOLE, "its version"),
    "concept": (TEXT, "its concept"),
    "prompts": (WHOLE, "prompts scored"),
    "failures": (WHOLE, "prompts that could not be scored"),
    "steerable": (YES_NO, "whether native steering works on it"),
    "ceiling_r2": (FIGURE, "steering R2 between the native vectors of two halves"),
    "over_steering_r2": (FIGURE, "steering R2 at the over-steering alphas alone"),
    "correlation": (FIGURE, "Pearson correlation of propensities, mean over alphas"),
    "concordance": (FIGURE, "Lin's concordance of effects"),
    "slope": (FIGURE, "logits for a spread"),
    "slope_ratio": (FIGURE, "slope over the native one"),
    "anti_steerable": (FIGURE, "share of prompts moved the wrong way"),
    "cosine": (FIGURE, "cosine of the vector to the native one"),
    "norm_ratio": (FIGURE, "its norm over the native one's"),
    "reachable": (FIGURE, "share of the native vector inside the map's reachable subspace"),
}


def _arrow(columns: Columns) -> Any:
    import pyarrow

    fields = []
    for name in columns:
        kind, meaning = COLUMNS[name]
        fields.append(
            pyarrow.field(name, pyarrow.type_for_alias(kind), metadata={b"description": meaning.encode()})
        )
    return pyarrow.table(list(columns.values()), schema=pyarrow.schema(fields))


def _csv(table: Any) -> bytes:
    """CSV in which no cell is a formula: spreadsheets run what begins with = + - @."""
    from pyarrow import compute, csv

    for place, field in enumerate(table.schema):
        if str(field.type) == "string":
            safe = compute.replace_substring_regex(table.column(place), r"^([=+\-@\t\r])", r"'\1")
            table = table.set_column(place, field.name, safe)
    buffer = io.BytesIO()
    csv.write_csv(table, buffer)
    return buffer.getvalue()


def _parquet(table: Any) -> bytes:
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()


def feed(board: Board, lines: Sequence[Line]) -> bytes:
    """An Atom feed of the ledger's last lines; of the newest results where there is no ledger."""
    root = ElementTree.Element("feed", xmlns=ATOM)
    entries = _from_ledger(lines) if lines else _from_results(board)
    newest = max((date for _, date, _, _ in entries), default="1970-01-01T00:00:00Z")
    _add(root, "title", "lrt-bench leaderboard")
    _add(root, "id", "tag:lrt-bench,2026:leaderboard")
    _add(root, "updated", newest)
    _add(_add(root, "author", ""), "name", "lrt-bench")
    ElementTree.SubElement(root, "link", href="index.html")
    for name, date, title, link in entries:
        item = _add(root, "entry", "")
        _add(item, "id", f"tag:lrt-bench,2026:{name}")
        _add(item, "title", title)
        _add(item, "updated", date)
        ElementTree.SubElement(item, "link", href=link)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _from_ledger(lines: Sequence[Line]) -> list[tuple[str, str, str, str]]:
    found = []
    for number, line in list(enumerate(lines, 1))[: -FEED_LENGTH - 1 : -1]:
        score = f", Transfer Score {line.transfer_score}" if line.transfer_score else ""
        title = f"{line.action}: {line.mapping} on {line.suite}/{line.pair}{score} ({line.reason})"
        found.append((f"ledger/{number}", f"{line.date}T00:00:00Z", title, "about.html#changes"))
    return found


def _from_results(board: Board) -> list[tuple[str, str, str, str]]:
    newest = sorted(board.entries, key=lambda entry: entry.result.provenance.created, reverse=True)
    found = []
    for entry in [entry for entry in newest if not entry.result.mapping.control][:FEED_LENGTH]:
        score = entry.result.transfer_score
        told = "" if score is None else f": Transfer Score {score:.1f}"
        title = f"{entry.name} on {entry.result.suite}/{entry.result.pair.name}{told}"
        found.append((entry.address, entry.result.provenance.created, title, f"results/{entry.address}.json"))
    return found


def _add(parent: ElementTree.Element, name: str, text: str) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, name)
    child.text = NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text) or None
    return child

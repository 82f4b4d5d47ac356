"""The whole board as CSV, JSON and Parquet, and as a feed."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from lrt_bench.leaderboard.entries import Board
from lrt_bench.leaderboard.ledger import Line
from lrt_bench.results.columns import COLUMNS
from lrt_bench.results.frame import frame, records

if TYPE_CHECKING:
    from pandas import DataFrame

ATOM = "http://www.w3.org/2005/Atom"
FEED_LENGTH = 50
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


RESULT_COLUMNS = (
    "suite", "suite_version", "pair", "mapping", "track", "kind", "origin", "state", "rank", "tied", "groups",
    "unranked", "transfer_score", "ci95_low", "ci95_high", "these_tasks_low", "these_tasks_high", "metric",
    "readout_score", "unembedding_score", "output_level", "steering_r2", "correlation_delta", "fvu",
    "source_model", "source_layer", "source_layers", "source_parameters", "target_model",
    "target_layer", "target_parameters",
    "steerable_tasks", "tasks", "map_parameters", "fit_tokens", "fit_seconds", "states_seconds",
    "peak_memory_bytes", "created", "lrt_bench", "result",
)  # fmt: skip


def table_files(board: Board, table: DataFrame) -> dict[str, bytes]:
    """table.{csv,json,parquet}, one row a result, and tasks.{csv,parquet}, one row a task.

    table : the board's results, as `Board.frame` makes them.
    """
    results = table[list(RESULT_COLUMNS)]
    files = {"table.json": json.dumps(records(results), allow_nan=False).encode() + b"\n"}
    for name, content in (("table", results), ("tasks", frame(board.entries, "task"))):
        columns = _arrow(content)
        files[f"{name}.csv"] = _csv(columns)
        files[f"{name}.parquet"] = _parquet(columns)
    return files


def _arrow(table: DataFrame) -> Any:
    import pyarrow

    fields = []
    for name in table.columns:
        kind, meaning = COLUMNS[name]
        fields.append(
            pyarrow.field(name, pyarrow.type_for_alias(kind), metadata={b"description": meaning.encode()})
        )
    schema = pyarrow.schema(fields)
    return pyarrow.Table.from_pandas(table, schema, preserve_index=False).replace_schema_metadata(None)


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
    """Return an Atom feed of the ledger's last lines; of the newest results where there is no ledger."""
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
    items = []
    for number, line in list(enumerate(lines, 1))[: -FEED_LENGTH - 1 : -1]:
        score = f", Transfer Score {line.transfer_score}" if line.transfer_score else ""
        title = f"{line.action}: {line.mapping} on {line.suite}/{line.pair}{score} ({line.reason})"
        items.append((f"ledger/{number}", f"{line.date}T00:00:00Z", title, "ledger.html"))
    return items


def _from_results(board: Board) -> list[tuple[str, str, str, str]]:
    newest = sorted(board.entries, key=lambda entry: entry.result.provenance.created, reverse=True)
    items = []
    for entry in [entry for entry in newest if not entry.result.mapping.control][:FEED_LENGTH]:
        score = entry.result.transfer_score
        scored = "" if score is None else f": Transfer Score {score:.1f}"
        title = f"{entry.name} on {entry.result.suite}/{entry.result.pair.name}{scored}"
        items.append((entry.address, entry.result.provenance.created, title, f"results/{entry.address}.json"))
    return items


def _add(parent: ElementTree.Element, name: str, text: str) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, name)
    child.text = NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text) or None
    return child

"""What `mkdocs build` writes into the pages: tables of records from their pydantic models, and the notebooks.

A page asks for a record, and for all records in it, by
``<!-- record: lrt_bench.results.storage:Result -->``. The
descriptions of the fields are in fields.yaml; a field without one, or one without its field, ends the build.
"""

from __future__ import annotations

import html
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import TypeAdapter

MARKER = re.compile(r"^<!-- record: (?P<module>[\w.]+):(?P<name>\w+) -->$", re.MULTILINE)
ROOT = Path(__file__).parent.parent.parent
FIELDS = Path(__file__).with_name("fields.yaml")
LIMITS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
LONGEST = 1e6  # limits beyond only keep numbers finite: nothing that a reader should know
PRIMITIVES = {"integer": "whole number", "string": "text", "boolean": "true or false", "null": "null"}
Schema = dict[str, Any]


def record_tables(module: str, name: str, described: dict[str, dict[str, str]]) -> str:
    """A section for the record and for each record in it, in the order of first mention."""
    schema = TypeAdapter(getattr(importlib.import_module(module), name)).json_schema()
    definitions: dict[str, Schema] = schema.pop("$defs", {})
    if "$ref" in schema:  # a record that holds itself
        schema = definitions[_target(schema)]
    records = {name: schema} | {held: definitions[held] for held in _order(schema, definitions)}
    return "\n\n".join(_section(title, record, described) for title, record in records.items())


def _order(schema: Schema, definitions: dict[str, Schema]) -> list[str]:
    order: list[str] = []
    waiting = list(_mentioned(schema))
    while waiting:
        name = waiting.pop(0)
        if name not in order:
            order.append(name)
            waiting += _mentioned(definitions[name])
    return order


def _mentioned(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield _target(node)
        for value in node.values():
            yield from _mentioned(value)
    elif isinstance(node, list):
        for value in node:
            yield from _mentioned(value)


def _target(node: Schema) -> str:
    return str(node["$ref"]).rpartition("/")[2]


def _section(title: str, schema: Schema, described: dict[str, dict[str, str]]) -> str:
    if "properties" not in schema:
        return ""
    known = dict(described.get(title, {}))
    about = known.pop("", "")
    fields: dict[str, Schema] = schema["properties"]
    if missing := fields.keys() ^ known.keys():
        raise PluginError(f"{FIELDS.name}: {title}: described and real fields differ: {sorted(missing)}")
    required = schema.get("required", [])
    lines = [f"### {title} {{ #{title.lower()} }}", "", about, "", "| field | type | what it is |"]
    lines.append("| --- | --- | --- |")
    for name, field in fields.items():
        optional = "" if name in required else f"; optional{_default(field)}"
        lines.append(f"| `{name}` | {_type(field)}{optional} | {known[name]} |")
    return "\n".join(lines)


def _default(field: Schema) -> str:
    value = field.get("default")
    return f", `{html.escape(str(value))}`" if isinstance(value, str | int | float) else ""


def _type(node: Schema) -> str:
    """A JSON Schema type in words."""
    if "$ref" in node and _target(node) == "JsonValue":  # pydantic's own: it has no fields to list
        return "any JSON value"
    if "$ref" in node:
        return f"[{_target(node)}](#{_target(node).lower()})"
    if "anyOf" in node:
        return " or ".join(_type(part) for part in node["anyOf"])
    if "const" in node or "enum" in node:
        return ", ".join(f"`{value}`" for value in node.get("enum", [node.get("const")]))
    kind = node.get("type")
    if kind == "array":
        if "prefixItems" in node:
            return f"[{', '.join(_type(part) for part in node['prefixItems'])}]"
        return f"list of {_several(_type(node['items']))}"
    if kind == "object":
        return f"table of {_several(_type(node['additionalProperties']))} by name"
    limits = [text.format(node[key]) for key, text in LIMITS.items() if key in node and node[key] < LONGEST]
    return ", ".join([PRIMITIVES.get(str(kind), str(kind)), *limits])


def _several(kind: str) -> str:
    for word in ("number", "text"):
        if kind.endswith(word):
            return kind + "s"
    return kind.replace("number,", "numbers,").replace("number or null", "numbers or null")


def forecast_table() -> str:
    """How the forecast did on the embedded family, as its check wrote it."""
    record = json.loads(
        (ROOT / "lrt_bench/vectors/forecast/embedded_family.json").read_text(encoding="utf-8")
    )
    lines = [
        "| forecast against measured | points | Spearman | within a pair | R² of states instead | "
        "the pair's other concepts instead | median error | in the interval |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    names = ("spearman", "within", "states_r2", "others", "error", "coverage")
    for row in record["judgements"]:
        figures = " | ".join(f"{row[name]:.2f}" for name in names)
        lines.append(f"| {row['name']} | {row['n']} | {figures} |")
    return "\n".join(lines)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    described = yaml.safe_load(FIELDS.read_text(encoding="utf-8"))
    markdown = markdown.replace("<!-- forecast-table -->", forecast_table())
    return MARKER.sub(lambda marker: record_tables(marker["module"], marker["name"], described), markdown)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The tutorial as a notebook beside its page; of the other notebook, the page beside it."""
    import jupytext
    import nbformat

    notebook = jupytext.read(Path(config.docs_dir) / "tutorial.md")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # the same notebook at every build
    files.append(File.generated(config, "tutorial.ipynb", content=nbformat.writes(notebook)))
    own = jupytext.read(Path(config.docs_dir) / "own-method.ipynb")
    own.cells[0].source += "\n\nThis page is a notebook: [download it](own-method.ipynb)."
    files.append(File.generated(config, "own-method.md", content=jupytext.writes(own, "markdown")))
    return files

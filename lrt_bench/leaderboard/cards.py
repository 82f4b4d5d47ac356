"""What is written into the repositories: which files, and their README.md.

The bytes depend on the inputs alone, so that publishing the same leaderboard again changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lrt_bench.data.hub.client import Content
from lrt_bench.errors import UserError
from lrt_bench.files.markdown import PAPER, card
from lrt_bench.leaderboard.exports.benchmark import eval_yaml
from lrt_bench.leaderboard.exports.croissant import croissant

TABLES = {"table": "one row for each result", "tasks": "one row for each task of each result"}
TAGS = ["steering-vectors", "activation-engineering", "interpretability", "language-models", "benchmark"]

SPACE_TEXT = """\
Which methods carry a steering vector from one language model to another, on which pairs and tasks, at
what cost, and how sure that is. The pages are static: everything they show is in this repository.

{link}Made with lrt-bench (Apache-2.0). It tests the hypothesis of
[Bello et al., 2025]({paper}).
"""

DATASET_TEXT = """\
Results of lrt-bench, the benchmark of steering-vector transfer between language models: a steering vector
found in one model is carried to another by a learned map, and its effect there is measured against the
other model's own vector, with error bars and controls.

## Load

```python
from datasets import load_dataset

{loads}
```

`results/SUITE/PAIR/MAPPING.json` is the whole record of one mapping on one pair in one suite, with
provenance; the `.safetensors` beside it holds the propensity of every prompt at every strength.

{columns}
## Licence

Apache-2.0.

## Citation

Cite lrt-bench, and the paper whose hypothesis it tests:

```bibtex
@article{{bello2025linear,
  title = {{Linear Representation Transferability Hypothesis: Leveraging Small Models to Steer Large Models}},
  author = {{Bello and Das and Zeng and Yin and Leqi}},
  year = {{2025}},
  url = {{{paper}}}
}}
```
"""


def space_files(site: Path, title: str, *, dataset: str | None = None) -> dict[str, Content]:
    """Return the files of a static Space: the whole site, and the README.md with the Hub's settings."""
    files: dict[str, Content] = dict(_plain_files(site))
    if "index.html" not in files:
        raise UserError(f"{site}: no index.html: build the leaderboard's pages there first")
    front: dict[str, Any] = {
        "title": title,
        "emoji": "🧭",
        "colorFrom": "blue",
        "colorTo": "green",
        "sdk": "static",
        "app_file": "index.html",
        "pinned": False,
        "license": "apache-2.0",
        "tags": ["leaderboard", *TAGS],
    }
    if dataset:
        front["datasets"] = [dataset]
    link = f"The scores as a data set: [{dataset}](../../datasets/{dataset}). " if dataset else ""
    files["README.md"] = card(front, title, SPACE_TEXT.format(link=link, paper=PAPER))
    return files


def dataset_files(records: Mapping[str, Path], site: Path, *, repo: str = "ORG/NAME") -> dict[str, Content]:
    """Return the dataset's files: every result with its propensities, two tables, the card, what others read.

    records : SUITE/PAIR/MAPPING -> the result file, which has been checked; propensities that it vouches
        for are taken along.
    """
    files: dict[str, Content] = {}
    tables: dict[str, Path] = {}
    for name in TABLES:
        tables[name] = site / "downloads" / f"{name}.parquet"
        if not tables[name].is_file():
            raise UserError(f"{tables[name]}: missing: build the leaderboard's pages there first")
        files[f"data/{name}.parquet"] = tables[name]
    for name, path in sorted(records.items()):
        files[f"results/{name}.json"] = path
        if (sidecar := path.with_suffix(".safetensors")).is_file() and not sidecar.is_symlink():
            files[f"results/{name}.safetensors"] = sidecar
    files["README.md"] = _dataset_card(tables, repo)
    table = _table(tables["table"])
    ranked = [row for row in table if row["rank"] is not None]
    files["eval.yaml"] = eval_yaml((row["suite"], row["pair"]) for row in ranked or table)
    newest = max(row["created"] for row in table)
    files["croissant.json"] = croissant(tables, TABLES, repo, newest)
    return files


def _table(path: Path) -> list[dict[str, Any]]:
    """Return the rows of the table of results, as far as other files are made of them."""
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path, columns=["suite", "pair", "rank", "created"])
    except (pyarrow.ArrowInvalid, KeyError) as error:
        raise UserError(f"{path}: not a table of results: build the leaderboard's pages again") from error
    rows: list[dict[str, Any]] = table.to_pylist()
    if not rows:
        raise UserError(f"{path}: no result in it: build the leaderboard's pages again")
    return rows


def _dataset_card(tables: dict[str, Path], repo: str) -> bytes:
    front = {
        "pretty_name": "lrt-bench results",
        "license": "apache-2.0",
        "language": ["en"],
        "tags": TAGS,
        "configs": [
            {"config_name": name, "data_files": f"data/{name}.parquet"}
            | ({"default": True} if name == "table" else {})
            for name in tables
        ],
    }
    columns = "\n".join(
        f"## Columns of `{name}`: {TABLES[name]}\n\n{_columns(path)}" for name, path in tables.items()
    )
    loads = "\n".join(f'{name} = load_dataset("{repo}", "{name}", split="train")' for name in tables)
    text = DATASET_TEXT.format(loads=loads, columns=columns, paper=PAPER)
    return card(front, "lrt-bench results", text)


def _columns(path: Path) -> str:
    """Return a Markdown table of a parquet file's columns, with the descriptions that its schema carries."""
    import pyarrow
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(path)
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"{path}: not a parquet file: build the leaderboard's pages again") from error
    rows = "".join(
        f"| `{field.name}` | {field.type} | {(field.metadata or {}).get(b'description', b'').decode()} |\n"
        for field in schema
    )
    return f"| column | type | meaning |\n| --- | --- | --- |\n{rows}"


def _plain_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Files under a folder by relative path, sorted; no links, nothing hidden (temporary files are)."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if not name.startswith(".") and path.is_file() and not path.is_symlink():
                yield path.relative_to(folder).as_posix(), path

"""Write the embedded family's model card: ``python -m scripts.nano.model_card``.

All figures are read from the training records and measured by the gate; none is typed in.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import click

from lrt_bench.nano.family import CONTEXT, FAMILY, VOCABULARY, WEIGHTS
from scripts.nano.gate import SWING, gate_tasks, swings, target_sites

HEAD = """# The embedded family

Small Llama-architecture language models, trained from nothing on a seeded grammar of English and French
(`grammar.py`, CC0), so that the benchmark runs anywhere without a download. One tokenizer (byte-level BPE,
{vocabulary} entries), context {context}, tied embeddings, weights in float16. `S2` is `S` with another seed,
on other text. They know nothing of the world; use them to compare mappings, not to talk to.

They were trained by `python -m scripts.nano.train --threads 1 --compile`, one process for L and one for the
others, side by side on two cores. Seeds, text and order are fixed; another machine's arithmetic gives other
last digits.

| member | width | layers | parameters | tokens | tokens a parameter | validation loss (nats a token) |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
"""
GATE = """
![Validation loss over training](curves.svg)

## The gate

Swing of the choice tasks, in logits, between -1/2 and +1/2 of the root mean square norm of the centred states
under the native vector, at every layer where the embedded suites steer a member. A member ships only if
every task swings by {swing} or more at one of its layers.

| task | {columns} |
| --- | {rule} |
"""
FOOT = """
The grammar varies two more things, the doubt of a sentence and the time of day, which a model of the size
of S does not learn to carry on from this much text. They are no tasks.
"""


def _records() -> dict[str, dict[str, Any]]:
    return {name: json.loads((size.folder / "training.json").read_text()) for name, size in FAMILY.items()}


def _curves(records: dict[str, dict[str, Any]]) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axis = figure.subplots()
    for name, record in records.items():
        points = [point for point in record["curve"] if point["tokens"]]
        axis.plot([p["tokens"] / 1e6 for p in points], [p["validation_loss"] for p in points], label=name)
    axis.set_xlabel("million tokens")
    axis.set_ylabel("validation loss, nats a token")
    axis.legend(frameon=False)
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "lrt-bench", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _family_rows(records: dict[str, dict[str, Any]]) -> str:
    rows = []
    for name, size in FAMILY.items():
        record = records[name]
        each = record["tokens"] / record["parameters"]
        loss = record["curve"][-1]["validation_loss"]
        rows.append(
            f"| {name} | {size.width} | {size.layers} | {record['parameters']:,} | {record['tokens']:,} "
            f"| {each:.1f} | {loss:.3f} |\n"
        )
    return "".join(rows)


def _gate_table() -> str:
    tasks = gate_tasks()
    sites = [(name, layer) for name, layers in target_sites().items() for layer in sorted(layers)]
    measured = {site: swings(*site, tasks) for site in sites}
    columns = " | ".join(f"{name}, layer {layer}" for name, layer in sites)
    head = GATE.format(swing=SWING, columns=columns, rule=" | ".join("---:" for _ in sites))
    rows = [f"| {task} | " + " | ".join(f"{measured[site][task]:.1f}" for site in sites) for task in tasks]
    return head + "".join(row + " |\n" for row in rows)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=WEIGHTS)
def main(folder: Path) -> None:
    """Write README.md and curves.svg beside the weights."""
    records = _records()
    (folder / "curves.svg").write_bytes(_curves(records))
    head = HEAD.format(vocabulary=VOCABULARY, context=CONTEXT)
    (folder / "README.md").write_text(head + _family_rows(records) + _gate_table() + FOOT)
    click.echo(f"wrote {folder / 'README.md'}")


if __name__ == "__main__":
    main()

"""Every pretrained pair, from nothing: ``python -m scripts.pretrained.run --models FOLDER --out OUT``.

The models are read from folders in FOLDER, and without it from the Hub; the corpus is made once
(`scripts.pretrained.corpus`) and takes the place of the suites' own. Finished cells are not computed again: a
run that was stopped goes on where it was.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import click

MODELS = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": "smollm2-135m-instruct",
    "Qwen/Qwen2.5-Coder-0.5B-Instruct": "qwen2.5-coder-0.5b-instruct",
    "Qwen/Qwen2.5-Coder-1.5B-Instruct": "qwen2.5-coder-1.5b-instruct",
}
CORPUS = "HuggingFaceFW/fineweb-edu"  # the suites' own, in whose place the free one is read
SMALL, QWEN_S, QWEN_L = MODELS
# what is wanted first comes first; the pairs of the 1.5B as a target take longest
PAIRS = (
    ("pocket-cross", "0.5B-135M", (SMALL, QWEN_S)),
    ("qwen2.5-coder", "half-depth-0.5B-1.5B", (QWEN_S, QWEN_L)),
    ("pocket-cross", "135M-0.5B", (SMALL, QWEN_S)),
    ("qwen2.5-coder", "half-depth-1.5B-0.5B", (QWEN_S, QWEN_L)),
    ("pocket-cross", "planted-0.5B", (QWEN_S,)),
    ("qwen2.5-coder", "deep-1.5B-0.5B", (QWEN_S, QWEN_L)),
    ("qwen2.5-coder", "deep-0.5B-1.5B", (QWEN_S, QWEN_L)),
)


def command(suite: str, pair: str, out: Path, corpus: Path, stand_ins: list[str]) -> list[str]:
    """Return the command that scores one pair."""
    return [
        sys.executable, "-m", "lrt_bench.cli", "evaluate", "--suite", suite, "--pair", pair, *stand_ins,
        "--data", f"{CORPUS}={corpus}", "--workers", "1", "--out", str(out),
    ]  # fmt: skip


def local(models: Path | None, names: tuple[str, ...], weights: str) -> list[str]:
    """Return the options that put folders in the place of Hub ids, and say what their weights are."""
    if models is None:
        return []
    folders = {name: models / MODELS[name] for name in names}
    for name, folder in folders.items():
        if not (folder / "config.json").is_file():
            raise click.UsageError(f"{folder}: no model of {name}: give the folder that holds it as --models")
    given = [option for name, folder in folders.items() for option in ("--model", f"{name}={folder}")]
    return given + [option for name in names for option in ("--weights", f"{name}={weights}")]


@click.command()
@click.option("--models", type=click.Path(path_type=Path, exists=True), help="Folder of the models' folders.")
@click.option("--weights", default="4-bit GGUF, dequantised", show_default=True, help="What they are.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--corpus", type=click.Path(path_type=Path), help="[default: OUT/free-prose.jsonl, made once]")
@click.option("--pair", "pairs", multiple=True, help="Only these pairs (repeatable).")
def main(models: Path | None, weights: str, out: Path, corpus: Path | None, pairs: tuple[str, ...]) -> None:
    """Score every pretrained pair."""
    text = corpus or out / "free-prose.jsonl"
    if not text.exists():
        text.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "scripts.pretrained.corpus", str(text)], check=True)
    for suite, pair, names in PAIRS:
        if pairs and pair not in pairs:
            continue
        began = time.monotonic()
        given = local(models, names, weights)
        if subprocess.run(command(suite, pair, out, text, given), check=False).returncode:
            raise SystemExit(f"{suite}/{pair}: stopped; the same command goes on from here")
        click.echo(f"{suite}/{pair}: {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()

"""Check every configuration and write `docs/decoders.md`: `python -m scripts.decoders [NAME ...]`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import transformers

from scripts.decoders.check import NEW_TOKENS, TOLERANCE, Verdict, verdict
from scripts.decoders.configurations import CONFIGURATIONS

PAGE = Path(__file__).parents[2] / "docs" / "decoders.md"
INTRODUCTION = """# Decoders

Which decoders of transformers are run, and how that is known. Each row is a configuration at tiny size with
random weights, made and checked by `python -m scripts.decoders`; this page is what it wrote
(transformers {version}). Three texts of different length are read in one padded batch. Plain transformers
reads each text by itself, with a hook on its blocks. Three things are compared:

- the states after every block: the largest difference, as a share of the largest number;
- the logits under a vector added after block 2: the same;
- {tokens} greedy tokens under that vector.

A row holds where both differences are at most {tolerance:g} and the tokens are the same, or where the model
is refused in one line when it is loaded. {held} of {count} hold.

*Whole forwards*: the model's KV cache does not give the logits of whole forwards (recurrent states, position
biases). Texts are written without it, which is right and slower. *Equal lengths*: the model's states depend
on the padded length. A batch then holds texts of one length.

| configuration | states | steered logits | greedy tokens | writing | batches |
| --- | --- | --- | --- | --- | --- |
"""


def row(checked: Verdict) -> str:
    """Return a line of the table."""
    if checked.refused is not None:
        return f"| {checked.name} | refused | | | {checked.refused.replace('|', '/')} | |"
    assert checked.states is not None
    assert checked.logits is not None
    cells = [
        checked.name, f"{checked.states:.0e}", f"{checked.logits:.0e}", "same" if checked.tokens else "OTHER",
        "cached" if checked.cached else "whole forwards", "equal lengths" if checked.one_length else "padded",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main(names: list[str]) -> int:
    """Print a line for each configuration; without names, write the page.

    Returns the exit status: 1 where one does not hold, else 0.
    """
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    verdicts = []
    for configuration in CONFIGURATIONS:
        if names and configuration.name not in names:
            continue
        checked = verdict(configuration)
        if checked.not_built is not None:
            print(f"not built: {checked.name}: {checked.not_built}")
            continue
        print("  " if checked.holds else "! ", row(checked), flush=True)
        verdicts.append(checked)
    if not names:
        held = sum(checked.holds for checked in verdicts)
        text = INTRODUCTION.format(
            version=transformers.__version__, tokens=NEW_TOKENS, tolerance=TOLERANCE, held=held,
            count=len(verdicts),
        )  # fmt: skip
        PAGE.write_text(text + "\n".join(map(row, verdicts)) + "\n")
    return int(not all(checked.holds for checked in verdicts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

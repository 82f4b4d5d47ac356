"""Write docs/steered.json, the README's sentences: unsteered, steered natively, and by a carried vector.

``python docs/steered.py --source MODEL:LAYER --target MODEL:LAYER --concept TASK --prompt "..."``

`--model ID=FOLDER` and `--corpus` take the place of what lies on the Hub. Decoding is greedy, and every
sentence that the script is asked for stands in the file; `make figures` draws the one named in `drawn`.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from lrt_bench import Pair, concept_vector, fit, transfer
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.models.loading import Models
from lrt_bench.steering.generation import generate, offsets_for

OUT = Path(__file__).parent / "steered.json"


@click.command()
@click.option("--source", required=True, help="MODEL:LAYER")
@click.option("--target", required=True, help="MODEL:LAYER")
@click.option(
    "--concept", "concepts", required=True, multiple=True, help="A task: its prompt pairs make the vector."
)
@click.option("--prompt", "prompts", required=True, multiple=True, help="What the target writes on from.")
@click.option("--alpha", type=float, default=0.5, show_default=True, help="In spreads of the target's layer.")
@click.option("--mapping", default="ridge", show_default=True)
@click.option("--tokens", type=int, default=20_000, show_default=True, help="That the map is fitted on.")
@click.option("--words", type=int, default=10, show_default=True, help="Tokens to write.")
@click.option("--corpus", default="nano", show_default=True, help="A data set's id, a file or a folder.")
@click.option("--model", "stand_ins", multiple=True, help="ID=FOLDER")
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
def main(out: Path, **asked) -> None:
    """Fit, carry, steer and write the file."""
    models = Models(local=dict(one.split("=", 1) for one in asked.pop("stand_ins")))
    pair = Pair(asked["source"], asked["target"], models)
    fitted = fit(pair, asked["mapping"], asked["corpus"], tokens=asked["tokens"])
    prompts, sentences = asked.pop("prompts"), []
    for concept in asked.pop("concepts"):
        texts = find_task(concept).vector
        sides = [text.positive for text in texts], [text.negative for text in texts]
        carried = transfer(concept_vector(pair.source_site, *sides), fitted)
        native = concept_vector(pair.target_site, *sides)
        written = {
            name: generate(
                pair.target_site,
                prompts,
                offsets_for(vector.at(), (0.0, asked["alpha"]), carried.spread[carried.layer()]),
                asked["words"],
                temperature=0,
            ).texts
            for name, vector in (("native", native), ("carried", carried))
        }
        for at, prompt in enumerate(prompts):
            unsteered, steered = written["native"][0][at], written["native"][1][at]
            sentences.append({"concept": concept, "prompt": prompt, "unsteered": unsteered, "native": steered,
                              "carried": written["carried"][1][at]})  # fmt: skip
    record = {**asked, "drawn": 0, "sentences": sentences}
    out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    click.echo(f"wrote {out}")


if __name__ == "__main__":
    main()

"""What a model writes under a vector, here and in plain transformers: a check on any model folder.

``python -m scripts.pretrained.check MODEL --layer 12 [--vector FILE.safetensors]``: the model's logits from
its blocks one by one beside its own, and 20 tokens that it writes under a steering vector beside what
`transformers` writes with a forward hook on the same block. Without a vector a random direction is taken, as
long as half of the states' norm. Exit code 1 where anything differs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from lrt_bench.models.loading import load_model
from lrt_bench.models.sites import Site
from lrt_bench.models.texts import token_ids
from lrt_bench.steering.generation import generate
from lrt_bench.vectors.vector_files import read_vector

TEXTS = ("After lunch we", "The letter said that", "Devant la porte, il y a")
TOKENS = 20
SHARE = 0.5  # of the norm of the states at the site: clearly felt, the text still language


def plain_writing(module: Any, block: Any, ids: list[int], offset: Tensor, ends: frozenset[int]) -> list[int]:
    """Greedy tokens under an offset that a forward hook adds to the block's output; whole forwards."""

    def steer(_module: Any, _inputs: Any, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        moved = states + offset.to(states.dtype)
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    handle = block.register_forward_hook(steer)
    written: list[int] = []
    try:
        with torch.inference_mode():
            while len(written) < TOKENS:
                logits = module(torch.tensor([ids + written]), use_cache=False).logits[0, -1]
                written.append(int(logits.float().argmax()))
                if written[-1] in ends:
                    break
    finally:
        handle.remove()
    return written


@click.command()
@click.argument("spec")
@click.option("--layer", type=int, help="Counted from 1.  [default: the vector's, or the middle]")
@click.option(
    "--vector", type=click.Path(path_type=Path), help="A vector, as `lrt-bench transfer` writes it."
)
@click.option("--seed", default=0, show_default=True, help="Of the random direction.")
def main(spec: str, layer: int | None, vector: Path | None, seed: int) -> None:
    """Compare a model's logits and its writing under steering with plain transformers."""
    model = load_model(spec)
    steering = read_vector(vector, None, layer) if vector else None
    site = Site(model, steering.layer(layer) if steering else layer or model.n_layers // 2)
    module: Any = model.module  # type: ignore[attr-defined]
    block = module.get_decoder().layers[site.layer - 1]
    direction = torch.randn(model.width, generator=torch.Generator().manual_seed(seed))
    if steering is not None:
        direction = steering.at(site.layer).float()
    wrong = 0
    for text in TEXTS:
        [ids] = token_ids(model, [text], "text")
        states = model.states(torch.tensor([ids]), [site.layer])[site.layer]
        with torch.inference_mode():
            theirs = module(torch.tensor([ids]), use_cache=False).logits.float()
        far = float((model.logits(torch.tensor([ids])) - theirs).abs().max())
        offset = direction / direction.norm() * SHARE * float(states[0, 1:].norm(dim=-1).median())
        ours = generate(site, [text], offset[None], TOKENS, temperature=0.0).tokens[0][0]
        plain = plain_writing(module, block, ids, offset, model.ends)
        same = list(ours) == [token for token in plain if token not in model.ends]
        wrong += not same or far > 1e-3 * float(theirs.abs().max())
        said = "the same" if same else f"ours differs: {model.tokenizer.decode(ours)!r}"
        click.echo(f"{text!r}: logits within {far:.1e}; {model.tokenizer.decode(plain)!r}: {said}")
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

"""The card of a fitted map, for programs (map.json) and for people (README.md, as the Hub reads it).

The README's bytes depend on the card alone.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from lrt_bench.errors import UserError
from lrt_bench.files.markdown import PAPER, card
from lrt_bench.files.names import HUB_ID, visible
from lrt_bench.files.schema import Strict, first_problem, record_of_json
from lrt_bench.models.sites import Site
from lrt_bench.vectors.vector import MAX_LAYERS, MAX_WIDTH, ModelHint

TAGS = ["steering-vectors", "activation-engineering", "interpretability", "lrt-bench"]

TEXT = """\
A `{mapping}` map from the residual stream of `{source.model}` after layer {source.layer} to that of
`{target.model}` after layer {target.layer}. It carries a steering vector that was made in the first model
into the second (rule: {rule}).

| | source | target |
| --- | --- | --- |
| model | `{source.model}` | `{target.model}` |
| weights | `{source.digest}` | `{target.digest}` |
| layer: after so many blocks | {source.layer} | {target.layer} |
| width | {source.width} | {target.width} |
| spread, the unit of alpha | {source.spread:.6g} | {target.spread:.6g} |
| tokens in a pair | {source_coverage:.1%} | {target_coverage:.1%} |

## Use

```
lrt-bench transfer --vector FILE --map {place} --out carried.safetensors
lrt-bench try --model {target.model} --vector carried.safetensors --alpha -0.5 --alpha 0.5 --prompt "..."
```

`map.safetensors` holds {tensors}; `map.json` is this card for programs.

## How it was fitted

On {fit_tokens:,} tokens of `{corpus}` (seed {seed}, lrt-bench {lrt_bench}, {created}).
On {validation_tokens:,} validation tokens of other documents it explains R2 = {r2:.4f} of the
target states' variance, R2 = {r2_without_top8:.4f} without the eight widest dimensions; the mean cosine
between mapped and own centred states is {cosine:.4f}. {parameters:,} numbers were learned.

## Limits

R2 of states does not predict how well steering transfers: score the pair with `lrt-bench evaluate` before you
rely on it. The map belongs to these weights, these layers and text like its corpus. The licences of both
models apply to what is learned from their states.

Made with lrt-bench. It tests the hypothesis of [Bello et al., 2025]({paper}).
"""
LINEAR = "`weight` [d_target, d_source] and `bias` [d_target], float32: h goes to weight h + bias"
NETWORK = "the network's parameters and the standardisation of its states, float32"


def _date(text: str) -> str:
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("want a date as ISO 8601 writes it") from error
    return text


MAX_COUNT = 10**15  # tokens and parameters: more than any model has read or holds
Line = Annotated[str, Field(max_length=4000), AfterValidator(visible)]
Name = Annotated[Line, Field(min_length=1)]
Date = Annotated[str, Field(max_length=40), AfterValidator(_date)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Cosine = Annotated[float, Field(ge=-1.0001, le=1.0001)]  # of float32 states, whose rounding may pass 1
Explained = Annotated[float, Field(ge=-1e12, le=1)]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]


class Side(Strict):
    """One site of a map, and the unit of alpha there (`moments.spread`)."""

    model: Name
    digest: Name
    layer: Annotated[int, Field(ge=1, le=MAX_LAYERS)]
    width: Annotated[int, Field(ge=1, le=MAX_WIDTH)]
    spread: Annotated[float, Field(gt=0, le=1e30)]
    model_type: Line | None = None
    blocks: Line | None = None

    @classmethod
    def of(cls, site: Site, spread: float) -> Side:
        """Return the side of a loaded model's site; spread is a length in its residual stream."""
        hint = ModelHint.of(site.model)
        return cls(
            model=_public(site.model.name),
            digest=site.model.digest,
            layer=site.layer,
            width=site.width,
            spread=spread,
            model_type=hint.model_type,
            blocks=hint.blocks,
        )

    @property
    def hint(self) -> ModelHint:
        """What other tools' files want to know of the model."""
        return ModelHint(self.model, self.digest, self.model_type, self.blocks)


def _public(name: str) -> str:
    """Return a model's name as a card tells it: of a place on this machine only the last part."""
    path = Path(name).expanduser()
    return path.name if path.is_absolute() or name.startswith(".") else name


class MapCard(Strict):
    """What a fitted map is: its sites, what it was fitted on, and how well it explains validation states.

    r2, r2_without_top8 : share of the target states' variance that is explained (1 - FVU), over all
        dimensions, and without the eight widest.
    cosine : mean cosine between mapped and own states, centred.
    tensors : sha256 of the tensors' file.
    """

    format: Literal["lrt-bench map v1"] = "lrt-bench map v1"
    mapping: Name
    rule: Line
    source: Side
    target: Side
    corpus: Line
    corpus_digest: Line
    fit_tokens: Count
    validation_tokens: Count
    source_coverage: Fraction
    target_coverage: Fraction
    r2: Explained
    r2_without_top8: Explained
    cosine: Cosine
    parameters: Count
    seed: Count
    lrt_bench: Line
    created: Date
    tensors: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""


def read_card(data: bytes, place: str | Path) -> MapCard:
    """Read a card from the bytes of map.json.

    Raises UserError, which names `place` and the field.
    """
    try:
        return record_of_json(data, MapCard, place)
    except ValidationError as error:
        raise UserError(f"{place}: {first_problem(error)}") from error


def map_readme(about: MapCard, repo: str = "FOLDER") -> bytes:
    """Return the card of a map; `repo` is where its commands fetch it from."""
    front: dict[str, Any] = {"library_name": "lrt-bench", "tags": TAGS}
    if bases := [side.model for side in (about.source, about.target) if _on_hub(side)]:
        front["base_model"] = [model.partition("@")[0] for model in bases]
    fields = {name: getattr(about, name) for name in type(about).model_fields}
    fields["tensors"] = NETWORK if about.mapping in ("mlp", "autoencoder") else LINEAR
    title = (
        f"{about.source.model} layer {about.source.layer} to {about.target.model} layer {about.target.layer}"
    )
    return card(front, title, TEXT.format(place=repo, paper=PAPER, **fields))


def _on_hub(side: Side) -> bool:
    return HUB_ID.fullmatch(side.model) is not None and not side.model.startswith("nano/")

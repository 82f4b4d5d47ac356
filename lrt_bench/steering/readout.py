"""What the unembedding alone says of a concept: the controls that know nothing of a representation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lrt_bench.models.base import LanguageModel
from lrt_bench.models.decoders.planted import PlantedModel
from lrt_bench.models.sites import Site
from lrt_bench.steering.sweep import Encoded, unit

SHARED = 20_000  # tokens of two vocabularies that are compared at most
CANCELLED = 1e-4  # of the options' mean norm: what is left below it of balanced options is rounding


def choice_readout(model: LanguageModel, prompts: Sequence[Encoded]) -> Tensor:
    """Return the direction [d] that raises the positive options' logits over the negative ones'.

    It is read through the final norm's gain. Zeros where the options cancel over the prompts, or where the
    head reads another width.
    """
    nothing = torch.zeros(model.width)
    tokens = torch.tensor([[row.positive, row.negative] for row in prompts], dtype=torch.long)
    rows = model.readout(tokens.flatten()) if len(tokens) else None
    if rows is None:
        return nothing
    each = rows[::2] - rows[1::2]
    mean = each.mean(0)
    return mean if mean.norm() > CANCELLED * each.norm(dim=1).mean() else nothing


def without(vectors: Tensor, direction: Tensor) -> Tensor:
    """Vectors [..., d] less their component along a direction [d]; a zero direction takes nothing away.

    A vector along the direction leaves zeros: what rounding leaves of it is no direction.
    """
    axis = unit(direction.float())
    rest = vectors - (vectors @ axis)[..., None] * axis
    left = rest.norm(dim=-1, keepdim=True) > CANCELLED * vectors.norm(dim=-1, keepdim=True)
    return torch.where(left, rest, 0.0)


def unembedding_map(source: Site, target: Site) -> Tensor | None:
    """Return the linear map [d_target, d_source] made of two unembeddings, with no corpus and no state.

    It carries a vector to the one whose direct effect on the logits of the tokens that both models have is
    the nearest, by least squares over those tokens, to the vector's own in the source. None where the source
    has not the states of one layer, where a head reads another width, where fewer tokens are shared than the
    target is wide, and on a planted pair, whose unembeddings are its true map: there it is no control.
    """
    if isinstance(target.model, PlantedModel):
        return None
    models = source.model, target.model
    if source.width != models[0].width:
        return None
    vocabularies = [model.tokenizer.get_vocab() for model in models]
    shared = sorted(vocabularies[0].keys() & vocabularies[1].keys(), key=vocabularies[1].__getitem__)[:SHARED]
    if len(shared) < target.width:
        return None
    rows = [
        model.readout(torch.tensor([vocabulary[token] for token in shared]))
        for model, vocabulary in zip(models, vocabularies, strict=True)
    ]
    if rows[0] is None or rows[1] is None:
        return None
    own, wanted = (side.double() - side.double().mean(0) for side in (rows[1], rows[0]))
    return torch.linalg.lstsq(own, wanted, driver="gelsd").solution.float()

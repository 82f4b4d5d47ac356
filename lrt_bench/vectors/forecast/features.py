"""What can be known of a vector's transfer before its concept's behaviour is seen in the target.

Two looks, neither of which reads a prompt of the concept or its native vector: at the states (does what sets
the vector apart in the source come back from the target?) and at neutral text (does the target under A v
change its next-token predictions as the source under v does?). The forecast is made from the first; on the
embedded family the second ranks transfers little better than chance, and is told beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.mappings.moments import Moments, spread
from lrt_bench.mappings.ridge import Ridge
from lrt_bench.models.batching import pad
from lrt_bench.models.sites import Site
from lrt_bench.models.states import PairedStates
from lrt_bench.results.metrics import Array
from lrt_bench.steering.sweep import unit

WHITENING = 1e-3  # added to the source's covariance, in units of its mean variance
PROBE_TEXTS = 12  # validation texts that the probe of neutral text reads,
PROBE_TOKENS = 48  # and how much of each
PROBE_ALPHA = 0.25  # in spreads of either side; what is even in alpha is left out
PROBE_VOCABULARY = 4096  # tokens whose logits are compared, the likeliest first


@dataclass(frozen=True)
class VectorFeatures:
    """Figures of vectors v under a map A, one entry a vector, float64.

    explained : d' B A v / d' v with d = S_xx^-1 v and B the map back from the target: the share of what sets
        v apart in the source (its squared Mahalanobis length) that survives the way there and back. For
        least-squares maps it is the mean squared canonical correlation (Hotelling 1936), weighted by where
        v lies: 1 in directions that the two models share, 0 in those that the target knows nothing of.
    round_trip : cosine of v and B A v.
    gain : ||A v|| in target spreads over ||v|| in source spreads.
    variance : of the source's states along v, in squared spreads.
    """

    explained: Array
    round_trip: Array
    gain: Array
    variance: Array

    def __len__(self) -> int:
        return len(self.explained)

    def at(self, index: int) -> dict[str, float]:
        """One vector's figures by name."""
        return {name: float(values[index]) for name, values in vars(self).items()}


def way_back(states: PairedStates) -> Tensor:
    """Ridge from the target to the source on the same states: B [d_source, d_target], float64."""
    own = states.moments
    turned = Moments(own.n, own.mean_y, own.mean_x, own.s_yy, own.s_xy.T.contiguous(), own.s_xx)
    back = Ridge()
    back.fit(replace(states, moments=turned, validation=(states.validation[1], states.validation[0])))
    return back.weight


def explained_shares(
    weight: Tensor, back: Tensor, covariance: Tensor, vectors: Tensor
) -> tuple[Array, Array]:
    """(explained, round_trip) of vectors [c, d_source], as `VectorFeatures` defines them.

    weight [d_target, d_source], back [d_source, d_target], covariance [d_source, d_source] of the states.
    """
    v = vectors.double()
    returned = v @ weight.double().T @ back.double().T
    ridge = WHITENING * covariance.diagonal().mean()
    apart = torch.linalg.solve(covariance + ridge * torch.eye(len(covariance), dtype=torch.float64), v.T).T
    explained = (apart * returned).sum(1) / (apart * v).sum(1).clamp_min(1e-300)
    cosine = torch.nn.functional.cosine_similarity(returned, v, dim=1)
    return explained.numpy(), cosine.numpy()


def vector_features(weight: Tensor, states: PairedStates, vectors: Tensor) -> VectorFeatures:
    """Figures of vectors [c, d_source] under a map's weight, fitted on `states`."""
    moments = states.moments
    covariance = moments.s_xx / max(moments.n, 1)
    explained, round_trip = explained_shares(weight, way_back(states), covariance, vectors)
    v = vectors.double()
    source_spread, target_spread = spread(moments.variance_x), spread(moments.variance_y)
    gain = ((v @ weight.double().T).norm(dim=1) / target_spread) / (v.norm(dim=1) / source_spread)
    along = unit(v)
    variance = ((along @ covariance) * along).sum(1) / source_spread**2
    return VectorFeatures(explained, round_trip, gain.numpy(), variance.numpy())


class NeutralText:
    """Changes of next-token log-probabilities under steering, at aligned tokens of validation texts.

    Only tokens that both vocabularies hold are compared: the likeliest of them, by what both models expect
    unsteered. A change is half the difference between steering by +PROBE_ALPHA and by -PROBE_ALPHA.
    """

    def __init__(self, source: Site, target: Site, states: PairedStates) -> None:
        self.sides = (source, target)
        moments = states.moments
        self.spreads = (spread(moments.variance_x), spread(moments.variance_y))
        self.texts: list[tuple[tuple[list[int], np.ndarray], tuple[list[int], np.ndarray]]] = []
        for text in states.validation_text[:PROBE_TEXTS]:
            kept = (text.source_at < PROBE_TOKENS) & (text.target_at < PROBE_TOKENS)
            if kept.any():
                self.texts.append(
                    (
                        (text.source_ids[:PROBE_TOKENS], text.source_at[kept]),
                        (text.target_ids[:PROBE_TOKENS], text.target_at[kept]),
                    )
                )
        self.tokens = self._shared_tokens()
        expected = torch.zeros(len(self.tokens[0]))
        for side in (0, 1):
            for part in self._read(side, None):  # a text at a time: all tokens of all texts would be large
                expected += part.exp().sum((0, 1))
        most = expected.topk(min(PROBE_VOCABULARY, len(expected))).indices
        self.tokens = (self.tokens[0][most], self.tokens[1][most])
        source_p, target_p = (torch.cat(list(self._read(side, None))).exp() for side in (0, 1))
        # square roots: between weights by probability, which see few tokens, and none, which see noise
        root = ((source_p + target_p) / 2).sqrt()  # [positions, 1, tokens]
        self.weights = root / root.sum(-1, keepdim=True)

    def _shared_tokens(self) -> tuple[Tensor, Tensor]:
        vocabularies = [site.model.tokenizer.get_vocab() for site in self.sides]
        shared = sorted(vocabularies[0].keys() & vocabularies[1].keys())
        if len(shared) < 2 or not self.texts:
            names = " and ".join(site.model.name for site in self.sides)
            raise UserError(f"forecast: {names}: no text or no token in common; give another corpus")
        ids = [torch.tensor([words[token] for token in shared]) for words in vocabularies]
        sizes = [len(site.model.head.weight) for site in self.sides]
        kept = (ids[0] < sizes[0]) & (ids[1] < sizes[1])
        return ids[0][kept], ids[1][kept]

    @torch.inference_mode()
    def _read(self, side: int, offsets: Tensor | None) -> Iterator[Tensor]:
        """Yield each text's log-probabilities of the compared tokens among themselves.

        [positions, v, tokens] under each offset [v, d]; None is no offset.
        """
        site = self.sides[side]
        model, head = site.model, site.model.head
        tokens = self.tokens[side].to(head.weight.device)
        bias = None if head.bias is None else head.bias[tokens]
        read = replace(head, weight=head.weight[tokens], bias=bias)
        for text in self.texts:
            ids, aligned = text[side]
            states = model.states(pad([ids]), [site.layer])[site.layer].float()
            if offsets is not None:
                states = states + offsets[:, None].to(states.device)
            final = model.finish(model.resume(states, site.layer))[:, torch.from_numpy(aligned)]
            yield read.all(final).log_softmax(-1).transpose(0, 1).cpu()

    def changes(self, side: int, vectors: Tensor) -> Tensor:
        """Return changes under vectors [c, d] of side 0 (source) or 1 (target): [positions, c, tokens]."""
        step = unit(vectors.float()) * PROBE_ALPHA * self.spreads[side]
        parts = []
        for steps in step.split(16):  # bounds what large vocabularies take
            up, down = (torch.cat(list(self._read(side, sign * steps))) for sign in (1, -1))
            parts.append((up - down) / 2)
        change = torch.cat(parts, 1)
        return change - (self.weights * change).sum(-1, keepdim=True)

    def agreement(self, source: Tensor, target: Tensor) -> Array:
        """Correlation of changes [positions, c, tokens] of the two sides, one a vector."""
        both, own, other = (
            (self.weights * a * b).sum(-1).mean(0).double()
            for a, b in ((source, target), (source, source), (target, target))
        )
        return (both / (own * other).sqrt().clamp_min(1e-300)).numpy()

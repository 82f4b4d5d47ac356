"""How well mapped states stand in for the target's own, on validation states."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrt_bench.data.corpus import PairedTokens
from lrt_bench.models.batching import pad, paired_by_length
from lrt_bench.models.sites import Site

BANDS = (1, 8, 32, 128)  # edges of the bands of principal components of the target's states


@dataclass(frozen=True)
class Fidelity:
    """Figures over validation states.

    FVU = 1 - R2 = unexplained share of the target's variance.

    fvu, fvu_without_top1, fvu_without_top8 : over all dimensions, and without the widest ones.
    cosine : mean cosine between mapped and own states, both centred on the target's mean.
    cka : linear centred kernel alignment (Kornblith et al. 2019).
    bands : FVU within bands of principal components of the target's states: {"1-1": ..., "2-8": ...}.
    added_cross_entropy, kl : the target run on from its layer on mapped states (stitching, Bansal et al.
        2021), against its own states, nats a token; None where it was not run.
    """

    fvu: float
    fvu_without_top1: float
    fvu_without_top8: float
    cosine: float
    cka: float
    bands: dict[str, float]
    added_cross_entropy: float | None = None
    kl: float | None = None


class OwnStates:
    """The target's own states [n, d], which mapped ones are compared with; float64 inside."""

    def __init__(self, own: Tensor) -> None:
        self.states = own.double()
        self.mean = self.states.mean(0)
        self.centred = self.states - self.mean
        gram = self.centred.T @ self.centred
        self.norm = gram.norm()
        self._vectors = torch.linalg.eigh(gram)[1].flip(1)
        self._variance = (self.centred @ self._vectors).square().sum(0)

    def fidelity(self, mapped: Tensor) -> Fidelity:
        """Compare mapped states [n, d] with them."""
        mapped = mapped.double()
        shares = unexplained_shares(mapped, self.states)
        cosine = torch.nn.functional.cosine_similarity(mapped - self.mean, self.centred, dim=1).mean()
        return Fidelity(*shares, float(cosine), self._cka(mapped), self._bands(mapped))

    def _cka(self, mapped: Tensor) -> float:
        x = mapped - mapped.mean(0)
        bottom = (x.T @ x).norm() * self.norm
        return float((x.T @ self.centred).square().sum() / bottom.clamp_min(1e-300))

    def _bands(self, mapped: Tensor) -> dict[str, float]:
        residual = ((mapped - self.states) @ self._vectors).square().sum(0)
        edges = [0, *(edge for edge in BANDS if edge < len(residual)), len(residual)]
        return {
            f"{low + 1}-{high}": float(
                residual[low:high].sum() / self._variance[low:high].sum().clamp_min(1e-300)
            )
            for low, high in itertools.pairwise(edges)
        }


def state_fidelity(mapped: Tensor, own: Tensor) -> Fidelity:
    """Compare mapped states [n, d] with the target's own [n, d]."""
    return OwnStates(own).fidelity(mapped)


def unexplained_shares(mapped: Tensor, own: Tensor) -> tuple[float, float, float]:
    """FVU of mapped states [n, d]: over all dimensions, without the widest, without the eight widest."""
    mapped, own = mapped.double(), own.double()
    unexplained, variance = (mapped - own).square().sum(0), (own - own.mean(0)).square().sum(0)
    order = variance.argsort(descending=True)

    def fvu(left_out: int) -> float:
        kept = order[min(left_out, len(order) - 1) :]
        return float(unexplained[kept].sum() / variance[kept].sum().clamp_min(1e-300))

    return fvu(0), fvu(1), fvu(8)


class Stitching:
    """The target run on from its layer on mapped states, against its own, over some texts.

    What no map changes (the source's states, the target's own and what follows from them) is computed once.
    Tokens without a partner in the source (BOS included) keep the target's own state.
    """

    def __init__(
        self, source: Site, target: Site, texts: Sequence[PairedTokens], batch_size: int = 32
    ) -> None:
        self._target = target
        self._batches = []
        lengths = [(len(text.source_ids), len(text.target_ids)) for text in texts]
        for batch in paired_by_length((source.model, target.model), lengths, batch_size):
            chosen = [texts[i] for i in batch]
            ids = pad([text.target_ids for text in chosen])
            x = source.read(pad([text.source_ids for text in chosen])).cpu()
            own = target.read(ids)
            self._batches.append((chosen, ids, x, own, self._finals(own)))

    @torch.inference_mode()
    def _finals(self, states: Tensor) -> Tensor:
        """Return what the head reads, from states at the site: [b, t, d]."""
        return self._target.model.finish(self._target.model.resume(states, self._target.layer))

    @torch.inference_mode()
    def __call__(self, mapping: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        """Return (added cross-entropy, KL) of a map's states, nats a token."""
        added = divergence = 0.0
        count = 0
        for chosen, ids, x, own, finals in self._batches:
            stitched = own.clone()
            for row, text in enumerate(chosen):
                mapped = mapping(x[row, torch.tensor(text.source_at)])
                stitched[row, torch.tensor(text.target_at)] = mapped.to(own)
            both = finals, self._finals(stitched)
            for row, text in enumerate(chosen):
                length = len(text.target_ids)
                logs = [self._log_probabilities(side[row, : length - 1]) for side in both]
                following = ids[row, 1:length, None]
                added += float((logs[0].gather(1, following) - logs[1].gather(1, following)).sum())
                divergence += float((logs[0].exp() * (logs[0] - logs[1])).sum())
                count += length - 1
        return added / max(count, 1), divergence / max(count, 1)

    def _log_probabilities(self, finals: Tensor) -> Tensor:
        """Log-probabilities [t, vocabulary] of the next tokens, from what the head reads [t, d]."""
        return self._target.model.head.all(finals).cpu().double().log_softmax(-1)


def reachable_share(weight: Tensor, vector: Tensor) -> float:
    """Share of a vector's squared norm [d_target] inside the column space of a linear map's weight."""
    u, singular, _ = torch.linalg.svd(weight.double(), full_matrices=False)
    basis = u[:, singular > singular.max() * 1e-6]
    inside = (basis.T @ vector.double()).square().sum()
    return float(inside / vector.double().square().sum().clamp_min(1e-300))


def measure(
    mapping: Callable[[Tensor], Tensor], x: Tensor, own: OwnStates, stitching: Stitching | None
) -> Fidelity:
    """All of a mapping's fidelity on validation states x [n, d_source]; stitched where that is asked."""
    fidelity = own.fidelity(mapping(x))
    if stitching is None:
        return fidelity
    added, kl = stitching(mapping)
    return Fidelity(**{**vars(fidelity), "added_cross_entropy": added, "kl": kl})

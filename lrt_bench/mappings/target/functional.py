"""Maps of little rank, or orthogonal, whose errors count by what they do to the target's predictions."""

from __future__ import annotations

import torch
from torch import Tensor

from lrt_bench.mappings.base import FitStates, Spectrum
from lrt_bench.mappings.moments import Moments
from lrt_bench.mappings.target.metric import output_metric, roots
from lrt_bench.mappings.target.target_aware import TargetAware, TargetRuns

TOLERANCE = 0.01  # of the least error, within which the smallest rank is taken
ROUNDS = 2000  # of the rotation at most
SETTLED = 1e-7  # relative gain of a round, below which it is at rest


class Functional(TargetAware):
    """Reduced-rank regression in the target's output metric G: the rank goes where predictions are sensitive.

    Minimises E (A x - y)^T G (A x - y) over A of rank r (Izenman 1975, whose weight matrix G is): least
    squares, projected on the leading directions of G^(1/2) times its output. The rank is chosen as `low-rank`
    chooses it, by the weighted error on validation states. With full rank the metric changes nothing: then
    it is `affine`, whatever G.

    Attributes
    ----------
    rank_ : the chosen rank.
    """

    def solve_on_target(self, states: FitStates, target: TargetRuns) -> Tensor:
        """Return the weight of the smallest rank that is nearly as good as the best on validation."""
        root, inverse = roots(output_metric(target, self.seed))
        full = Spectrum(states.moments).weight(0.0)
        turned = root @ full
        _, directions = torch.linalg.eigh(turned @ states.moments.s_xx @ turned.T)
        directions = directions.flip(1)  # widest first
        widest = min(full.shape)
        ranks = [2**k for k in range(widest.bit_length()) if 2**k < widest] + [widest]
        errors = {
            rank: weighted_error(states, inverse @ _projected(directions[:, :rank], turned), root)
            for rank in ranks
        }
        self.rank_ = next(rank for rank in ranks if errors[rank] <= (1 + TOLERANCE) * min(errors.values()))
        return inverse @ _projected(directions[:, : self.rank_], turned)


class FunctionalOrthogonal(TargetAware):
    """A = s Q, Q with orthonormal columns or rows, fitted in the target's output metric G.

    Minimises E (s Q x - y)^T G (s Q x - y), the weighted Procrustes problem, which has no closed form. The
    states' errors count by G, and by S_xx as they always do: the quadratic part is majorised by its largest
    curvature, each round is then a plain Procrustes problem (Kiers and ten Berge 1992) with an extrapolation
    that is given up where it does not descend (O'Donoghue and Candes 2015). It begins at `orthogonal`, whose
    solution it keeps where that is exact.

    Attributes
    ----------
    scale_ : s. rounds_ : how many rounds were gone.
    """

    def solve_on_target(self, states: FitStates, target: TargetRuns) -> Tensor:
        """Return the scaled orthogonal weight [d_target, d_source]."""
        metric = output_metric(target, self.seed)
        problem = _Procrustes(metric, states.moments)
        q = _polar(states.moments.s_xy.T)
        before, last, pull = problem.loss(q), q, 1.0
        for self.rounds_ in range(1, ROUNDS + 1):
            following = (1 + (1 + 4 * pull**2) ** 0.5) / 2
            ahead = q + (pull - 1) / following * (q - last)
            step = problem.step(ahead)
            loss = problem.loss(step)
            if loss > before:  # too far: go on from here without a pull
                step, following = problem.step(q), 1.0
                loss = problem.loss(step)
            last, q, pull = q, step, following
            if before - loss <= SETTLED * abs(loss):
                break
            before = loss
        self.scale_ = problem.scale(q)
        return self.scale_ * q


class _Procrustes:
    """E (s Q x - y)^T G (s Q x - y), s at its best for each Q; all from moments."""

    def __init__(self, metric: Tensor, moments: Moments) -> None:
        self._metric = metric
        self._spread = moments.s_xx / moments.s_xx.diagonal().sum()
        self._cross = metric @ moments.s_xy.T / moments.s_xx.diagonal().sum()  # [d_target, d_source]
        self._curvature = torch.linalg.eigvalsh(metric)[-1] * torch.linalg.eigvalsh(self._spread)[-1]

    def scale(self, q: Tensor) -> float:
        """Return the least-squares scale of a rotation [d_target, d_source]."""
        top, bottom = float((q * self._cross).sum()), float(((self._metric @ q @ self._spread) * q).sum())
        return max(top, 0.0) / max(bottom, torch.finfo(torch.float64).tiny)

    def loss(self, q: Tensor) -> float:
        """Return the loss with the best scale, less what no map changes: at most 0."""
        return -self.scale(q) * float((q * self._cross).sum())

    def step(self, q: Tensor) -> Tensor:
        """Return the minimiser of the majorised loss about q."""
        scale = self.scale(q)
        descent = self._cross - scale * self._metric @ q @ self._spread
        return _polar(scale * self._curvature * q + descent)


def weighted_error(states: FitStates, weight: Tensor, root: Tensor) -> float:
    """Mean of (A x - y)^T G (A x - y) over validation states; root is that of G, the bias from the means."""
    moments, (x, y) = states.moments, states.validation
    mapped = (x.double() - moments.mean_x) @ weight.T + moments.mean_y
    return float(((mapped - y.double()) @ root).square().sum(1).mean())


def _projected(directions: Tensor, turned: Tensor) -> Tensor:
    return directions @ (directions.T @ turned)


def _polar(matrix: Tensor) -> Tensor:
    """Return the nearest matrix with orthonormal columns, or rows."""
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    return u @ vh

"""The linear relation of two sparse autoencoders' decoders (paper, section 2.2, figure 2), beside its nulls.

Least squares W_T ~ W_S M over features, rows of the decoders W_S [n, d_S] and W_T [n, d_T]. An error alone
says nothing: rows in no relation are explained to rank(W_S) / n, which for rows of norm 1 leaves an error of
sqrt(n - rank): with 16384 features sqrt(16384 - 2304) = 118.7 from a decoder of 2304 dimensions and
sqrt(16384 - 3584) = 113.1 from one of 3584; the paper reports about 114. So the same fit is made on W_T with
its rows in another order (all else of both decoders is kept), and on random rows of the same norms.

Two autoencoders that were trained apart have no common order of features. Matching features by index is the
paper's; matching them by activations on the same text tests the relation itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lrt_bench.data.corpus import Corpus
from lrt_bench.errors import UserError
from lrt_bench.models.sites import Features
from lrt_bench.models.states import paired_states

DRAWS = 20  # the fewest with which a value beyond every draw has p < 0.05
LEVEL = 0.05
LEAST_ACTIVE = 10  # tokens on which a feature must be active to be matched


@dataclass(frozen=True)
class Null:
    """The same numbers where the rows are unrelated: mean, standard deviation, lowest and highest of draws.

    p : (1 + draws that explain as much or more) / (1 + draws): one-sided, exact for permutations.
    """

    draws: int
    error: float
    error_sd: float
    error_range: tuple[float, float]
    share: float
    share_sd: float
    share_range: tuple[float, float]
    p: float


@dataclass(frozen=True)
class Relation:
    """One direction of W_T ~ W_S M.

    features, rank : rows that were matched; rank of W_S.
    error : Frobenius norm of W_T - W_S M. norm : of W_T.
    share : 1 - error^2 / norm^2, uncentred.
    unrelated_share, unrelated_error : expected of rows in no relation: rank / n and norm sqrt(1 - rank / n),
        for rows of norm 1 sqrt(n - rank).
    beyond : share of what permuted rows leave unexplained that the true order explains.
    """

    source: str
    target: str
    features: int
    rank: int
    error: float
    norm: float
    share: float
    unrelated_share: float
    unrelated_error: float
    permuted: Null
    random: Null

    @property
    def beyond(self) -> float:
        """Share of what permuted rows leave unexplained that the true order explains."""
        return (self.share - self.permuted.share) / max(1 - self.permuted.share, 1e-12)

    @property
    def related(self) -> bool:
        """Whether the true order explains more than permuted rows do, at 5%."""
        return self.permuted.p <= LEVEL

    @property
    def verdict(self) -> str:
        """One line that sets the explained share beside permuted rows."""
        null, ways = self.permuted, f"{self.source} -> {self.target}"
        chance = f"{null.share:.2%} +- {1.96 * null.share_sd:.2%}"
        if self.related:
            return f"{ways}: explains {self.share:.2%} against {chance} of permuted rows (p = {null.p:.3f})"
        return f"{ways}: no more related than permuted rows ({self.share:.2%} against {chance})"


def column_basis(w: Tensor) -> Tensor:
    """Return an orthonormal basis [n, rank] of the column space of w [n, d], float64."""
    q, r = torch.linalg.qr(w.double())
    u, singular, _ = torch.linalg.svd(r)
    kept = singular > singular.max() * max(w.shape) * torch.finfo(torch.float64).eps
    return q @ u[:, : len(kept)][:, kept]


def unexplained(basis: Tensor, w: Tensor) -> float:
    """Frobenius norm of what is left of w [n, d_T] outside the basis [n, rank]: least squares' error."""
    return float((w - basis @ (basis.T @ w)).norm())


def relate(
    source: tuple[str, Tensor],
    target: tuple[str, Tensor],
    draws: int = DRAWS,
    seed: int = 0,
    progress: Callable[[float], None] = lambda done: None,
) -> Relation:
    """W_T ~ W_S M for decoders whose rows are matched: (name, [n, d_S]) and (name, [n, d_T]).

    Float64 on the CPU. At 16384 x 3584 it holds about 2.5 GiB and a draw takes seconds. Raises UserError
    where the rows differ in number, or are too few for any error to be possible.
    """
    (name_s, w_s), (name_t, w_t) = source, target
    if len(w_s) != len(w_t):
        raise UserError(
            f"{name_s} has {len(w_s)} features, {name_t} has {len(w_t)}: they cannot be matched by index; "
            "give two of one size, or --match activations"
        )
    w = w_t.double()
    basis, norm = column_basis(w_s), float(w.norm())
    n, rank = basis.shape
    if rank >= n:
        raise UserError(
            f"{name_s}: {n} matched features and a decoder of rank {rank}: any target would be fitted "
            "exactly; want more features than dimensions"
        )
    error = unexplained(basis, w)
    generator = torch.Generator().manual_seed(seed)
    lengths = w.norm(dim=1, keepdim=True)
    errors: dict[str, list[float]] = {"permuted": [], "random": []}
    for draw in range(draws):
        errors["permuted"].append(unexplained(basis, w[torch.randperm(n, generator=generator)]))
        noise = torch.randn(w.shape, generator=generator, dtype=torch.float64)
        noise *= lengths / noise.norm(dim=1, keepdim=True)
        errors["random"].append(unexplained(basis, noise))
        progress((draw + 1) / draws)
    nulls = {kind: _null(drawn, norm, error) for kind, drawn in errors.items()}
    share, unrelated = _share(error, norm), norm * (1 - rank / n) ** 0.5
    return Relation(name_s, name_t, n, rank, error, norm, share, rank / n, unrelated, **nulls)


def _share(error: float, norm: float) -> float:
    return 1 - (error / norm) ** 2 if norm else 0.0


def _null(draws: list[float], norm: float, error: float) -> Null:
    errors = torch.tensor(draws, dtype=torch.float64)
    shares = 1 - (errors / max(norm, 1e-300)).square()
    as_much = int((errors <= error).sum())
    return Null(
        len(errors),
        float(errors.mean()), float(errors.std()), (float(errors.min()), float(errors.max())),
        float(shares.mean()), float(shares.std()), (float(shares.min()), float(shares.max())),
        (1 + as_much) / (1 + len(errors)),
    )  # fmt: skip


@dataclass(frozen=True)
class Matching:
    """Features matched one to one: indices [m] on both sides, and their correlations [m]."""

    source: Tensor
    target: Tensor
    correlation: Tensor


def match_by_activations(
    source: Features, target: Features, corpus: Corpus, tokens: int, batch_size: int = 64
) -> Matching:
    """Features matched one to one by their coefficients' correlation over paired tokens of a corpus.

    Neither decoder is looked at. Memory is 8 n_S n_T bytes twice over: 4 GiB for two of 16384.
    """
    sums = _Correlation(source.width, target.width)
    limits = source.model.context, target.model.context
    for block in corpus.pairs(source.model.tokenizer, target.model.tokenizer, limits):
        ends = itertools.accumulate(len(text.source_at) for text in block)
        wanted = [text for text, end in zip(block, ends, strict=True) if end <= tokens - sums.n]
        for _, x, y in paired_states(source, target, wanted, batch_size):
            sums.update(x.cpu(), y.cpu())
        if len(wanted) < len(block):
            break
    return greedy(sums.solve())


class _Correlation:
    """Sums for the Pearson correlation of every source feature with every target feature, float64."""

    def __init__(self, n_x: int, n_y: int) -> None:
        self.n = 0
        self.xy = torch.zeros(n_x, n_y, dtype=torch.float64)
        self.x, self.y = torch.zeros(3, n_x, dtype=torch.float64), torch.zeros(3, n_y, dtype=torch.float64)

    def update(self, x: Tensor, y: Tensor) -> None:
        """Add coefficients [t, n_x] and [t, n_y] of the same tokens."""
        self.n += len(x)
        self.xy += (x.T @ y).double()  # float32 within a batch: coefficients are sparse and not negative
        for sums, f in ((self.x, x), (self.y, y)):
            sums += torch.stack([f.double().sum(0), f.double().square().sum(0), (f > 0).double().sum(0)])

    def solve(self) -> Tensor:
        """Correlations [n_x, n_y]; 0 where a feature is hardly ever active."""
        correlation = self.xy / max(self.n, 1) - torch.outer(self.x[0], self.y[0]) / max(self.n, 1) ** 2
        for axis, sums in ((1, self.x), (0, self.y)):
            mean = sums[0] / max(self.n, 1)
            deviation = (sums[1] / max(self.n, 1) - mean.square()).clamp_min(0).sqrt()
            usable = (sums[2] >= LEAST_ACTIVE) & (deviation > 0)
            correlation *= torch.where(usable, 1 / deviation, 0.0).unsqueeze(axis)
        return correlation


def greedy(correlation: Tensor) -> Matching:
    """One-to-one pairs of [n_x, n_y], the highest correlation first, while it is above 0.

    Done in rounds: of the features left, those that are each other's best are matched, as taking one pair
    after the other would.
    """
    rows, columns = (torch.arange(size) for size in correlation.shape)
    left, pairs = correlation, []
    while left.numel():
        best, to = left.max(1)
        mutual = (left.argmax(0)[to] == torch.arange(len(to))) & (best > 0)
        if not mutual.any():
            break
        pairs.append(torch.stack([rows[mutual].double(), columns[to[mutual]].double(), best[mutual]]))
        free = torch.ones(len(columns), dtype=torch.bool)
        free[to[mutual]] = False
        rows, columns, left = rows[~mutual], columns[free], left[~mutual][:, free]
    matched = torch.cat(pairs, 1) if pairs else torch.empty(3, 0, dtype=torch.float64)
    return Matching(matched[0].long(), matched[1].long(), matched[2])

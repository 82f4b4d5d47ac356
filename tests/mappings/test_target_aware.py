"""Maps that run the target on corpus text, on a target small enough for its metric to be known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as made

import numpy as np
import pytest
import torch
from scipy.linalg import expm, sqrtm
from scipy.optimize import minimize

from lrt_bench.data.corpus import Coverage
from lrt_bench.errors import UserError
from lrt_bench.mappings import find_mapping
from lrt_bench.mappings.moments import Moments
from lrt_bench.mappings.target.functional import Functional, FunctionalOrthogonal, weighted_error
from lrt_bench.mappings.target.metric import DAMPING, output_metric, roots
from lrt_bench.mappings.target.stitched import Stitched
from lrt_bench.models.sample import Sample
from lrt_bench.models.states import PairedStates

NAMES = ("stitched", "functional", "functional-orthogonal")


@dataclass
class HeadBatch:
    """A target of a head alone: the tokens after states y [n, d] have logits y U^T."""

    source: torch.Tensor
    target: torch.Tensor
    head: torch.Tensor

    def own(self):
        with torch.no_grad():
            return self.continued(self.target)

    def continued(self, states):
        return (states @ self.head.T).log_softmax(-1)


@dataclass
class HeadRuns:
    """Some states of a pair under such a head, in batches."""

    fit: list = made(default_factory=list)
    held_out: list = made(default_factory=list)

    @classmethod
    def of(cls, x, y, head, held_out=600, size=200):
        batches = [
            HeadBatch(a.float(), b.float(), head.float())
            for a, b in zip(x.split(size), y.split(size), strict=True)
        ]
        return cls(batches[: -held_out // size], batches[-held_out // size :])


def paired(x, y, validation=600) -> PairedStates:
    fit_x, fit_y = x[:-validation].double(), y[:-validation].double()
    sample = Sample(len(fit_x), x.shape[1], y.shape[1], 0)
    sample.update(fit_x.float().numpy(), fit_y.float().numpy())
    held_out = x[-validation:].float(), y[-validation:].float()
    return PairedStates(Moments.of(fit_x, fit_y), sample, held_out, [], len(fit_x), Coverage(), "", 0.0)


def problem(d_x=6, d_y=6, noise=0.6, n=3000, seed=0):
    """A noisy linear pair, and a head that reads some directions of the target much more than others."""
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(d_y, d_x, generator=g).double() / d_x**0.5
    x = torch.randn(n, d_x, generator=g).double() * torch.linspace(0.5, 2, d_x).double()
    y = x @ a.T + noise * torch.randn(n, d_y, generator=g).double() + 1
    head = torch.randn(12, d_y, generator=g).double() * torch.logspace(0.3, -1.5, d_y).double()
    return x, y, head


def fitted(name, x, y, head, seed=0):
    mapping = find_mapping(name)()
    mapping.seed = seed
    mapping.fit_on_target(paired(x, y), HeadRuns.of(x, y, head))
    return mapping


def divergence(mapping, x, y, head) -> float:
    """Mean KL over the held-out states, by a sum of its own."""
    logs = [torch.log_softmax(side @ head.T, -1) for side in (y, mapping(x.float()).double())]
    return float((logs[0].exp() * (logs[0] - logs[1])).sum(-1).mean())


def exact_metric(y, head):
    """G = E[U^T (diag p - p p^T) U], the Fisher information of a softmax over linear logits."""
    p = torch.softmax(y @ head.T, -1).numpy()
    u = head.numpy()
    each = np.einsum("nv,vi,vj->nij", p, u, u) - np.einsum("ni,nj->nij", p @ u, p @ u)
    return each.mean(0)


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_rotation_is_found(name):
    g = torch.Generator().manual_seed(1)
    q = torch.linalg.qr(torch.randn(9, 6, generator=g))[0].double()
    x, _, head = problem(d_y=9)
    mapping = fitted(name, x, x @ q.T + 2, head)
    torch.testing.assert_close(mapping.weight, q, atol=1e-5, rtol=0)
    torch.testing.assert_close(mapping(x[:5].float()), (x @ q.T + 2)[:5].float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_shuffled_pairs_teach_nothing(name):
    """Source states of other tokens: a vector that is carried has next to no length left."""
    x, y, head = problem()
    other = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(2))]
    vector = fitted(name, other, y, head).transfer(x[:50].float() + 1, x[:50].float())
    true = fitted(name, x, y, head).transfer(x[:50].float() + 1, x[:50].float())
    assert float(vector.norm()) < 0.15 * float(true.norm())


def test_the_metric_is_the_fisher_information_of_the_head():
    x, y, head = problem(n=20_000)
    exact = exact_metric(y[:-600], head)
    exact /= np.trace(exact) / len(exact)
    drawn = output_metric(HeadRuns.of(x, y, head), seed=0).numpy() - DAMPING * np.eye(6)
    np.testing.assert_allclose(drawn, exact, atol=0.03 * np.abs(exact).max())
    other = output_metric(HeadRuns.of(x, y, head), seed=1).numpy()
    assert not np.array_equal(other, drawn + DAMPING * np.eye(6))


def test_a_state_that_the_head_does_not_read_has_no_metric_but_the_damping():
    x, y, head = problem()
    head[:, 2] = 0
    metric = output_metric(HeadRuns.of(x, y, head), seed=0)
    assert float(metric[2, 2]) == pytest.approx(DAMPING)
    root, inverse = roots(metric)
    np.testing.assert_allclose(root @ root, metric, atol=1e-10)
    np.testing.assert_allclose(root @ inverse, np.eye(6), atol=1e-10)


def test_reduced_rank_in_a_metric_is_the_truncated_svd_of_weighted_outputs():
    """From the states themselves: Y^ G^(1/2) cut to rank r is the nearest of that rank (Eckart and Young)."""
    x, y, head = problem(noise=2.0)
    mapping = fitted("functional", x, y, head)
    metric = output_metric(HeadRuns.of(x, y, head), seed=0).numpy()
    xc, yc = ((side[:-600] - side[:-600].mean(0)).numpy() for side in (x, y))
    root = np.real(sqrtm(metric))
    least_squares = np.linalg.lstsq(xc, yc, rcond=None)[0]
    u, s, vh = np.linalg.svd(xc @ least_squares @ root, full_matrices=False)
    kept = (u[:, : mapping.rank_] * s[: mapping.rank_]) @ vh[: mapping.rank_] @ np.linalg.inv(root)
    assert mapping.rank_ < 6
    np.testing.assert_allclose(xc @ mapping.weight.numpy().T, kept, atol=1e-7)


def test_with_full_rank_the_metric_changes_nothing():
    x, y, head = problem(noise=0.01)
    mapping = fitted("functional", x, y, head)
    assert mapping.rank_ == 6
    affine = find_mapping("affine")()
    affine.fit(paired(x, y))
    torch.testing.assert_close(mapping.weight, affine.weight, atol=1e-9, rtol=0)


@pytest.mark.parametrize("d_y", [4, 6])
def test_no_rotation_near_the_weighted_procrustes_solution_is_better(d_y):
    """Against scipy's minimiser over rotations exp(S) Q of the solution, and over its scale."""
    x, y, head = problem(d_x=4, d_y=d_y)
    states, runs = paired(x, y), HeadRuns.of(x, y, head)
    mapping = FunctionalOrthogonal()
    mapping.fit_on_target(states, runs)
    q = (mapping.weight / mapping.scale_).numpy()
    np.testing.assert_allclose(q.T @ q, np.eye(4), atol=1e-9)
    metric = output_metric(runs, seed=0).numpy()
    moments = states.moments
    s_xx, s_xy = (part.numpy() / moments.n for part in (moments.s_xx, moments.s_xy))
    places = np.triu_indices(d_y, 1)

    def loss(free):
        turn = np.zeros((d_y, d_y))
        turn[places] = free[1:]
        weight = free[0] * expm(turn - turn.T) @ q
        return np.trace(metric @ weight @ s_xx @ weight.T) - 2 * np.trace(metric @ weight @ s_xy)

    start = np.concatenate([[mapping.scale_], np.zeros(len(places[0]))])
    found = minimize(loss, start, method="BFGS")
    assert loss(start) <= found.fun + 1e-4 * abs(found.fun)
    plain = find_mapping("orthogonal")()
    plain.fit(states)
    root = roots(torch.from_numpy(metric))[0]
    assert weighted_error(states, mapping.weight, root) < weighted_error(states, plain.weight, root)


def test_stitching_predicts_better_than_least_squares_and_tells_how_well():
    """Where errors of unlike directions matter unlike, the least divergence is not the least square."""
    x, y, head = problem(noise=2.0)
    mapping = fitted("stitched", x, y, head)
    ridge = find_mapping("ridge")()
    ridge.fit(paired(x, y))
    first, best = mapping.divergences_[0], min(mapping.divergences_)
    held_out = x[-600:], y[-600:]
    assert divergence(ridge, *held_out, head) == pytest.approx(first, rel=1e-3)
    assert divergence(mapping, *held_out, head) == pytest.approx(best, rel=1e-3)
    assert best < 0.98 * first


def test_stitching_never_ends_above_ridge_on_held_out_documents():
    """Documents to learn from that are misleading: it goes back to where it began."""
    x, y, head = problem(noise=0)
    runs = HeadRuns.of(x, y, head)
    for batch in runs.fit:
        batch.source = -batch.source
    mapping = Stitched()
    mapping.fit_on_target(paired(x, y), runs)
    ridge = find_mapping("ridge")()
    ridge.fit(paired(x, y))
    assert min(mapping.divergences_) == mapping.divergences_[0]
    torch.testing.assert_close(mapping.weight, ridge.weight, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_follows_its_seed(name):
    x, y, head = problem(noise=2.0)
    first, again, other = (fitted(name, x, y, head, seed).weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_states_alone_are_refused_in_one_line():
    x, y, _ = problem()
    for method in (Stitched, Functional, FunctionalOrthogonal):
        with pytest.raises(UserError, match="runs the target, which is not at hand here"):
            method().fit(paired(x, y))

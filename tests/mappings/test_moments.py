"""Moments against numpy on all the data at once, and under merging in any order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrt_bench.errors import UserError
from lrt_bench.mappings.moments import MASSIVE, PAIRS_AT_ONCE, RUN, Moments, spread


def pairs(n, d_x=5, d_y=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d_x)) @ rng.normal(size=(d_x, d_x)) + 7
    return torch.from_numpy(x), torch.from_numpy(rng.normal(size=(n, d_y)) * 3 - 1)


def same(left, right, tolerance=1e-9):
    assert left.n == right.n
    for name in ("mean_x", "mean_y", "s_xx", "s_xy", "s_yy"):
        torch.testing.assert_close(getattr(left, name), getattr(right, name), rtol=tolerance, atol=tolerance)


def direct(x, y):
    """The definition, in numpy."""
    x, y = x.numpy(), y.numpy()
    a, b = x - x.mean(0), y - y.mean(0)
    parts = (x.mean(0), y.mean(0), a.T @ a, a.T @ b, b.T @ b)
    return Moments(len(x), *map(torch.from_numpy, parts))


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, 200), max_size=8), seed=st.integers(0, 1000))
def test_batches_of_any_sizes_give_the_moments_of_the_whole(cuts, seed):
    x, y = pairs(200, seed=seed)
    moments = Moments.zeros(5, 3)
    edges = [0, *sorted(cuts), 200]
    for low, high in itertools.pairwise(edges):
        moments.update(x[low:high], y[low:high])
    same(moments, direct(x, y))


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(5)))
def test_merging_does_not_depend_on_the_order(order):
    x, y = pairs(150)
    parts = [Moments.of(x[i::5], y[i::5]) for i in range(5)]
    merged = Moments.zeros(5, 3)
    for i in order:
        merged.merge(parts[i])
    same(merged, direct(x, y))


def test_a_massive_offset_does_not_drown_the_rest():
    """One dimension at 3e4 and float32 input: naive raw sums in float32 lose the covariance."""
    x, y = pairs(4000)
    x[:, 0] += 3e4
    x32, y32 = x.float(), y.float()
    moments = Moments.zeros(5, 3)
    for start in range(0, 4000, 250):
        moments.update(x32[start : start + 250], y32[start : start + 250])
    expected = direct(x32.double(), y32.double())
    for name, a, b in (("s_xx", "x", "x"), ("s_xy", "x", "y"), ("s_yy", "y", "y")):
        sizes = torch.outer(*(getattr(expected, f"s_{side}{side}").diagonal().sqrt() for side in (a, b)))
        error = getattr(moments, name) - getattr(expected, name)
        assert (error.abs() <= 1e-5 * sizes).all()
    naive = x32.T @ x32 - len(x32) * torch.outer(x32.mean(0), x32.mean(0))
    assert (naive[0, 0] - moments.s_xx[0, 0]).abs() / moments.s_xx[0, 0] > 1e-3


# The error of a float32 sum of n products, relative to the root of the product of the two sums of squares:
# sqrt(n) units in the last place hold in any order of summation but with vanishing probability (Higham and
# Mary 2019, theorem 3.1), and two more are the rounding of the shifted states. No machine's luck is in it.
ROUNDING_OF_A_RUN = (RUN**0.5 + 2) * 2.0**-24


def states_of_two_models(count):
    """Float32 states with massive, drifting dimensions, wide enough for several panels and odd ends."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(count, 150)) @ rng.normal(size=(150, 150)) / 12
    y = x[:, :67] @ rng.normal(size=(67, 203)) + rng.normal(size=(count, 203))
    x[:, :3] += [2000, -300, 40]
    y[:, 5] += 500 + np.arange(count) / count  # the mean of the end is not that of the beginning
    return torch.from_numpy(x).float(), torch.from_numpy(y).float()


def test_blocks_runs_and_panels_are_the_whole():
    """Float32 products of half of each symmetric matrix, against numpy's of all of it in float64."""
    x, y = states_of_two_models(RUN + PAIRS_AT_ONCE + 77)
    expected, whole = direct(x.double(), y.double()), Moments.zeros(150, 203)
    lean = Moments.without_s_yy(150, 203)
    for start, stop in ((0, 30), (30, RUN + 200), (RUN + 200, len(x))):
        whole.update(x[start:stop], y[start:stop])
        lean.update(x[start:stop], y[start:stop])
    size_x, size_y = expected.s_xx.diagonal().sqrt(), expected.s_yy.diagonal().sqrt()
    sizes = {
        "mean_x": size_x / len(x) ** 0.5,
        "mean_y": size_y / len(x) ** 0.5,
        "s_xx": torch.outer(size_x, size_x),
        "s_xy": torch.outer(size_x, size_y),
        "s_yy": torch.outer(size_y, size_y),
        "squares_y": size_y.square(),
    }
    for name, size in sizes.items():
        for moments in (whole,) if name == "s_yy" else (whole, lean):
            error = (getattr(moments, name) - getattr(expected, name)).abs()
            assert (error <= ROUNDING_OF_A_RUN * size).all(), name
    for square in (whole.s_xx, whole.s_yy, lean.s_xx):
        assert (square - square.T).norm() < 1e-14 * square.norm()


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 200), max_size=4), seed=st.integers(0, 1000))
def test_without_s_yy_the_rest_is_the_same(cuts, seed):
    x, y = pairs(200, seed=seed)
    lean, expected = Moments.without_s_yy(5, 3), direct(x, y)
    edges = [0, *sorted(cuts), 200]
    for low, high in itertools.pairwise(edges):
        lean.update(x[low:high], y[low:high])
    for name in ("mean_x", "mean_y", "s_xx", "s_xy", "variance_x", "variance_y"):
        torch.testing.assert_close(getattr(lean, name), getattr(expected, name), rtol=1e-9, atol=1e-9)
    with pytest.raises(UserError, match=r"without S_yy.*Moments\.zeros"):
        _ = lean.s_yy


def test_unequal_batches_are_refused():
    with pytest.raises(ValueError, match="3 source states but 2"):
        Moments.zeros(5, 3).update(torch.zeros(3, 5), torch.zeros(2, 3))


def test_spread_leaves_the_massive_dimensions_out():
    variance = torch.ones(40)
    variance[:MASSIVE] = 1e6
    assert spread(variance) == pytest.approx(32**0.5)
    states = torch.from_numpy(np.random.default_rng(0).normal(size=(5000, 40))) * variance.sqrt()
    centred = (states - states.mean(0))[:, MASSIVE:]
    assert spread(Moments.of(states, states).variance_y) == pytest.approx(
        float(centred.square().sum(1).mean().sqrt()), rel=1e-9
    )


def as_tf32(x):
    """x with 10 bits after the leading one, rounded to the nearest, as a tensor core reads it."""
    bits = x.float().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def test_tensor_cores_precision_leaves_the_solved_map_as_it_is():
    """Products of states of 11 bits: the ridge map's error in them is far below what tells maps apart."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 24, generator=generator) @ torch.randn(24, 24, generator=generator)
    x[:, 0] = 3e3 + 40 * x[:, 0]  # a massive dimension
    y = x[:, 1:] @ torch.randn(23, 16, generator=generator) + 5 * torch.randn(20_000, 16, generator=generator)
    exact, rounded, single = Moments.zeros(24, 16), Moments.zeros(24, 16), Moments.zeros(24, 16)
    exact.merge(Moments.of(x, y))
    for a, b in zip(x.split(4096), y.split(4096), strict=True):
        single.update(a, b)
        a, b = a - a.mean(0), b - b.mean(0)
        rounded.update(as_tf32(a), as_tf32(b))

    def solved(moments):
        ridge = 1e-3 * exact.s_xx.diagonal().mean() * torch.eye(24)
        return torch.linalg.solve(moments.s_xx + ridge, moments.s_xy)

    size = solved(exact).norm()
    assert (solved(single) - solved(exact)).norm() < 1e-5 * size
    assert 1e-7 * size < (solved(rounded) - solved(exact)).norm() < 1e-3 * size

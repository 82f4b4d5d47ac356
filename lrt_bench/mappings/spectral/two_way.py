"""Affine maps both ways that undo each other (Chen et al. 2025, arXiv 2506.06609, equation 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from lrt_bench.mappings.base import FitStates, LinearMapping

PENALTY = 1.0  # on what is lost there and back, beside the error one way
ROUNDS = 8


class TwoWay(LinearMapping):
    """Up A and down B together: ||A x - y||^2 + ||B y - x||^2 + ||B A x - x||^2 + ||A B y - y||^2.

    Sides are centred and scaled to one mean variance, so that neither model's units decide. With B fixed the
    best A solves a Sylvester equation whose two sides are each diagonal in a basis of their own, and so with
    A fixed; they are solved in turn. The down map is dropped.
    """

    def solve(self, states: FitStates) -> Tensor:
        """Return the up map [d_target, d_source] after some rounds of solving in turn."""
        moments = states.moments
        unit_x, unit_y = (_unit(side) for side in (moments.s_xx, moments.s_yy))
        s_xx, s_yy = _sure(moments.s_xx / unit_x**2), _sure(moments.s_yy / unit_y**2)
        s_yx = moments.s_xy.T / (unit_x * unit_y)
        down = torch.linalg.solve(s_yy, s_yx).T
        for _ in range(ROUNDS):
            up = _one_way(s_xx, s_yy, s_yx, down)
            down = _one_way(s_yy, s_xx, s_yx.T, up)
        return _one_way(s_xx, s_yy, s_yx, down) * (unit_y / unit_x)


def _unit(products: Tensor) -> float:
    return float(products.diagonal().mean().clamp_min(torch.finfo(torch.float64).tiny).sqrt())


def _sure(products: Tensor) -> Tensor:
    """Return the matrix with the least bit of ridge, so that it can be inverted with few tokens too."""
    return products + 1e-6 * torch.eye(len(products), dtype=products.dtype, device=products.device)


def _one_way(s_xx: Tensor, s_yy: Tensor, s_yx: Tensor, back: Tensor) -> Tensor:
    """Return the best map of x to y beside a fixed one of y to x, `back` [d_x, d_y].

    A (S_xx + p B S_yy B^T) + p B^T B A S_xx = S_yx + p S_yy B^T + p B^T S_xx, p the penalty. With
    W^T S_xx W = 1, W^T (S_xx + p B S_yy B^T) W = diag(m) and B^T B = V diag(g) V^T, each number of
    V^T A W^-T is found by itself.
    """
    root = torch.linalg.cholesky(s_xx)
    inner = s_xx + PENALTY * back @ s_yy @ back.T
    half = torch.linalg.solve_triangular(root, inner, upper=False)
    inner = torch.linalg.solve_triangular(root, half.T, upper=False)
    m, turned = torch.linalg.eigh((inner + inner.T) / 2)
    w = torch.linalg.solve_triangular(root.T, turned, upper=True)
    g, v = torch.linalg.eigh(back.T @ back)
    wanted = s_yx + PENALTY * (s_yy @ back.T + back.T @ s_xx)
    solved = (v.T @ wanted @ w) / (m + PENALTY * g.clamp_min(0)[:, None])
    return v @ solved @ w.T

"""The maps of the literature, each against an independent reference or a pair whose true map is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes, sqrtm, subspace_angles
from sklearn.cross_decomposition import PLSRegression
from sklearn.kernel_ridge import KernelRidge as ScikitKernelRidge
from sklearn.linear_model import LinearRegression

from lrt_bench.data.corpus import Coverage
from lrt_bench.mappings import find_mapping
from lrt_bench.mappings.base import FitStates
from lrt_bench.mappings.kernels.feature_ridge import PENALTIES, FeatureRidge
from lrt_bench.mappings.kernels.waves import drawn_waves, waves
from lrt_bench.mappings.moments import Moments
from lrt_bench.mappings.spectral.pls import _Components
from lrt_bench.mappings.spectral.two_way import _one_way
from lrt_bench.mappings.spectral.whitening import Spread
from lrt_bench.models.sample import Sample
from lrt_bench.models.states import PairedStates

LINEAR = ("affine-no-bias", "orthogonal-standardised", "whiten-rotate", "reshaped", "two-way", "cca", "pls")
FEATURES = ("kernel-ridge", "affine-waves", "relative", "mixture")


def paired(x, y, validation=200) -> PairedStates:
    """States from arrays, the last ones for validation."""
    x, y = (torch.as_tensor(side).double() for side in (x, y))
    fit_x, fit_y = x[:-validation], y[:-validation]
    sample = Sample(len(fit_x), x.shape[1], y.shape[1], 0)
    sample.update(fit_x.float().numpy(), fit_y.float().numpy())
    held_out = (x[-validation:].float(), y[-validation:].float())
    return PairedStates(Moments.of(fit_x, fit_y), sample, held_out, [], len(fit_x), Coverage(), "", 0.0)


def problem(n=900, d_x=8, d_y=12, noise=0.5, seed=0):
    """Linear with noise; directions of unlike width, an offset on both sides."""
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(d_y, d_x, generator=g).double()
    x = torch.randn(n, d_x, generator=g).double() * torch.linspace(0.3, 3, d_x).double() + 2
    return x, x @ a.T + 5 + noise * torch.randn(n, d_y, generator=g).double()


def fitted(name, states: FitStates, seed=0):
    mapping = find_mapping(name)()
    mapping.seed = seed
    mapping.fit(states)
    return mapping


def centred(x, y, validation=200):
    """The fit part, its means removed, as numpy arrays."""
    x, y = x[:-validation].numpy(), y[:-validation].numpy()
    return x - x.mean(0), y - y.mean(0)


def test_affine_without_a_bias_is_least_squares_through_the_origin():
    x, y = problem()
    mapping = fitted("affine-no-bias", paired(x, y))
    reference = LinearRegression(fit_intercept=False).fit(x[:-200], y[:-200])
    np.testing.assert_allclose(mapping.weight, reference.coef_, atol=1e-8)
    assert not mapping.bias.any()


def test_standardised_procrustes_is_scipys_between_standardised_states():
    x, y = problem(d_y=8)
    mapping = fitted("orthogonal-standardised", paired(x, y))
    xc, yc = centred(x, y)
    rotation, nuclear = orthogonal_procrustes(xc / xc.std(0), yc / yc.std(0))
    scale = nuclear / np.square(xc / xc.std(0)).sum()
    expected = scale * (rotation.T * yc.std(0)[:, None]) / xc.std(0)
    np.testing.assert_allclose(mapping.weight, expected, atol=1e-8)


def test_whitened_procrustes_is_scipys_between_whitened_states():
    x, y = problem(d_y=8)
    weight = fitted("whiten-rotate", paired(x, y)).weight
    xc, yc = centred(x, y)
    root_x, root_y = (np.real(sqrtm(side.T @ side / len(side))) for side in (xc, yc))
    rotation, _ = orthogonal_procrustes(xc @ np.linalg.inv(root_x), yc @ np.linalg.inv(root_y))
    np.testing.assert_allclose(weight, root_y @ rotation.T @ np.linalg.inv(root_x), atol=1e-7)
    # mapped states have the target's own covariance, which least squares never gives with noise
    np.testing.assert_allclose(np.cov((xc @ weight.numpy().T).T), np.cov(yc.T), rtol=1e-6, atol=1e-8)


def test_canonical_correlations_are_the_angles_between_the_two_sides():
    x, y = problem(noise=3.0)
    mapping = fitted("cca", paired(x, y))
    xc, yc = centred(x, y)
    np.testing.assert_allclose(
        mapping.correlations_, np.sort(np.cos(subspace_angles(xc, yc)))[::-1], atol=1e-7
    )


def test_cca_keeps_the_pairs_that_say_something():
    """Three of eight directions reach the target; on few tokens the others are noise: it keeps three."""
    g = torch.Generator().manual_seed(1)
    x = torch.randn(260, 8, generator=g).double()
    y = torch.randn(260, 10, generator=g).double()
    y[:, :3] += 4 * x[:, :3]
    states = paired(x, y)
    mapping = fitted("cca", states)
    assert mapping.components_ in (2, 4)
    assert torch.linalg.matrix_rank(mapping.weight, rtol=1e-9) == mapping.components_
    whole = fitted("affine", states).weight
    colour = Spread(states.moments.s_yy, states.moments.n)
    narrowed = colour.power(-0.5) @ (whole - mapping.weight) @ Spread(states.moments.s_xx, 60).power(0.5)
    # in whitened coordinates what is left out is the weakest correlations, no more
    left_out = torch.linalg.svdvals(narrowed)[: 8 - mapping.components_]
    torch.testing.assert_close(left_out, mapping.correlations_[mapping.components_ :], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_partial_least_squares_is_scikit_learns(count):
    x, y = problem(noise=3.0)
    states = paired(x, y)
    components = _Components(states.moments.s_xx, states.moments.s_xy)
    assert all(components.add() for _ in range(count))
    reference = PLSRegression(count, scale=False, tol=1e-14, max_iter=5000).fit(x[:-200], y[:-200])
    np.testing.assert_allclose(components.weight(), reference.coef_, atol=1e-5)


def test_partial_least_squares_takes_the_components_that_validation_asks_for():
    g = torch.Generator().manual_seed(2)
    hidden = torch.randn(240, 2, generator=g).double()
    x = hidden @ torch.randn(2, 30, generator=g).double() + 0.3 * torch.randn(240, 30, generator=g).double()
    y = hidden @ torch.randn(2, 9, generator=g).double() + 0.3 * torch.randn(240, 9, generator=g).double()
    states = paired(x, y)
    mapping = fitted("pls", states)
    assert mapping.components_ in (2, 4)
    x_val, y_val = states.validation
    errors = [float((m(x_val) - y_val).square().mean()) for m in (mapping, fitted("affine", states))]
    assert errors[0] < errors[1]  # 40 tokens for 30 dimensions: least squares overfits


def test_one_way_of_the_two_way_map_is_where_its_loss_is_flat():
    """The closed form against the gradient of the loss as the paper writes it."""
    x, y = problem(d_x=5, d_y=7)
    x, y = (torch.as_tensor(side) for side in centred(x, y))
    back = torch.randn(5, 7, generator=torch.Generator().manual_seed(3)).double()
    up = _one_way(x.T @ x, y.T @ y, y.T @ x, back).requires_grad_()
    there = (x @ up.T - y).square().sum()
    and_back = (x @ up.T @ back.T - x).square().sum() + (y @ back.T @ up.T - y).square().sum()
    (gradient,) = torch.autograd.grad(there + and_back, up)
    assert float(gradient.norm()) < 1e-7 * float((y.T @ x).norm())


def test_the_two_way_map_is_undone_by_its_way_back():
    """It gives up some error for it, in a direction that least squares shrinks."""
    x, y = problem(d_x=6, d_y=6, noise=4.0)
    states = paired(x, y)
    two_way, affine = fitted("two-way", states).weight, fitted("affine", states).weight
    assert torch.linalg.cond(two_way) < torch.linalg.cond(affine)


def test_reshaping_undoes_what_shrinking_costs_a_direction():
    """Half of the target's directions are noisy in the fit; their mapped differences are too short."""
    g = torch.Generator().manual_seed(4)
    x = torch.randn(1500, 12, generator=g).double() * torch.linspace(0.2, 4, 12).double()
    y = x + 2.0 * torch.randn(1500, 12, generator=g).double()
    states = paired(x, y, 700)
    reshaped, ridge = fitted("reshaped", states), fitted("ridge", states)
    source, own = (side[:350] - side[350:] for side in states.validation)
    cosines = [
        float(torch.nn.functional.cosine_similarity(m(source) - m(source * 0), own, dim=1).mean())
        for m in (reshaped, ridge)
    ]
    assert cosines[0] >= cosines[1]
    if reshaped.exponent_ == 0:
        torch.testing.assert_close(reshaped.weight, ridge.weight)
    else:
        expected = Spread(states.moments.s_yy, states.moments.n).power(-reshaped.exponent_) @ ridge.weight
        torch.testing.assert_close(reshaped.weight, expected)


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("d_y", [8, 12])
def test_linear_maps_find_a_planted_rotation(name, d_y):
    g = torch.Generator().manual_seed(5)
    q = torch.linalg.qr(torch.randn(d_y, 8, generator=g).double())[0]
    x = torch.randn(900, 8, generator=g).double() * torch.linspace(0.5, 3, 8).double()
    if name == "orthogonal-standardised":  # its family is rotations between standardised sides
        x = x / x[:-200].std(0)
        q = torch.eye(d_y, 8).double()[torch.randperm(d_y, generator=g)]
    mapping = fitted(name, paired(x, x @ q.T))
    torch.testing.assert_close(mapping.weight, q, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", LINEAR)
def test_linear_maps_of_fewer_tokens_than_dimensions_stay_finite(name):
    x, y = problem(n=220, d_x=40, d_y=30)
    mapping = fitted(name, paired(x, y))
    assert torch.isfinite(mapping(torch.randn(5, 40))).all()


@pytest.mark.parametrize("name", ["kernel-ridge", "affine-waves", "mixture", "blend"])
def test_features_learn_what_no_affine_map_can(name):
    g = torch.Generator().manual_seed(3)
    x = torch.randn(6000, 4, generator=g)
    y = torch.cat([2 * x.abs(), x, x.flip(1)], 1) * 4 + 20
    states = paired(x, y, 1000)
    held_out = states.validation
    unexplained = {
        kind: float(
            (fitted(kind, states)(held_out[0]) - held_out[1]).square().sum() / held_out[1].var(0).sum()
        )
        for kind in ("affine", name)
    }
    assert unexplained[name] < 0.85 * unexplained["affine"]


def test_a_relative_description_owes_nothing_to_the_basis():
    """The same states in another basis, with the same anchors, are described and mapped alike."""
    x, y = problem()
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(8)).double())[0]
    plain, turned = fitted("relative", paired(x, y)), fitted("relative", paired(x @ turn.T, y))
    described = turned.features((x @ turn.T).float())
    torch.testing.assert_close(described, plain.features(x.float()), atol=1e-4, rtol=1e-3)


def test_a_blend_is_the_mean_of_its_members():
    x, y = problem()
    states = paired(x, y)
    members = [fitted(name, states)(x.float()) for name in ("mlp", "autoencoder", "affine-waves")]
    torch.testing.assert_close(fitted("blend", states)(x.float()), sum(members) / 3, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["kernel-ridge", "affine-waves", "mixture"])
def test_features_beside_a_linear_path_hold_a_planted_rotation(name):
    g = torch.Generator().manual_seed(6)
    q = torch.linalg.qr(torch.randn(12, 8, generator=g))[0]
    x = torch.randn(4000, 8, generator=g) * torch.linspace(0.5, 3, 8) + 3
    mapping = fitted(name, paired(x, x @ q.T, 500))
    positive, negative = x[:60], x[60:120]
    vector = mapping.transfer(positive, negative)
    true = q @ (positive.mean(0) - negative.mean(0))
    assert float(torch.nn.functional.cosine_similarity(vector, true, dim=0)) > 0.999


def test_feature_ridge_is_ridge_regression_on_centred_features():
    """Against scikit-learn's kernel ridge with the features' own kernel, mean removed."""
    x, y = problem(n=500)
    states = paired(x, y)
    mapping = fitted("affine-waves", states)
    shown = mapping.features(x[:-200].float()).double()
    shown = shown - shown.mean(0)
    penalty = mapping.penalty_ * float(shown.square().sum(0).mean())
    reference = ScikitKernelRidge(alpha=penalty, kernel="linear").fit(shown, centred(x, y)[1])
    asked = mapping.features(x[-200:].float()).double() - mapping.features(x[:-200].float()).double().mean(0)
    expected = reference.predict(asked) + y[:-200].mean(0).numpy()
    np.testing.assert_allclose(mapping(x[-200:].float()), expected, atol=2e-2)
    assert mapping.penalty_ in PENALTIES


def test_waves_stand_for_a_gaussian_kernel():
    z = torch.randn(40, 6, generator=torch.Generator().manual_seed(7))
    shown = waves(z, *drawn_waves(6, 60_000, 1.5, seed=0))
    kernel = torch.exp(-torch.cdist(z, z).square() / (2 * 1.5**2 * 6))
    torch.testing.assert_close(2 * shown @ shown.T / 60_000, kernel, atol=0.03, rtol=0)


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_map_is_made_again_from_its_tensors(name):
    x, y = problem()
    mapping = fitted(name, paired(x, y))
    method = find_mapping(name)
    assert issubclass(method, FeatureRidge)
    tensors = {key: value.clone() for key, value in mapping.learned.items()}
    again = method.of_tensors(tensors, 8, 12)
    assert torch.equal(again(x.float()), mapping(x.float()))
    with pytest.raises(ValueError, match="want"):
        method.of_tensors(tensors, 9, 12)
    tensors["decoder_"] = tensors["decoder_"][1:]
    tensors["centre_"] = tensors["centre_"][1:]
    with pytest.raises((ValueError, RuntimeError)):
        method.of_tensors(tensors, 8, 12)(x.float())


@pytest.mark.parametrize("name", FEATURES)
def test_feature_maps_follow_their_seed(name):
    x, y = problem()
    states = paired(x, y)
    first, again, other = (fitted(name, states, seed)(x.float()) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_crosscoder_finds_the_code_of_both_sides_from_the_source_alone():
    """States of few active directions: the code is sparse, and the source alone gives what both give."""
    g = torch.Generator().manual_seed(4)
    active = torch.rand(9000, 40, generator=g) * (torch.rand(9000, 40, generator=g) < 0.04)
    x, y = (active @ torch.randn(40, d, generator=g) for d in (16, 24))
    states = paired(x, y, 1000)
    mapping = fitted("crosscoder", states)
    held_out, own = states.validation
    unexplained = float((mapping(held_out) - own).square().sum() / (own - own.mean(0)).square().sum())
    affine = fitted("affine", states)
    assert unexplained < 0.8 * float((affine(held_out) - own).square().sum() / own.var(0).sum() / 1000)
    network = mapping.network_
    standard = mapping._standard(held_out), (own - mapping.mean_y_) / mapping.scale_y_
    code = network.sparse(network.source_in(standard[0]))
    assert int((code > 0).sum(1).max()) <= network.active
    torch.testing.assert_close(
        network.both(*standard, torch.zeros(1000, 1))[1] * mapping.scale_y_ + mapping.mean_y_,
        mapping(held_out), atol=1e-5, rtol=1e-5,
    )  # fmt: skip
    assert mapping.n_parameters == sum(t.numel() for t in network.state_dict().values())


def test_a_rotation_is_found_without_pairs_and_nothing_where_there_is_none():
    """Skewed directions of unlike width; against clouds that have nothing to do with each other."""
    g = torch.Generator().manual_seed(9)
    x = -torch.rand(8000, 6, generator=g).log() * torch.tensor([6.0, 3.4, 2.0, 1.2, 0.7, 0.4])
    q = torch.linalg.qr(torch.randn(8, 6, generator=g))[0]
    mapping = fitted("unpaired", paired(x, x @ q.T))
    assert float((mapping.weight * q).sum() / mapping.weight.norm() / q.norm()) > 0.98
    strange = torch.randn(8000, 8, generator=g)
    assert fitted("unpaired", paired(x, strange)).nearness_ < mapping.nearness_


def test_unpaired_never_reads_which_states_belong_together():
    """Of no pair does it take both sides."""
    x, y = problem(n=900)
    mapping = find_mapping("unpaired")()
    one, other = mapping._halves(paired(x, y))
    sources = {tuple(row) for row in x[:-200].float().numpy().round(4)}
    assert all(tuple(row) in sources for row in one.numpy().round(4))
    partner = {
        tuple(a): tuple(b)
        for a, b in zip(x.float().numpy().round(4), y.float().numpy().round(4), strict=True)
    }
    targets = {tuple(row) for row in other.numpy().round(4)}
    assert not any(partner[tuple(row)] in targets for row in one.numpy().round(4))

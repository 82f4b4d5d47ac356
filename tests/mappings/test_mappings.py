"""Every map against an independent reference, and on pairs whose true map is known."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.linalg import orthogonal_procrustes
from sklearn.linear_model import LinearRegression
from sklearn.linear_model import Ridge as ScikitRidge

from lrt_bench.data.corpus import Coverage
from lrt_bench.errors import UserError
from lrt_bench.mappings import BUILT_IN, FixedLinear, digest_of, find_mapping, name_of
from lrt_bench.mappings.affine_adamw import EPOCHS, STEPS, AffineAdamw, batch_size
from lrt_bench.mappings.base import Spectrum, rank_errors, squared_error, validation_error
from lrt_bench.mappings.digest import source_files
from lrt_bench.mappings.moments import Moments
from lrt_bench.mappings.names import NEED_S_YY, spares_s_yy
from lrt_bench.mappings.ridge import STRENGTHS
from lrt_bench.mappings.target.target_aware import TargetAware
from lrt_bench.models.sample import Sample
from lrt_bench.models.states import PairedStates

# the others' fits run the target: test_target_aware.py
ON_STATES = [name for name in BUILT_IN if not issubclass(find_mapping(name), TargetAware)]


def paired(x, y, x_val, y_val) -> PairedStates:
    """States from arrays, as a stream would leave them."""
    moments = Moments.of(x, y)
    sample = Sample(len(x), x.shape[1], y.shape[1], 0)
    sample.update(x.float().numpy(), y.float().numpy())
    validation = (x_val.float(), y_val.float())
    return PairedStates(moments, sample, validation, [], len(x), Coverage(), "", 0.0)


def problem(n=600, d_x=8, d_y=12, noise=0.3, seed=0):
    """Linear with noise, offsets, and one massive dimension."""
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(d_y, d_x, generator=g, dtype=torch.float64)
    x = torch.randn(n + 200, d_x, generator=g, dtype=torch.float64) * torch.linspace(0.3, 3, d_x).double()
    x[:, 0] += 50
    y = x @ a.T + 5 + noise * torch.randn(n + 200, d_y, generator=g, dtype=torch.float64)
    return paired(x[:n], y[:n], x[n:], y[n:]), x[:n].numpy(), y[:n].numpy(), a


def fitted(name, states, seed=0):
    mapping = find_mapping(name)()
    mapping.seed = seed
    mapping.fit(states)
    return mapping


@pytest.mark.parametrize("name", [*filter(spares_s_yy, ON_STATES)])
def test_mappings_that_spare_s_yy_do_not_read_it(name):
    """`lrt-bench fit` leaves it out for them: the same map without."""
    states, x, y, _ = problem()
    lean = Moments.without_s_yy(8, 12)
    lean.update(torch.from_numpy(x), torch.from_numpy(y))
    some = states.validation[0][:9]
    whole = fitted(name, states)(some)
    torch.testing.assert_close(fitted(name, replace(states, moments=lean))(some), whole, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", sorted(NEED_S_YY))
def test_mappings_that_need_s_yy_say_so_where_it_was_spared(name):
    states, x, y, _ = problem()
    lean = Moments.without_s_yy(8, 12)
    lean.update(torch.from_numpy(x), torch.from_numpy(y))
    with pytest.raises(UserError, match="without S_yy"):
        fitted(name, replace(states, moments=lean))


def test_affine_is_least_squares():
    states, x, y, _ = problem()
    mapping = fitted("affine", states)
    reference = LinearRegression().fit(x, y)
    np.testing.assert_allclose(mapping.weight, reference.coef_, atol=1e-8)
    np.testing.assert_allclose(mapping.bias, reference.intercept_, atol=1e-7)


def test_affine_with_a_dead_dimension_is_the_least_norm_solution():
    _, x, y, _ = problem()
    x = np.concatenate([x, np.zeros((len(x), 1)), x[:, :1]], 1)  # one dead, one doubled
    mapping = fitted("affine", paired(*map(torch.from_numpy, (x, y, x[:50], y[:50]))))
    centred = np.linalg.lstsq(x - x.mean(0), y - y.mean(0), rcond=None)[0]
    np.testing.assert_allclose(mapping.weight, centred.T, atol=1e-6)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_ridge_of_every_strength_is_scikit_learns(strength):
    states, x, y, _ = problem()
    penalty = strength * ((x - x.mean(0)) ** 2).sum(0).mean()
    reference = ScikitRidge(alpha=penalty).fit(x, y)
    weight = Spectrum(states.moments).weight(strength)
    np.testing.assert_allclose(weight, reference.coef_, atol=1e-7)


def test_ridge_chooses_the_strength_that_is_best_on_validation():
    states, x, y, _ = problem(n=30, d_x=20, noise=6.0)
    mapping = fitted("ridge", states)
    x_val, y_val = (part.double().numpy() for part in states.validation)
    errors = {}
    for strength in STRENGTHS:
        penalty = strength * ((x - x.mean(0)) ** 2).sum(0).mean()
        errors[strength] = ((ScikitRidge(alpha=penalty).fit(x, y).predict(x_val) - y_val) ** 2).sum()
    assert mapping.strength_ == min(errors, key=errors.get)
    assert mapping.strength_ > STRENGTHS[0]  # shrinking pays here


def test_squared_error_from_moments_is_the_mean_over_pairs():
    states, *_ = problem()
    mapping = fitted("affine", states)
    x, y = (part.double() for part in states.validation)
    expected = (x @ mapping.weight.T + mapping.bias - y).square().sum(1).mean()
    assert squared_error(Moments.of(x, y), mapping.weight, mapping.bias) == pytest.approx(float(expected))


def test_the_errors_of_all_strengths_and_ranks_are_those_of_each_weight():
    """The short ways through the decomposition, against the error of each weight by itself."""
    states, *_ = problem(n=60, noise=4.0)
    spectrum = Spectrum(states.moments)
    weights = [spectrum.weight(strength) for strength in STRENGTHS]
    errors = spectrum.errors(Moments.of(*states.validation), STRENGTHS)
    np.testing.assert_allclose(errors, validation_error(states, weights), rtol=1e-9)
    full = spectrum.weight(0.0)
    directions, _ = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64))
    weights = [directions[:, :rank] @ directions[:, :rank].T @ full for rank in range(1, 13)]
    np.testing.assert_allclose(
        rank_errors(states, full, directions), validation_error(states, weights), rtol=1e-9
    )


def test_changed_moments_are_decomposed_anew():
    states, *_ = problem()
    before = Spectrum(states.moments).values
    states.moments.s_xx *= 2
    torch.testing.assert_close(Spectrum(states.moments).values, 2 * before)


def test_orthogonal_is_scaled_procrustes():
    states, x, y, _ = problem(d_y=8)
    mapping = fitted("orthogonal", states)
    r, nuclear = orthogonal_procrustes(x - x.mean(0), y - y.mean(0))
    scale = nuclear / ((x - x.mean(0)) ** 2).sum()
    np.testing.assert_allclose(mapping.weight, scale * r.T, atol=1e-8)


@pytest.mark.parametrize(("d_x", "d_y"), [(8, 12), (12, 8), (8, 8)])
def test_orthogonal_is_an_isometry_and_no_better_one_is_near(d_x, d_y):
    states, x, y, _ = problem(d_x=d_x, d_y=d_y)
    mapping = fitted("orthogonal", states)
    q = mapping.weight / mapping.scale_
    gram = q.T @ q if d_y >= d_x else q @ q.T
    torch.testing.assert_close(gram, torch.eye(min(d_x, d_y)).double(), atol=1e-9, rtol=0)
    x, y = x - x.mean(0), y - y.mean(0)
    alignment = np.trace(q.numpy() @ x.T @ y)
    g = torch.Generator().manual_seed(0)
    for _ in range(50):
        skew = torch.randn(d_y, d_y, generator=g, dtype=torch.float64) * 0.05
        turned = torch.matrix_exp(skew - skew.T) @ q
        assert np.trace(turned.numpy() @ x.T @ y) <= alignment + 1e-9
    best = [((s * x @ q.T.numpy() - y) ** 2).sum() for s in (mapping.scale_ * f for f in (0.99, 1, 1.01))]
    assert min(best) == best[1]


def test_low_rank_is_reduced_rank_regression():
    """Izenman's solution by another route: truncated SVD of the fitted values."""
    g = torch.Generator().manual_seed(0)
    a = torch.randn(12, 4, generator=g).double() @ torch.randn(4, 9, generator=g).double()
    x = torch.randn(900, 9, generator=g).double()
    y = x @ a.T + 0.05 * torch.randn(900, 12, generator=g).double()
    mapping = fitted("low-rank", paired(x[:700], y[:700], x[700:], y[700:]))
    assert mapping.rank_ == 4
    x, y = x[:700].numpy(), y[:700].numpy()
    xc, yc = x - x.mean(0), y - y.mean(0)
    least = np.linalg.lstsq(xc, yc, rcond=None)[0]
    _, _, vh = np.linalg.svd(xc @ least, full_matrices=False)
    np.testing.assert_allclose(mapping.weight, (least @ vh[:4].T @ vh[:4]).T, atol=1e-8)


def test_the_bias_cancels_in_a_transferred_vector_and_the_papers_rule_keeps_it():
    states, *_ = problem()
    g = torch.Generator().manual_seed(1)
    positive, negative = torch.randn(40, 8, generator=g), torch.randn(40, 8, generator=g) + 1
    plain, paper = fitted("affine", states), fitted("affine-with-bias", states)
    v = positive.double().mean(0) - negative.double().mean(0)
    torch.testing.assert_close(plain.transfer(positive, negative), (plain.weight @ v).float())
    mapped = plain(positive).mean(0) - plain(negative).mean(0)
    torch.testing.assert_close(plain.transfer(positive, negative), mapped, atol=1e-4, rtol=1e-4)
    difference = paper.transfer(positive, negative) - plain.transfer(positive, negative)
    torch.testing.assert_close(difference, plain.bias.float(), atol=1e-4, rtol=1e-4)


def test_a_built_in_is_found_by_its_former_name():
    assert find_mapping("affine-paper") is find_mapping("affine-with-bias")
    assert name_of("affine-paper") == name_of(find_mapping("affine-paper")) == "affine-with-bias"


def test_the_papers_training_takes_the_papers_steps():
    def steps(sample):
        return EPOCHS * math.ceil(sample / batch_size(sample))

    assert STEPS == 2441
    for sample in (24_000, 200_000, 10_000_000):
        assert 0.97 * STEPS <= steps(sample) <= STEPS + EPOCHS
    assert batch_size(500) == 32
    assert batch_size(10**9) == 32 * 512


class InstructRate(AffineAdamw):
    """The paper's other rate."""

    rate = 1e-3


def test_the_papers_training_nears_the_optimum_and_leaves_most_of_the_bias_behind():
    """A rotation onto states that lie far from zero: the rate decides how much of A and p is learned."""
    g = torch.Generator().manual_seed(2)
    q = torch.linalg.qr(torch.randn(8, 8, generator=g).double())[0]
    x = torch.randn(25_000, 8, generator=g).double() * torch.linspace(1, 10, 8).double()
    y = x @ q.T + 40
    states = paired(x[:24_000], y[:24_000], x[24_000:], y[24_000:])
    slow, fast = fitted("affine-adamw", states), InstructRate()
    fast.fit(states)
    cosines = [float((m.weight * q).sum() / m.weight.norm() / q.norm()) for m in (slow, fast)]
    assert 0.2 < cosines[0] < cosines[1]
    assert cosines[1] > 0.9
    optimum = fitted("affine", states).bias.norm()
    for mapping in (slow, fast):
        assert mapping.bias.norm() < 0.2 * optimum
        assert (mapping.bias.abs() <= STEPS * mapping.rate + 1).all()


def test_the_papers_training_is_carried_with_and_without_its_bias():
    states, *_ = problem()
    positive, negative = states.validation[0][:40], states.validation[0][40:80]
    plain, paper = fitted("affine-adamw", states), fitted("affine-adamw-with-bias", states)
    assert torch.equal(plain.weight, paper.weight)
    difference = paper.transfer(positive, negative) - plain.transfer(positive, negative)
    torch.testing.assert_close(difference, plain.bias.float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["affine", "ridge", "orthogonal"])
@pytest.mark.parametrize("d_y", [8, 12])
def test_planted_isometries_are_found_exactly(name, d_y):
    g = torch.Generator().manual_seed(2)
    q = torch.linalg.qr(torch.randn(d_y, 8, generator=g).double())[0]
    x = torch.randn(500, 8, generator=g).double() * torch.linspace(0.1, 10, 8).double() + 3
    mapping = fitted(name, paired(x[:400], x[:400] @ q.T, x[400:], x[400:] @ q.T))
    tolerance = 1e-3 if name == "ridge" else 1e-6  # the least strength still shrinks a little
    torch.testing.assert_close(mapping.weight, q, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", ["mlp", "autoencoder"])
def test_networks_learn_what_no_affine_map_can(name):
    g = torch.Generator().manual_seed(3)
    x = torch.randn(9000, 4, generator=g)
    y = torch.cat([2 * x.abs(), x, x.flip(1)], 1) * 4 + 20
    states = paired(x[:8000], y[:8000], x[8000:], y[8000:])
    unexplained = {
        kind: float((fitted(kind, states)(x[8000:]) - y[8000:]).square().sum() / y[8000:].var(0).sum() / 1000)
        for kind in ("affine", name)
    }
    assert unexplained["affine"] > 0.2
    assert unexplained[name] < 0.85 * unexplained["affine"]


@pytest.mark.parametrize("name", ["mlp", "autoencoder", "affine-adamw"])
def test_trained_maps_follow_their_seed_and_leave_the_global_one_alone(name):
    states, *_ = problem()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (fitted(name, states, seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    x = states.validation[0]
    assert torch.equal(first(x), again(x))
    assert not torch.equal(first(x), other(x))


@pytest.mark.parametrize("name", ON_STATES)
def test_every_built_in_maps_any_leading_shape(name):
    states, *_ = problem()
    mapping = fitted(name, states)
    x = states.validation[0][:6]
    flat = mapping(x)
    assert flat.dtype == torch.float32
    torch.testing.assert_close(mapping(x.view(2, 3, 8)), flat.view(2, 3, 12), atol=1e-4, rtol=1e-4)
    assert mapping.n_parameters > 0


def test_a_linear_map_is_saved_and_read_back(tmp_path):
    states, *_ = problem()
    mapping = fitted("ridge", states)
    mapping.save(tmp_path / "ridge.safetensors")
    again = FixedLinear.load(tmp_path / "ridge.safetensors")
    again.fit(states)
    x = states.validation[0]
    torch.testing.assert_close(again(x), mapping(x), atol=1e-4, rtol=1e-5)


def test_damaged_weights_are_named(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"bad\.safetensors: not a readable safetensors"):
        FixedLinear.load(tmp_path / "bad.safetensors")
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(3, 2)}, str(tmp_path / "half.safetensors"))
    with pytest.raises(UserError, match="bias"):
        FixedLinear.load(tmp_path / "half.safetensors")
    with pytest.raises(UserError, match="want \\[d_target, d_source\\]"):
        FixedLinear(torch.zeros(3, 2), torch.zeros(2))


OWN = """
import torch
from lrt_bench import Mapping

class Mean(Mapping):
    def fit(self, states):
        self.mean = states.moments.mean_y.float()
    def __call__(self, h):
        return self.mean.expand(*h.shape[:-1], -1)

class Half(Mapping):
    def fit(self, states):
        pass
"""


def test_a_users_own_class_is_found_by_path(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    cls = find_mapping(f"{path}:Mean")
    assert name_of(f"{path}:Mean") == "mine.Mean"
    before = digest_of(cls)
    path.write_text(OWN + "\n# changed\n")
    assert digest_of(find_mapping(f"{path}:Mean")) != before


def test_the_digest_covers_what_the_class_imports(tmp_path, monkeypatch):
    """Each file of a user's mapping changed, one at a time; what is installed or unused changes nothing."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "helpers_of_mine").mkdir()
    files = {
        "mine.py": "def late():\n    import torch\n    import deep_of_mine\nimport helpers_of_mine.centre\n"
        + OWN,
        "helpers_of_mine/__init__.py": "",
        "helpers_of_mine/centre.py": "from . import scale\n",
        "helpers_of_mine/scale.py": "FACTOR = 2\n",
        "deep_of_mine.py": "X = 1\n",
        "unused.py": "Y = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    importlib.import_module("deep_of_mine")
    spec = f"{tmp_path}/mine.py:Mean"
    before = digest_of(find_mapping(spec))
    assert {"helpers_of_mine.scale", "deep_of_mine", "lrt_bench.mappings.moments"} <= set(
        source_files(find_mapping(spec))
    )
    for name, text in files.items():
        (tmp_path / name).write_text(text + "# changed\n")
        assert (digest_of(find_mapping(spec)) != before) == (name != "unused.py"), name
        (tmp_path / name).write_text(text)
    assert digest_of(find_mapping(spec)) == before


def test_the_digest_of_a_built_in_mapping_covers_the_room_it_runs():
    names = {name.rpartition(".")[2] for name in source_files(find_mapping("autoencoder"))}
    assert {"autoencoder", "network", "base", "moments"} <= names
    assert "orthogonal" not in names


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    save_file({"weight": torch.eye(2) / 0, "bias": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"w.safetensors: tensor weight holds NaN or infinity"):
        FixedLinear.load(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ridgee", r"no such mapping \(did you mean ridge\?\); give affine"),
        ("{}/absent.py:Mean", "is no file"),
        ("{}/mine.py:Nobody", "no class there that inherits"),
        ("{}/mine.py:Half", "does not define __call__"),
        ("{}/broken.py:Mean", "importing it fails: SyntaxError"),
    ],
)
def test_bad_mappings_are_named(tmp_path, spec, message):
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "broken.py").write_text("def (")
    with pytest.raises(UserError, match=message):
        find_mapping(spec.format(tmp_path))

"""Many layers to one: the closed form over layers side by side, against known answers."""

from __future__ import annotations

import shlex

import pytest
import torch
from command_line import error_of

from lrt_bench.data.corpus import Budget, Corpus
from lrt_bench.data.suites import PairSpec, ad_hoc, find_suite
from lrt_bench.errors import UserError
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.evaluation.fidelity import state_fidelity
from lrt_bench.leaderboard.views import reproduce
from lrt_bench.mappings.affine import Affine
from lrt_bench.mappings.moments import Moments
from lrt_bench.mappings.ridge import Ridge
from lrt_bench.models.sites import Site, many_layers
from lrt_bench.models.states import PairedStates, collect
from lrt_bench.results.storage import read_result

pytestmark = pytest.mark.slow  # whole runs

BUDGET = Budget(fit_tokens=8000, validation_tokens=1500, sample_tokens=1000)


def fvu(states: PairedStates, method: type = Ridge) -> float:
    mapping = method()
    mapping.fit(states)
    x, y = states.validation
    return state_fidelity(mapping(x), y).fvu


def test_layers_stand_side_by_side(nano):
    model = nano("S")
    site = many_layers(model, [3, 1])
    ids = torch.randint(2, 500, (2, 7), generator=torch.Generator().manual_seed(0))
    states = site.read(ids)
    assert (site.layers, site.layer, site.width) == ((1, 3), 3, 2 * model.width)
    for layer in (1, 3):
        torch.testing.assert_close(states[..., site.columns(layer)], Site(model, layer).read(ids))


def test_a_mix_of_two_layers_is_recovered_from_both_and_not_from_either(nano):
    """The target is h_1 B_1 + h_3 B_3 + c: with both layers least squares must give B back."""
    model = nano("S")
    both = many_layers(model, [1, 3])
    states = collect(both, Site(model, 3), Corpus("nano"), BUDGET)
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(both.width, 20, generator=generator, dtype=torch.float64)
    x = torch.cat([batch for batch, _ in states.batches()]).double()
    y = x @ mix + 3
    states.moments = Moments.of(x, y)
    held_out = states.validation[0]
    states.validation = held_out, (held_out.double() @ mix + 3).float()
    mapping = Affine()
    mapping.fit(states)
    torch.testing.assert_close(mapping.weight, mix.T, rtol=1e-5, atol=1e-5)
    assert fvu(states, Affine) < 1e-9
    for layer in (1, 3):
        columns = both.columns(layer)
        states.moments = Moments.of(x[:, columns], y)
        states.validation = held_out[:, columns], states.validation[1]
        assert fvu(states, Affine) > 0.02


@pytest.mark.slow
def test_all_layers_explain_no_less_than_the_best_one(nano):
    source, target = nano("S"), Site(nano("L"), 5)
    corpus = [Corpus("nano") for _ in range(source.n_layers + 1)]
    single = [fvu(collect(Site(source, k), target, corpus[k], BUDGET)) for k in range(1, source.n_layers + 1)]
    together = fvu(collect(many_layers(source, "all"), target, corpus[0], BUDGET))
    assert together <= min(single)


@pytest.mark.slow
def test_an_evaluation_from_all_layers(small_suite, tmp_path):
    """Every kind of row, from a planted model: its layer 2 is among the source's, so the answer is known."""
    suite = ad_hoc(find_suite(str(small_suite)), "nano/S", None, "planted-rotation:nano/S", 2, "all")
    (pair,) = suite.pairs
    assert (pair.name, pair.source_layers) == ("S-all--S-2", "all")
    cells = Evaluation(suite, RunConfig(out=tmp_path)).run()
    results = {cell.path.stem: read_result(cell.path) for cell in cells}
    assert results["ridge"].pair.source.layers == (1, 2, 3)
    assert results["ridge"].pair.source.where == "1+2+3"
    assert results["ridge"].pair.source.layer == 3
    assert results["ridge"].pair.target.layers is None
    assert results["ridge"].transfer_score > 99
    assert results["ridge"].fidelity.fvu < 1e-3
    assert "mlp" in results

    command = shlex.split(reproduce(results["ridge"]))
    assert command[command.index("--source-layers") + 1] == "1,2,3"
    assert "--source-layer" not in command

    def computed(source_layer, source_layers):
        other = pair.model_copy(update={"source_layer": source_layer, "source_layers": source_layers})
        again = suite.model_copy(update={"pairs": (other,)})
        return [
            cell.computed for cell in Evaluation(again, RunConfig(mappings=["ridge"], out=tmp_path)).run()
        ]

    assert not any(computed(None, (1, 2, 3)))  # "all" and its list are one site
    assert all(computed(3, None))  # the highest layer alone is another


def test_the_suite_digest_does_not_know_pairs(small_suite):
    suite = find_suite(str(small_suite))
    other = suite.pairs[0].model_copy(update={"source_layer": None, "source_layers": (1, 2)})
    assert suite.model_copy(update={"pairs": (other,)}).digest == suite.digest


@pytest.mark.parametrize(
    ("layers", "line"),
    [
        ((1, 9), "layer 9 is out of range for nano/S: give 1 to 3"),
        ((1, 1), "layers 1,1 of nano/S: one stands twice; drop it"),
        ((), "none given; give some of 1 to 3, or all"),
    ],
)
def test_bad_layers_are_one_line(nano, layers, line):
    with pytest.raises(UserError, match=line):
        many_layers(nano("S"), layers)


def test_one_layer_and_several_are_not_both_given():
    with pytest.raises(ValueError, match="give it or source_layer, not both"):
        PairSpec(name="x", source="a", source_layer=1, source_layers="all", target="b")
    options = ["--source", "nano/S", "--source-layer", "1", "--source-layers", "1,2", "--target", "nano/L"]
    line = error_of("evaluate", *options)
    assert line.startswith("error: --source-layers takes the place of --source-layer")

"""Target-aware maps in a run: known answers, what they cost, who refuses them, and that they are kept."""

from __future__ import annotations

import textwrap

import pytest
import torch
from command_line import output_of
from small import SMALL_SUITE

from lrt_bench import api
from lrt_bench.data.suites import find_suite
from lrt_bench.errors import UserError
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.engines.choice import Local
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.results.storage import read_result
from lrt_bench.vectors.fitted_map import load_map
from lrt_bench.vectors.vector_files import read_vector

pytestmark = pytest.mark.slow  # whole runs

NAMES = ("stitched", "functional", "functional-orthogonal")
SITES = ("--source", "nano/S:2", "--target", "planted-rotation:nano/S:2")
SHUFFLED = textwrap.dedent("""
    from dataclasses import dataclass, replace

    import torch

    from lrt_bench.mappings.moments import Moments
    from lrt_bench.mappings.target.functional import Functional, FunctionalOrthogonal
    from lrt_bench.mappings.target.stitched import Stitched


    @dataclass
    class Runs:
        fit: list
        held_out: list


    class Shuffled:
        '''The same fit on source states of other tokens.'''

        def fit_on_target(self, states, target):
            generator = torch.Generator().manual_seed(self.seed)
            for batch in [*target.fit, *target.held_out]:
                batch.source = batch.source[torch.randperm(len(batch.source), generator=generator)]
            x, y = (torch.cat(side) for side in zip(*states.batches()))
            order = torch.randperm(len(x), generator=generator)
            v, w = states.validation
            other = torch.randperm(len(v), generator=generator)
            moments = Moments.of(x[order].double(), y.double())
            super().fit_on_target(replace(states, moments=moments, validation=(v[other], w)), target)


    class ShuffledStitched(Shuffled, Stitched): ...


    class ShuffledFunctional(Shuffled, Functional): ...


    class ShuffledOrthogonal(Shuffled, FunctionalOrthogonal): ...
""")
SHUFFLES = ("ShuffledStitched", "ShuffledFunctional", "ShuffledOrthogonal")


@pytest.fixture(scope="module")
def suite_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "small.yaml"
    path.write_text(SMALL_SUITE.replace("mappings: [affine, ridge, orthogonal, mlp]", "mappings: [affine]"))
    return path


@pytest.fixture(scope="module")
def ran(suite_file, tmp_path_factory):
    """The run's output and its results by name, the shuffled maps from a user's file among them."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / "mine.py").write_text(SHUFFLED)
    given = [*NAMES, "affine", *(f"{folder}/mine.py:{name}" for name in SHUFFLES)]
    chosen = [option for name in given for option in ("--mapping", name)]
    output = output_of("evaluate", "--suite", suite_file, *chosen, "--out", folder / "out")
    return output, {path.stem: read_result(path) for path in (folder / "out").rglob("*.json")}


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_pair_scores_a_hundred(ran, name):
    assert ran[1][name].transfer_score == pytest.approx(100, abs=0.5)


@pytest.mark.parametrize("name", SHUFFLES)
def test_source_states_of_other_tokens_score_nothing(ran, name):
    """Three tasks, and few states: what is left is luck, as that of the control `shuffled` is."""
    assert ran[1][f"mine.{name}"].transfer_score < 50


def test_rows_are_a_track_of_their_own_and_say_what_the_target_was_run_on(ran):
    output, results = ran
    for name in NAMES:
        row = results[name]
        assert (row.mapping.track, row.mapping.kind, row.mapping.seeds) == ("target-aware", "linear", 2)
        assert row.cost.target_tokens >= 2000
    assert results["affine"].cost.target_tokens is None
    assert results["native"].cost.target_tokens is None
    assert results["stitched"].cost.target_tokens > results["functional"].cost.target_tokens
    assert output.index("corpus track: affine") < output.index("target-aware track:")


def test_workers_fit_the_same_maps(suite_file, ran, tmp_path):
    config = RunConfig(out=tmp_path, mappings=("functional", "stitched"))
    Local(2).run(Evaluation(find_suite(str(suite_file)), config))
    for name in ("functional", "stitched"):
        [path] = tmp_path.rglob(f"{name}.json")
        assert read_result(path).transfer_score == pytest.approx(ran[1][name].transfer_score, abs=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_a_map_is_kept_and_carries_a_vector_without_the_target(name, tmp_path):
    (tmp_path / "up.txt").write_text("I saw the dog .\nThe dogs ran .\n")
    (tmp_path / "down.txt").write_text("He sees a ship .\nA ship sails .\n")
    fitting = (*SITES, "--tokens", "1500", "--mapping", name)
    concept = ("--concept", tmp_path / "up.txt", tmp_path / "down.txt", "--no-forecast")
    output_of("fit", *fitting, "--save", tmp_path / "map")
    kept = load_map(tmp_path / "map")
    assert kept.linear
    output_of("transfer", *concept, "--map", tmp_path / "map", "--out", tmp_path / "kept.safetensors")
    output_of("transfer", *concept, *fitting, "--out", tmp_path / "fresh.safetensors")
    vectors = [read_vector(tmp_path / f"{which}.safetensors") for which in ("kept", "fresh")]
    torch.testing.assert_close(vectors[0].at(2), vectors[1].at(2), atol=1e-4, rtol=1e-4)


def test_python_fits_it_too_and_says_where_the_target_is_not_at_hand():
    pair = api.Pair("nano/S:2", "planted-rotation:nano/S:2")
    fitted = api.fit(pair, "functional", tokens=1500)
    turn = pair.target_site.model.basis
    torch.testing.assert_close(fitted.mapping.weight.float(), turn, atol=1e-3, rtol=0)
    with pytest.raises(UserError, match="runs the target, which is not at hand here"):
        api.fit_on(pair, fitted.states, "functional")

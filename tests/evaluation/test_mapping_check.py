"""A user's mapping is tried on random states of the pair's widths before any model is run."""

from __future__ import annotations

import json

import pytest
import torch

from lrt_bench.data.suites import PairSpec, find_suite
from lrt_bench.errors import UserError
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.evaluation.mapping_check import check_mapping, random_states, widths
from lrt_bench.evaluation.rows import mapping_row
from lrt_bench.mappings import BUILT_IN
from lrt_bench.models.loading import Models

HEAD = "import torch\nfrom lrt_bench import Mapping\nclass Mine(Mapping):\n"
GOOD = (
    HEAD
    + """
    def fit(self, states):
        m = states.moments
        self.weight_ = torch.linalg.solve(m.s_xx, m.s_xy).float()
        [(x, y)] = list(states.batches(10**6))
        assert len(x) == len(y) == len(states.sample) == states.tokens
    def __call__(self, h):
        return h @ self.weight_
"""
)
FAULTS = [
    ("        m = states.moments\n", "        m = states.momentz\n", "fit fails: AttributeError"),
    ("h @ self.weight_", "h", r"__call__ returned \(32, 96\), want \(32, 192\)"),
    ("h @ self.weight_", "h @ self.weight_ / 0", "__call__ returned NaN or infinity"),
    ("h @ self.weight_", "3", "__call__ returned int"),
    ("h @ self.weight_", "h @ self.weight_.T", "__call__ fails: RuntimeError"),
    ("    def fit(", "    def __init__(self, x): pass\n    def fit(", "__init__ fails: TypeError"),
    (
        "    def fit(",
        "    def transfer(self, p, n): return self(p)\n    def fit(",
        r"transfer gave \(16, 192\)",
    ),
]


def written(tmp_path, code):
    (tmp_path / "mine.py").write_text(code)
    return f"{tmp_path / 'mine.py'}:Mine"


@pytest.mark.parametrize(("old", "new", "message"), FAULTS)
def test_faults_are_told_before_a_model_is_loaded(tmp_path, monkeypatch, old, new, message):
    assert old in GOOD
    spec = written(tmp_path, GOOD.replace(old, new, 1))
    monkeypatch.setattr(Models, "get", lambda *_: pytest.fail("a model was loaded"))
    suite = find_suite("nano")
    suite = suite.model_copy(update={"pairs": suite.pairs[:1]})
    with pytest.raises(UserError, match=message):
        Evaluation(suite, RunConfig(mappings=[spec], out=tmp_path / "out")).run()
    assert not (tmp_path / "out").exists()


def test_a_sound_mapping_passes_and_is_not_changed(tmp_path):
    row = mapping_row(written(tmp_path, GOOD))
    before = torch.random.get_rng_state()
    check_mapping(row, (24, 16))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert row.mappings == []


def test_where_widths_are_not_known_a_mapping_of_fixed_widths_is_only_made(tmp_path):
    fixed = (
        HEAD
        + """
    def fit(self, states):
        assert states.d_source == 2304
    def __call__(self, h):
        return h
"""
    )
    check_mapping(mapping_row(written(tmp_path, fixed)), None)
    with pytest.raises(UserError, match="__init__ fails"):
        check_mapping(
            mapping_row(
                written(
                    tmp_path,
                    HEAD + "    def __init__(self): 1 / 0\n"
                    "    def fit(self, s): pass\n    def __call__(self, h): return h\n",
                )
            ),
            None,
        )


def test_widths_come_from_the_family_and_from_folders_alone(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text(json.dumps({"hidden_size": 48}))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text("[" * 10_000)

    def of(source, target, **more):
        return widths(
            PairSpec(name="p", source=source, target=target, **more), {"org/n": str(tmp_path / "m")}
        )

    assert of("nano/S", "nano/L") == (96, 192)
    assert of("nano/S", str(tmp_path / "m")) == (96, 48)
    assert of("org/n@main", "nano/L", source_layers=(1, 2)) == (96, 192)
    assert of("nano/S", "org/elsewhere") is None
    assert of("nano/S", str(tmp_path / "bad")) is None
    assert of("nano/S", "nano/L", source_layers="all") is None


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name not in ("mlp", "autoencoder")])
def test_random_states_are_fit_for_every_closed_form(name):
    row = mapping_row(name)
    states = random_states(24, 16)
    mapping = row.fitted(states, 0)
    x, y = states.validation
    row.check_output(mapping, x, 16)
    row.check_transfer(mapping, x, 16)
    if name != "orthogonal":
        assert (mapping(x) - y).square().mean() < 0.1 * y.square().mean()

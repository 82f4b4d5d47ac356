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
from lrt_bench.mappings import BUILT_IN, find_mapping
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


def test_widths_come_from_configurations_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    configurations = {
        "m": {"model_type": "llama", "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4},
        "old": {"model_type": "gpt2", "n_embd": 40, "n_layer": 5, "n_head": 4},
        "vision": {"model_type": "gemma3", "text_config": {"hidden_size": 56}},
        "own": {"model_type": "own_lm", "hidden_size": 8, "auto_map": {"AutoConfig": "code.Own"}},
        "strange": {"model_type": "llama", "hidden_size": "x"},
    }
    for name, fields in configurations.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(fields))
        (tmp_path / name / "model.safetensors").touch()
    (tmp_path / "own" / "code.py").write_text("raise SystemExit('its code ran')")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text("[" * 10_000)
    (tmp_path / "bad" / "model.safetensors").touch()

    def of(source, target, **more):
        return widths(
            PairSpec(name="p", source=source, target=target, **more), {"org/n": str(tmp_path / "m")}
        )

    assert of("nano/S", "nano/L") == (96, 192)
    assert of("nano/S", str(tmp_path / "m")) == (96, 48)
    assert of(str(tmp_path / "old"), str(tmp_path / "vision")) == (40, 56)
    assert of("nano/S", f"planted-widening:{tmp_path / 'm'}") == (96, 72)
    assert of("nano/S", "planted-rotation:nano/S") == (96, 96)
    assert of("org/n@main", "nano/L", source_layers=(1, 2)) == (96, 192)
    assert of("nano/S", "nano/L", source_layers="all") == (288, 192)
    assert of(str(tmp_path / "old"), "nano/L", source_layers="all") == (200, 192)
    for unknown in ("org/elsewhere", *(str(tmp_path / name) for name in ("bad", "own", "strange"))):
        assert of("nano/S", unknown) is None, unknown


@pytest.mark.parametrize("name", [name for name in BUILT_IN if not find_mapping(name).stochastic])
def test_random_states_are_fit_for_every_closed_form(name):
    row = mapping_row(name)
    states = random_states(24, 16)
    mapping = row.fitted(states, 0)
    x, y = states.validation
    row.check_output(mapping, x, 16)
    row.check_transfer(mapping, x, 16)
    if not name.startswith("orthogonal"):  # a rotation cannot follow a random map
        assert (mapping(x) - y).square().mean() < 0.1 * y.square().mean()

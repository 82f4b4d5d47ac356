"""The Python interface: its names, its examples, its types."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import lrt_bench
from lrt_bench import LinearMapping, Mapping, Pair, Site, concept_vector, evaluate, fit, transfer
from lrt_bench.errors import UserError


@pytest.mark.parametrize("module", ["lrt_bench", "lrt_bench.api"])
def test_the_examples_in_the_documentation_are_true(module):
    outcome = doctest.testmod(importlib.import_module(module), raise_on_error=False)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_public_names_are_there_and_cost_nothing():
    code = (
        "import sys, lrt_bench\n"
        "assert not {'torch', 'transformers', 'pydantic', 'numpy'} & set(sys.modules), 'heavy'\n"
        "for name in lrt_bench.__all__: assert getattr(lrt_bench, name) is not None, name\n"
        "import pkgutil\n"
        "modules = {module.name for module in pkgutil.iter_modules(lrt_bench.__path__)}\n"
        "assert not modules & set(lrt_bench.__all__), 'importing it would hide the public name'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        lrt_bench.nonsense  # noqa: B018
    assert set(lrt_bench.__all__) <= set(dir(lrt_bench))
    assert (Path(lrt_bench.__file__).parent / "py.typed").is_file()


def test_sites_by_text_and_by_hand_are_the_same(nano):
    pair = Pair("nano/S:2/3", Site(nano("S"), 3))
    assert pair.source_site.layer == 2
    assert pair.specs == ("nano/S", "nano/S")
    assert Pair("nano/L", "nano/S").source_site.layer == 4  # 70% of 6 layers


def test_a_side_that_is_no_single_layer_is_refused(nano):
    from lrt_bench.models.sites import many_layers

    with pytest.raises(UserError, match="source: a steering vector lives at one layer"):
        Pair(many_layers(nano("S"), "all"), "nano/S")
    with pytest.raises(UserError, match="target: layer 9 is out of range"):
        Pair("nano/S", "nano/S:9").target_site  # noqa: B018


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("nano/S:0", "nano/S", "source: nano/S:0: layer 0: give one counted from 1"),
        ("nano/S", "nano/S:9/0", "target: nano/S:9/0: layer 9/0"),
        ("nano/S", "", "target: no model is named"),
        (":3", " ", "no model is named"),
        (None, "nano/S", "source: NoneType is no site"),
        ("nano/S", 3, "target: int is no site"),
    ],
)
def test_sites_are_checked_when_a_pair_is_made(source, target, message):
    """No model is loaded for it."""
    with pytest.raises(UserError, match=message):
        Pair(source, target)


class Mine(LinearMapping):
    """Ridge of a fixed strength."""

    def __init__(self, strength: float = 1e-3) -> None:
        self.strength = strength

    def solve(self, states):
        moments = states.moments
        damped = moments.s_xx + self.strength * moments.s_xx.trace() / len(moments.s_xx) * torch.eye(
            len(moments.s_xx)
        )
        return torch.linalg.solve(damped, moments.s_xy).T


PAIR = "nano/S:2", "planted-rotation:nano/S:2"


def test_a_mapping_is_a_name_a_class_or_an_instance():
    pair = Pair(*PAIR)
    instance = Mine(1e-4)
    fitted = {given: fit(pair, given, tokens=300) for given in ("ridge", Mine, instance)}
    assert [one.card.mapping for one in fitted.values()] == ["ridge", "test_api.Mine", "test_api.Mine"]
    assert torch.equal(fitted[Mine].mapping.weight, fit(pair, Mine(), tokens=300).mapping.weight)
    assert not torch.equal(fitted[Mine].mapping.weight, fitted[instance].mapping.weight)
    assert not hasattr(instance, "weight"), "a copy is fitted"
    vector = concept_vector(pair.source_site, "It was good.", ["It was bad."])
    assert torch.equal(
        transfer(vector, fitted[Mine]).at(), transfer(vector, fit(pair, Mine, tokens=300)).at()
    )
    assert fit(pair, type(fitted["ridge"].mapping), tokens=300).card.mapping == "ridge"


def test_evaluate_takes_them_alone_or_in_lists(tmp_path):
    pair = Pair(*PAIR)

    def names(mappings, **more):
        rows = evaluate(pair, mappings, tasks="person", tokens=300, **more)
        return {row.mapping.name: row for row in rows if not row.mapping.control}

    assert list(names("ridge")) == ["ridge"]
    assert list(names(Mine)) == ["test_api.Mine"]
    both = names(["ridge", Mine(1e-4)], out=tmp_path, seed=1, batch_size=32)
    assert list(both) == ["ridge", "test_api.Mine"]
    assert both["test_api.Mine"].transfer_score == pytest.approx(both["ridge"].transfer_score, abs=3)
    again, other = (
        names([Mine(1e-4)], out=tmp_path, seed=1, batch_size=32),
        names([Mine(1.0)], out=tmp_path, seed=1, batch_size=32),
    )
    assert again["test_api.Mine"].key == both["test_api.Mine"].key
    assert other["test_api.Mine"].key != again["test_api.Mine"].key, (
        "an instance's attributes are part of the key"
    )
    assert other["test_api.Mine"].mapping.digest != again["test_api.Mine"].mapping.digest


class Counting(Mine):
    """Says how many threads it was fitted with."""

    threads: ClassVar[list[int]] = []

    def solve(self, states):
        self.threads.append(torch.get_num_threads())
        return super().solve(states)


def test_small_models_are_scored_on_one_thread_and_the_threads_are_given_back():
    held = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        evaluate(Pair("nano/S:2", "planted-rotation:nano/S:2"), Counting, tasks="person", tokens=2000)
        assert set(Counting.threads) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(held)


class Half(Mapping):
    def fit(self, states): ...


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("rigde", "mapping rigde: no such mapping"),
        (dict, "dict is no mapping"),
        (3, "int is no mapping"),
        (Half, "Half does not define __call__"),
    ],
)
def test_what_is_no_mapping_is_one_line(given, message):
    pair = Pair(*PAIR)
    for call in (lambda: fit(pair, given, tokens=300), lambda: evaluate(pair, [given], tokens=300)):
        with pytest.raises(UserError, match=message) as caught:
            call()
        assert "--" not in str(caught.value), "an error of the Python interface names a flag"
    with pytest.raises(UserError, match="give a name, a class or an instance"):
        evaluate(pair, [])
    with pytest.raises(UserError, match="tokens 100: give 200 or more"):
        fit(pair, tokens=100)
    with pytest.raises(TypeError, match="nonsense"):
        evaluate(pair, nonsense=1)


def test_a_string_is_one_text(nano):
    site = Site(nano("S"), 3)
    text, other = "The sailor is wonderful. It was a", "The sailor is terrible. It was a"
    one, listed = concept_vector(site, text, other), concept_vector(site, [text], (other,))
    assert torch.equal(one.at(), listed.at())
    assert one.provenance["texts"] == [1, 1]
    for positive, negative, message in [
        ([], other, "positive: a concept wants at least one"),
        (text, [" "], "negative: text 1 is empty"),
        ([text, 3], other, "positive: text 2 is empty or no text"),
        (text, text, "zero: it has no direction"),
    ]:
        with pytest.raises(UserError, match=message):
            concept_vector(site, positive, negative)
    with pytest.raises(UserError, match="site: str is no site"):
        concept_vector("nano/S", text, other)


def test_transfer_says_which_argument_is_wrong(nano):
    vector = concept_vector(Site(nano("S"), 3), "good", "bad")
    with pytest.raises(
        UserError, match="got SteeringVector, str: give a SteeringVector, and a FittedMap or a Pair"
    ):
        transfer(vector, "ridge")


def test_an_error_is_one_line_of_visible_characters():
    assert str(UserError("a\n b\x1b[31m\x00 \ud800 café")) == "a b\N{REPLACEMENT CHARACTER}[31m" + (
        "\N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER} café"
    )

"""A handful of decoders against plain transformers; `python -m scripts.decoders` checks them all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scripts.decoders.check import TOLERANCE, Verdict, verdict
from scripts.decoders.configurations import CONFIGURATIONS

BY_NAME = {configuration.name: configuration for configuration in CONFIGURATIONS}
PAGE = Path(__file__).parents[2] / "docs" / "decoders.md"


@pytest.mark.parametrize(
    ("name", "cached", "one_length"),
    [
        ("bloom", False, False),  # ALiBi of the batch's size, and of the whole text
        ("xglm", False, False),  # masks of the batch's size
        ("gemma3, with a vision tower of as many blocks", True, False),
        ("phi3, long rotary from 12 tokens", False, True),
        ("mamba", False, False),  # a state beside keys and values
        ("llama4, text", False, False),  # attention in chunks
        ("granite", True, False),  # scaled logits
        ("bart, decoder alone", False, False),
    ],
)
def test_a_decoder_is_run_as_transformers_runs_it(name, cached, one_length):
    checked = verdict(BY_NAME[name])
    assert checked.refused is None
    assert checked.states <= TOLERANCE
    assert checked.logits <= TOLERANCE
    assert checked.tokens
    assert (checked.cached, checked.one_length) == (cached, one_length)


@pytest.mark.parametrize("name", ["rwkv", "bert, in both directions", "gemma3n, text"])
def test_what_cannot_be_run_in_parts_is_refused_in_one_line(name):
    checked = verdict(BY_NAME[name])
    assert checked.refused is not None
    assert "\n" not in checked.refused
    assert "not supported" in checked.refused


def test_a_gap_does_not_hold():
    whole = {"states": 1e-7, "logits": 1e-7, "tokens": True}
    assert Verdict("x", **whole).holds
    for changed in ({"states": 1e-3}, {"logits": 1e-3}, {"tokens": False}):
        assert not Verdict("x", **whole | changed).holds
    assert not Verdict("x", states=torch.nan, logits=0.0, tokens=True).holds
    assert not Verdict("x", refused="two\nlines").holds


def test_the_page_has_every_configuration_and_all_hold():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][2:]
    named = [line.split(" | ")[0].removeprefix("| ") for line in rows]
    assert len(named) >= 60
    assert set(named) <= set(BY_NAME)
    assert not any("OTHER" in line for line in rows)
    for line in rows:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[1] == "refused" or max(float(cells[1]), float(cells[2])) <= TOLERANCE

"""Options of refusal scorers: what is wrong with them is one line."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from lrt_bench.cli.main import main


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--judge-url", "http://h/v1"], "a judge wants both --judge-url and --judge-model"),
        (["--judge-model", "m"], "a judge wants both --judge-url and --judge-model"),
        (["--judge-url", "h", "--judge-model", "m"], "--judge-url: want an address"),
        (["--classifier", "nowhere"], "--classifier nowhere: not a model folder"),
    ],
)
def test_wrong_flags_are_one_line(options, message):
    outcome = CliRunner().invoke(main, ["evaluate", "--suite", "nano-refusal", *options])
    assert outcome.exit_code == 2
    assert message in outcome.output

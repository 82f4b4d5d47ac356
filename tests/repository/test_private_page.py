"""The pages on private models and on the sandbox say what was measured."""

from __future__ import annotations

import sys

import pytest
from doc_commands import ROOT


@pytest.fixture(scope="module")
def page():
    sys.path.insert(0, str(ROOT / "docs" / "private"))
    import private_page

    yield private_page
    sys.path.remove(str(ROOT / "docs" / "private"))


def test_the_pages_say_what_was_measured(page):
    for path, text in page.pages().items():
        assert path.read_text(encoding="utf-8") == text, "run python docs/private/private_page.py"


def test_stored_answers_gain_less_than_a_point_on_top_of_any_built_in_map(page):
    """But for the one that the page sets apart, because it is worth nothing with them either."""
    trial = page.Trial(page.found("trial"))
    room = trial.room(page.REFERENCES, page.supported, new=False)
    assert len({name for _, name in room}) > 12
    assert max(room.values()) < 1
    assert max(trial.room(page.FORMER, page.averaged, new=False).values()) > 5  # as it was


def test_no_honest_draw_was_flagged(page):
    methods = page.found("draws")["methods"]
    assert {"ridge", "orthogonal", "mlp", "fourier-ridge"} <= methods.keys()
    assert all(one["draws"] >= 20 and one["flags"] == 0 for one in methods.values())

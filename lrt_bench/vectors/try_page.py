"""A tryout as one page: no script, nothing fetched, every token's shift as colour and number."""

from __future__ import annotations

from lrt_bench._version import __version__
from lrt_bench.files.resources import PACKAGE
from lrt_bench.files.templates import template_environment
from lrt_bench.vectors.tryout import Tryout

FULL = 2.0  # nats at which the colour is full


def colour(shift: float) -> str:
    """Return a background for a shift in nats: orange where the token got likelier, blue where less so.

    It stays light enough for black text at any shift (contrast above 7 to 1).
    """
    share = min(1.0, abs(shift) / FULL)
    full = (255, 170, 70) if shift > 0 else (120, 190, 255)
    mixed = (round(255 + (channel - 255) * share) for channel in full)
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def render_page(tryout: Tryout) -> str:
    """Return the page as HTML; whatever prompts and texts hold is escaped."""
    environment = template_environment(PACKAGE / "vectors" / "templates")
    environment.filters |= {"colour": colour}
    rows = list(zip(tryout.prompts, tryout.attempts, strict=True))
    template = environment.get_template("try.html")
    return template.render(tryout=tryout, rows=rows, version=__version__, full=FULL)

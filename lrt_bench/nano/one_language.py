"""Text of the embedded grammar in one of its languages alone: what a map may know of the other without it.

It stands beside the grammar and not in it: a corpus' digest is of the grammar's file.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from lrt_bench.nano.grammar import Latents, Writer

LANGUAGES = {"english": "en", "french": "fr"}


def documents(language: str, seed: int) -> Iterator[str]:
    """Yield documents of prose without end, of six to eleven sentences each, in one of `LANGUAGES`."""
    code = LANGUAGES[language]
    rng = random.Random(f"lrt-bench nano corpus {seed} {code}")
    while True:
        yield Writer(rng, Latents.sample(rng, language=code)).prose(rng.randint(6, 11))

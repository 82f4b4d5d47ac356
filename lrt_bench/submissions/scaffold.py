"""A new submission's folder: a card to fill in, and a method that works."""

from __future__ import annotations

import re
from pathlib import Path

from lrt_bench.errors import UserError
from lrt_bench.files.whole import write_whole
from lrt_bench.mappings.names import is_built_in
from lrt_bench.results.schema.records import CONTROL_NAMES
from lrt_bench.submissions.folder import SubmissionCard

CARD = """\
name: {name}
authors: [Your Name]
link: https://example.org/your-paper-or-code
licence: Apache-2.0
description: One line for the leaderboard's table.
track: {track}   # corpus: code that we fit; weights: maps that you fitted, ranked apart
pairs: [{pairs}]   # none named: every pair
seed: 0
notes: |
  What a reader should know: what it assumes, what it costs, where it fails.
"""

CODE = '''\
"""{name}: ridge regression, as an example. Replace it with your method."""

from __future__ import annotations

from torch import Tensor

from lrt_bench import LinearMapping
from lrt_bench.mappings.base import Spectrum, validation_error


class {cls}(LinearMapping):
    """A linear map is its weight [d_target, d_source]; the bias follows from the means.

    `states.moments` are of every fit pair (n, mean_x, mean_y, s_xx, s_xy, s_yy; float64),
    `states.batches(size, seed)` shuffled pairs (x, y) of a bounded sample (float32), and
    `states.validation` source and target states of other documents.

    A map that is not linear inherits from `lrt_bench.Mapping` and defines `fit(self, states)` and
    `__call__(self, h)`, [..., d_source] to [..., d_target]. If another seed gives another fit, it says
    `stochastic = True` and draws all that is random from `self.seed`.
    """

    def solve(self, states) -> Tensor:
        spectrum = Spectrum(states.moments)
        weights = [spectrum.weight(10.0**exponent) for exponent in range(-8, 2)]
        errors = validation_error(states, weights)
        return weights[min(range(len(errors)), key=errors.__getitem__)]
'''


UNFILLED = {  # what the scaffold leaves to its author, by field, and how it begins there
    "authors": "Your Name",
    "link": "https://example.org/your-paper-or-code",
    "description": "One line for the leaderboard's table.",
    "notes": "What a reader should know: what it assumes",
}


def unfilled(card: SubmissionCard) -> list[str]:
    """Return a line for each field of a card that is as the scaffold left it."""
    values = {name: getattr(card, name) for name in UNFILLED}
    texts = {name: " ".join(v) if isinstance(v, tuple) else str(v or "") for name, v in values.items()}
    return [
        f"submission.yaml: field {name}: still as `submit new` left it ({begins}): write your own"
        for name, begins in UNFILLED.items()
        if begins in texts[name]
    ]


def new_submission(
    name: str, parent: Path, weights: Path | None = None, pair: str | None = None
) -> list[Path]:
    """Write the scaffold of a submission; with `weights`, of fitted weights for `pair`.

    Returns the paths of its files.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,59}", name):
        raise UserError(f"submit new {name}: a name is lower-case letters, digits and hyphens, at most 60")
    if is_built_in(name) or name in CONTROL_NAMES:
        raise UserError(f"submit new {name}: a built-in row has that name; choose another")
    if (weights is None) != (pair is None):
        raise UserError("submit new: fitted weights are for a pair: give both --weights and --pair")
    folder = parent / name
    if folder.exists():
        raise UserError(f"{folder}: is already there; choose another name")
    track = "weights" if weights else "corpus"
    files = {"submission.yaml": CARD.format(name=name, track=track, pairs=pair or "").encode()}
    if weights:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", pair or ""):
            raise UserError(f"--pair {pair}: not a pair's name")
        files[f"weights/{pair}.safetensors"] = weights.read_bytes()
    else:
        cls = "".join(part.capitalize() for part in name.split("-"))
        cls = cls if cls[0].isalpha() else f"Map{cls}"
        files["mapping.py"] = CODE.format(name=name, cls=cls).encode()
    for file, data in files.items():
        write_whole(folder / file, data)
    return [folder / file for file in files]

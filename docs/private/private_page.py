"""The figures of docs/private.md and docs/sandbox.md: ``python docs/private/private_page.py``.

They are computed from what scripts.submissions left beside this file: `private_trial` trial.json, `draws`
draws.json and `telling` telling.json.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import spearmanr

from lrt_bench.files.format import number, signed
from lrt_bench.files.whole import write_whole
from lrt_bench.results.metrics import Array
from lrt_bench.results.statistics.agreement import ENDS, REFERENCES, supported

HERE = Path(__file__).parent
FORMER = ("ridge", "orthogonal", "mlp", "autoencoder")
BEST = "affine-waves"
APART = "affine-with-bias"  # adds a bias to a direction, and is weak on every public pair
EARLY = ("S-L-early", "M-L-early", "L-S-early")
Curve = Callable[[Array, Array], Array]


def averaged(private: Array, references: Array) -> Array:
    """The scale as it was first: neighbours in another order on the two scales are averaged."""
    known = np.vstack([references, np.column_stack([ENDS, ENDS])])
    weight = np.concatenate([np.ones(len(references)), np.full(len(ENDS), 1e6)])
    order = np.lexsort((known[:, 0], known[:, 1]))
    fitted = isotonic_regression(known[order, 0], weights=weight[order]).x
    return np.asarray(np.interp(private, known[order, 1], fitted))


@dataclass(frozen=True)
class Trial:
    """What the trial found."""

    found: dict[str, Any]

    @property
    def maps(self) -> list[str]:
        """The built-in maps, best in private first."""
        private: dict[str, float] = self.found["private"]
        return sorted((name for name in private if not self._worse(name)), key=lambda name: -private[name])

    @property
    def worsened(self) -> tuple[str, ...]:
        """The worsened native vectors."""
        return tuple(name for name in self.found["private"] if self._worse(name))

    def _worse(self, name: str) -> bool:
        return name.startswith("worsened")

    def scores(self, pair: str, name: str) -> tuple[float, float]:
        """The public and the private score of a row."""
        return self.found["public"][pair][name], self.found["private"][name]

    def stands_for(self, pair: str, name: str, references: Sequence[str], curve: Curve) -> float:
        """Return what a row's private score stands for on a pair's scale."""
        known = np.array([self.scores(pair, one) for one in references])
        return float(curve(np.array([self.scores(pair, name)[1]]), known)[0])

    def room(self, references: Sequence[str], curve: Curve, new: bool) -> dict[tuple[str, str], float]:
        """Return, for each map and early pair, what its private score stands for less its public score.

        Above 0 it is the most that stored answers gain on top of the map; below, what the honest map pays.
        new : the map is no reference, as a method that nobody has seen is none.
        """
        return {
            (pair, name): self.stands_for(
                pair, name, [one for one in references if not new or one != name], curve
            )
            - self.scores(pair, name)[0]
            for pair in EARLY
            for name in self.maps
            if name != APART
        }

    def order(self, pair: str, names: Sequence[str]) -> float:
        """Return Spearman's correlation of public and private scores."""
        return float(spearmanr([self.scores(pair, name) for name in names]).statistic)


def family(trial: Trial) -> str:
    """Say what was trained, in what time, and whether it is steerable."""
    told = "; ".join(
        f"{one['name']} with loss {one['validation_loss']:.2f} after {one['tokens'] / 1e6:.0f} million "
        f"tokens, {one['steerable']} of {one['tasks']} tasks steerable"
        for one in trial.found["members"]
    )
    return _filled(
        "One family has been trained in full and scored "
        f"(commitment `{trial.found['commitment'][:12]}`): {told}. "
        f"It took {trial.found['minutes']:.0f} minutes on two cores that did other work as well. "
        "Every built-in map on both scales:"
    )


def _filled(text: str) -> str:
    return textwrap.fill(text, 116, break_long_words=False, break_on_hyphens=False)


def scores(trial: Trial) -> str:
    """Return the table of maps on both scales."""
    pairs = list(trial.found["public"])
    lines = [f"| map | private | {' | '.join(pairs)} |", "| --- | ---: |" + " ---: |" * len(pairs)]
    for name in [*trial.maps, *trial.worsened]:
        cells = [number(trial.scores(pairs[0], name)[1], 1)]
        cells += [number(trial.scores(pair, name)[0], 1) for pair in pairs]
        shown = f"*{name}*" if name in REFERENCES else name.replace("worsened-", "native at cosine 0.")
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    order = [f"{trial.order(pair, trial.maps):.2f}" for pair in pairs]
    lines.append(f"| order of all maps, Spearman | | {' | '.join(order)} |")
    return "\n".join(lines)


def scales(trial: Trial) -> str:
    """Return the table of scales: what stored answers gain under each, and what the honest pay."""
    kinds: list[tuple[str, Sequence[str], Curve]] = [
        ("four maps, averaged (as it was)", FORMER, averaged),
        ("native vectors worsened to known cosines", trial.worsened, supported),
        ("ten maps, averaged", REFERENCES, averaged),
        ("**ten maps, never above one (as it is)**", REFERENCES, supported),
        ("all maps, never above one", trial.maps, supported),
    ]
    lines = [
        f"| scale | on a built-in map, most | on a new map, mean | most | on {BEST} as a new map | pay |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for label, references, curve in kinds:
        known, new = (trial.room(references, curve, new=new) for new in (False, True))
        best = {key: room for key, room in new.items() if key[1] == BEST}
        gains, pays = ([max(0.0, sign * room) for room in new.values()] for sign in (1, -1))
        mean, pay = (number(float(np.mean(each)), 1) for each in (gains, pays))
        lines.append(f"| {label} | {_most(known)} | {mean} | {_most(new)} | {_most(best)} | {pay} |")
    return "\n".join(lines)


def _most(room: dict[tuple[str, str], float]) -> str:
    (pair, name), most = max(room.items(), key=lambda item: item[1])
    return f"{number(max(0.0, most), 1)}" + (f" ({name}, {pair})" if most >= 0.05 else "")


def stored(trial: Trial) -> str:
    """Return the table of entries with stored answers."""
    lines = ["| pair | entry | public | gap | counted | gain |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    for pair, entries in trial.found["stored"].items():
        honest = {}
        for name, one in entries.items():
            base, _, share = name.removesuffix("-stored").rpartition("-")
            is_honest = not name.endswith("-stored")
            if is_honest:
                honest[name] = one["counted"]
            refused = one["gap"] > one["half"] or 2 * one["half"] > 60
            cells = [
                pair, f"{name}, honest" if is_honest else f"{base}, {share}% stored",
                number(one["public"], 1),
                f"{signed(one['gap'], 1)} ± {number(one['half'], 1)}" + (", refused" if refused else ""),
                number(one["counted"], 1), "" if is_honest else signed(one["counted"] - honest[base], 1),
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def block(trial: Trial) -> str:
    """Return what stands between the page's markers."""
    return "\n\n".join([
        family(trial), scores(trial), _filled(STORED_SAYS), stored(trial), _filled(SCALES_SAY),
        scales(trial), weak(trial),
    ])  # fmt: skip


STORED_SAYS = (
    "Maps in *italics* are those that the scale is read from. What is recorded of entries that store a share "
    "of a public pair's native vectors and are honest in private:"
)
SCALES_SAY = (
    "Other scales were weighed on the same scores, over the three early pairs. *On* a map: the most that any "
    "amount of stored answers gains on top of it in what is counted; a *new* map is none that the scale is "
    "read from, and each map was left out in turn. *Pay*: what an honest new map loses, the mean."
)


def weak(trial: Trial) -> str:
    """Say what the map that is left out of the table would gain, and that it is worth nothing."""
    stands = {pair: trial.stands_for(pair, APART, REFERENCES, supported) for pair in EARLY}
    gains = {pair: stands[pair] - trial.scores(pair, APART)[0] for pair in EARLY}
    most = max(gains, key=lambda pair: gains[pair])
    if any(stands[pair] > trial.scores(pair, "ridge")[0] for pair in EARLY):
        raise click.ClickException(f"{APART} with stored answers would count for more than an honest ridge")
    return _filled(
        f"`{APART}` is not in this table. There is room for {number(gains[most], 1)} points of stored "
        f"answers on top of it ({most}), and with them it counts for less than an honest `ridge`, on each."
    )


def audits(drawn: dict[str, Any], told: dict[str, Any]) -> str:
    """Say what audits make of honest methods, and how well decoys hide."""
    methods: dict[str, Any] = drawn["methods"]
    flags, draws = (sum(one[name] for one in methods.values()) for name in ("flags", "draws"))
    most = "; ".join(
        f"`{name}` {signed(max(one['most'].values()), 1)}, {one['flags']} of {one['draws']}"
        for name, one in methods.items()
    )
    paragraphs = [
        f"Honest methods, submitted as code and audited on {drawn['pair']}: {flags} flags in {draws} draws. "
        f"The most that any view took from one, in points, and its flags: {most}. "
        "A flag wants a point, clear of 0."
    ]
    for suite, one in told.items():
        areas = [task["area"] for task in one["tasks"].values() if task["area"] is not None]
        few = sum(task["decoys"] < 1 for task in one["tasks"].values())
        paragraphs.append(
            f"Decoys of suite `{suite}` ({one['model']}, layer {one['layer']}): a classifier trained on the "
            f"labels tells a task's states from decoys with an AUC of {min(areas):.2f} to {max(areas):.2f}, "
            f"and all at once with {one['all']['area']:.2f}. {few} of {len(one['tasks'])} tasks have fewer "
            "decoys than states."
        )
    return "\n\n".join(_filled(text) for text in paragraphs)


def written(page: Path, name: str, text: str) -> str:
    """Return a page with what stands between two markers replaced."""
    begin, end = f"<!-- {name}: docs/private/private_page.py -->", "<!-- end -->"
    before, marked, rest = page.read_text(encoding="utf-8").partition(begin)
    if not marked or end not in rest:
        raise click.ClickException(f"{page}: the markers {begin} ... {end} are not there")
    return f"{before}{begin}\n{text}\n{rest[rest.index(end) :]}"


def found(name: str) -> dict[str, Any]:
    """Return the figures of a file beside this one."""
    read: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return read


def pages() -> dict[Path, str]:
    """Return the two pages as they are to be."""
    private, sandbox = (HERE.parent / f"{name}.md" for name in ("private", "sandbox"))
    return {
        private: written(private, "trial", block(Trial(found("trial")))),
        sandbox: written(sandbox, "audits", audits(found("draws"), found("telling"))),
    }


def main() -> None:
    """Write the figures into docs/private.md and docs/sandbox.md."""
    for path, text in pages().items():
        write_whole(path, text.encode())


if __name__ == "__main__":
    sys.exit(main())

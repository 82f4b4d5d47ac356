"""The pieces of HTML that stand on pages by the ten thousand: a result's row, its score, a task's figures.

Templates have the rest; in them these would cost most of a large board's build. All text is escaped here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from markupsafe import Markup, escape

from lrt_bench.leaderboard.entries import Entry, slug
from lrt_bench.leaderboard.numbers import count, number, seconds
from lrt_bench.results.records import SiteRecord, TaskScores

TIE = '<span title="shares its rank: the paired difference\'s interval holds 0">=</span>'
NOT_STEERABLE = (
    ' <abbr title="native steering is not clear of random directions here: it counts nowhere">'
    "not steerable</abbr>"
)


@functools.lru_cache(maxsize=4096)
def name(text: str) -> str:
    """A name of a stranger's, escaped, kept from turning the text around it."""
    return f"<bdi>{escape(text)}</bdi>"


def score(entry: Entry) -> Markup:
    """Transfer Score, its interval in figures and drawn."""
    value, ci95 = entry.result.transfer_score, entry.ci95
    if value is None:
        return Markup("–")
    text = f'<span class="value">{number(value, 1)}</span>'
    if ci95:
        low, high = ci95
        text += (
            f' <span class="range">[{number(low, 1)}, {number(high, 1)}]</span>'
            f'<span class="bar" aria-hidden="true" style="--at:{value:.1f};--lo:{low:.1f};--hi:{high:.1f}">'
            "<i></i><b></b></span>"
        )
    return Markup(text)


def rank(entry: Entry) -> Markup:
    """Its rank, with = where it is shared; why it has none."""
    if entry.rank:
        return Markup(f"{entry.rank}{TIE if entry.tied else ''}")
    if entry.unranked:
        return Markup(f'<abbr title="{escape(entry.unranked)}">not ranked</abbr>')
    return Markup('<span class="quiet">control</span>')


def state(entry: Entry) -> Markup:
    """Claimed, reproduced or verified."""
    if entry.result.mapping.control:
        return Markup('<span class="quiet">control</span>')
    return Markup(f'<span class="state {escape(entry.state)}">{escape(entry.state)}</span>')


@functools.lru_cache(maxsize=4096)
def site(record: SiteRecord) -> Markup:
    """A model and its layer."""
    return Markup(
        f"{name(record.model)}, layer {record.where} ({100 * record.depth:.0f}% depth), "
        f"width {record.width}, {count(record.parameters)} parameters"
    )


def row(entry: Entry, root: str, with_pair: bool) -> Markup:
    """A result's row in a table of results; macros.html has the heads."""
    result = entry.result
    mapping, pair = result.mapping, f"{slug(result.suite)}--{slug(result.pair.name)}"
    kind = ' class="control"' if mapping.control else "" if entry.rank else ' class="unranked"'
    link = f'<td class="pair"><a href="{root}pairs/{pair}.html">{name(result.pair.name)}</a></td>'
    fit = seconds(result.cost.fit_seconds) if result.fidelity else "–"
    figures = (number(result.steering_r2), number(result.correlation_delta), number(result.fvu), fit)
    return Markup(
        f"<tr{kind}>{link if with_pair else ''}<td>{rank(entry)}</td>"
        f'<th scope="row"><a href="{root}mappings/{slug(mapping.name)}.html#{pair}">'
        f"{name(mapping.name)}</a></th>"
        f'<td class="num">{score(entry)}</td>{cells(figures, "num wide")}<td class="wide">{state(entry)}</td>'
        f'<td class="wide date">{escape(result.provenance.created[:10])}</td></tr>'
    )


def task_row(task: TaskScores) -> Markup:
    """A task's figures on one pair, in a mapping's page."""
    figures = (
        number(task.steering_r2),
        number(task.ceiling_r2),
        number(task.correlation_delta),
        number(task.concordance),
        number(task.slope_ratio, 2),
        f"{100 * task.anti_steerable:.0f}%",
        number(task.cosine),
        number(task.norm_ratio, 2),
        number(task.correlation),
        f"{task.prompts} ({task.failures} failed)" if task.failures else str(task.prompts),
    )
    return Markup(
        f"<tr{'' if task.steerable else ' class=unranked'}>"
        f'<th scope="row"><a href="../tasks/{slug(task.task)}.html">{name(task.task)}</a>'
        f"{'' if task.steerable else NOT_STEERABLE}</th>{cells(figures, 'num')}</tr>"
    )


def cells(figures: Iterable[str], kind: str) -> str:
    """Figures, which need no escaping, as cells."""
    return "".join([f'<td class="{kind}">{figure}</td>' for figure in figures])

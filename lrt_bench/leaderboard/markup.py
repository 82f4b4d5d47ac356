"""The pieces of HTML that stand on pages by the ten thousand: a result's row, its score, a task's scores.

Templates have the rest; in them these would cost most of a large board's build. All text is escaped here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from markupsafe import Markup, escape

from lrt_bench.files.format import DASH, count, number, seconds
from lrt_bench.files.names import pair_slug, slug
from lrt_bench.leaderboard.front.kinds import layer_of, model_card
from lrt_bench.results.schema.records import SiteRecord, TaskScores

Row = dict[str, Any]  # of `Board.frame`, None where a value is missing
TIE = '<span title="another mapping has the same rank">=</span>'
NOT_STEERABLE = (
    ' <abbr title="native steering is not clear of chance here: it counts nowhere">not steerable</abbr>'
)


@functools.lru_cache(maxsize=4096)  # bounded, and of the text alone
def name(text: str) -> str:
    """Return a name of a stranger's, escaped, kept from turning the text around it."""
    return f"<bdi>{escape(text)}</bdi>"


def figure(row: Row) -> Markup:
    """Transfer Score and its interval in numbers."""
    value, low, high = row["transfer_score"], row["ci95_low"], row["ci95_high"]
    if value is None:
        return Markup(DASH)
    text = f'<span class="value">{number(value, 1)}</span>'
    if low is not None:
        text += f' <span class="range">[{number(low, 1)}, {number(high, 1)}]</span>'
    return Markup(text)


def bar(row: Row) -> Markup:
    """Transfer Score and its interval drawn between floor and ceiling; nothing without an interval."""
    value, low, high = row["transfer_score"], row["ci95_low"], row["ci95_high"]
    if value is None or low is None:
        return Markup("")
    at = f"--at:{value:.1f};--lo:{low:.1f};--hi:{high:.1f}"
    return Markup(f'<span class="bar" aria-hidden="true" style="{at}"><b></b><i></i></span>')


def score(row: Row) -> Markup:
    """Transfer Score, its interval in numbers and drawn."""
    return figure(row) + bar(row)


def rank(row: Row) -> Markup:
    """Its rank, with = where it is shared; why it has none."""
    if row["rank"]:
        return Markup(f"{row['rank']}{TIE if row['tied'] else ''}")
    if row["unranked"]:
        return Markup(f'<abbr title="{escape(row["unranked"])}">not ranked</abbr>')
    return Markup('<span class="quiet">control</span>')


def groups(row: Row) -> str:
    """Return its letters: rows with one in common are not separable."""
    if not row["groups"]:
        return ""
    return (
        f' <span class="quiet" title="not separable from rows with a letter in common">{row["groups"]}</span>'
    )


def state(row: Row) -> Markup:
    """Claimed, reproduced or verified."""
    if row["control"]:
        return Markup('<span class="quiet">control</span>')
    return Markup(f'<span class="state {escape(row["state"])}">{escape(row["state"])}</span>')


def _model(text: str) -> str:
    """Return a model's name, with a link to its card where it has one."""
    card = model_card(text)
    return (
        name(text) if card is None else f'<a href="{escape(card)}" rel="noopener noreferrer">{name(text)}</a>'
    )


@functools.lru_cache(maxsize=4096)  # bounded, and of the record alone
def site(record: SiteRecord) -> Markup:
    """Return a model and its layer."""
    return Markup(
        f"{_model(record.model)}, {layer_of(record)} ({100 * record.depth:.0f}% depth), "
        f"width {record.width}, {count(record.parameters)} parameters"
    )


def gap(row: Row) -> Markup:
    """Score less what the private one supports, with its interval; a submission without one says so."""
    if row["private_gap"] is None:
        missing = row["origin"] == "submission" and row["track"] != "weights"
        return Markup('<span class="quiet">not scored</span>' if missing else DASH)
    ends = f"[{number(row['private_gap_low'], 1)}, {number(row['private_gap_high'], 1)}]"
    supported = f"{number(row['private_score'], 1)}, which supports {number(row['supported_score'], 1)}"
    text = f'{number(row["private_gap"], 1)} <span class="range">{ends}</span>'
    return Markup(f'<span title="private score {supported}">{text}</span>')


def fresh(row: Row) -> Markup:
    """Score on drawn concepts."""
    if row["fresh_score"] is None:
        return Markup(DASH)
    title = f"{row['fresh_concepts']} concepts of the draw {row['fresh_draw'][:8]}"
    return Markup(f'<span title="{title}">{number(row["fresh_score"], 1)}</span>')


def result_row(row: Row, root: str, with_pair: bool, unseen: bool = False) -> Markup:
    """Return a result's row in a table of results; macros.html has the heads.

    unseen : whether the table has the columns of scores on what nobody had seen.
    """
    pair = pair_slug(row["suite"], row["pair"])
    kind = ' class="control"' if row["control"] else "" if row["rank"] else ' class="unranked"'
    link = f'<td class="pair"><a href="{root}pairs/{pair}.html">{name(row["pair"])}</a></td>'
    fit = DASH if row["fvu"] is None else seconds(row["fit_seconds"])
    kinds = ("num wide", "num wider", "num wide", "num wide")
    scores = (*(number(row[key]) for key in ("steering_r2", "correlation_delta", "fvu")), fit)
    beside = "".join([f'<td class="{kind}">{text}</td>' for kind, text in zip(kinds, scores, strict=True)])
    unseen_cells = cells((fresh(row), gap(row)), "num wide") if unseen else ""
    return Markup(
        f"<tr{kind}>{link if with_pair else ''}<td>{rank(row)}{'' if with_pair else groups(row)}</td>"
        f'<th scope="row"><a href="{root}mappings/{slug(row["mapping"])}.html#{pair}">'
        f"{name(row['mapping'])}</a></th>"
        f'<td class="num">{score(row)}</td>{unseen_cells}{beside}<td class="wider">{state(row)}</td>'
        f'<td class="wider date">{escape(row["created"][:10])}</td></tr>'
    )


def task_row(task: TaskScores) -> Markup:
    """Return a task's scores on one pair, in a mapping's page."""
    scores = (
        number(task.share),
        number(task.ceiling_share),
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
        f"{'' if task.steerable else NOT_STEERABLE}</th>{cells(scores, 'num')}</tr>"
    )


def cells(texts: Iterable[str], kind: str) -> str:
    """Numbers as text, which need no escaping, as cells."""
    return "".join([f'<td class="{kind}">{text}</td>' for text in texts])

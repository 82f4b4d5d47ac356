"""The front page's summary: pair by pair the maps in order, pretrained models first, known answers apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lrt_bench.leaderboard.entries import Board, Entry, PairEntries
from lrt_bench.leaderboard.front.kinds import (
    KIND_WORDS,
    KINDS,
    Kind,
    facts,
    pair_kind,
    short_name,
    title,
    weights_told,
)
from lrt_bench.results.ranking import RANKED_TRACKS

ROWS = 9  # maps in a panel; the pair's page has all
PANELS = 12  # pairs of a suite on the front page
CONTROLS = ("readout", "random")  # the floors that a panel shows: no map at all, no direction at all
HYPOTHESIS = "affine"  # the map that the paper's hypothesis is about


@dataclass(frozen=True)
class Panel:
    """One pair on the front page.

    rows : its ranked maps of one track, best first, at most `ROWS`; floors : controls that know no map.
    """

    pair: PairEntries
    track: str
    rows: list[Entry]
    more: int
    floors: list[Entry]

    @property
    def title(self) -> str:
        """Source and target in words."""
        return title(self.pair.record)

    @property
    def source(self) -> str:
        """The source model's short name."""
        return short_name(self.pair.record.source.model)

    @property
    def target(self) -> str:
        """The target model's short name."""
        return short_name(self.pair.record.target.model)

    @property
    def facts(self) -> str:
        """Kind, sizes and layers in one line, and what the weights are where the run said so."""
        return " · ".join([facts(self.pair.record), *weights_told(self.pair.entries[0].result)])

    @property
    def output_level(self) -> bool:
        """Whether a control that knows the unembeddings alone does nearly all on this pair."""
        behaviour = self.pair.entries[0].result.behaviour
        return behaviour is not None and behaviour.output_level

    @property
    def first(self) -> list[Entry]:
        """The maps that none is found better than."""
        return [entry for entry in self.rows if entry.rank == 1]

    @property
    def hypothesis(self) -> Entry | None:
        """The affine map, where it is not among the first."""
        entry = self.pair.by_name.get(HYPOTHESIS)
        return entry if entry and entry.rank and entry.rank > 1 else None


@dataclass(frozen=True)
class SuitePanels:
    """The pairs of one suite that are of one kind, those that test a representation first."""

    suite: str
    panels: list[Panel]
    more: int


@dataclass(frozen=True)
class Group:
    """All suites with pairs of one kind."""

    kind: Kind
    suites: list[SuitePanels]

    @property
    def panels(self) -> list[Panel]:
        """Its panels, suite by suite."""
        return [panel for suite in self.suites for panel in suite.panels]

    @property
    def parameters(self) -> tuple[int, int]:
        """Parameters of its smallest and its largest model."""
        records = [panel.pair.record for panel in self.panels]
        sizes = [site.parameters for record in records for site in (record.source, record.target)]
        return min(sizes), max(sizes)


def groups(board: Board) -> list[Group]:
    """Return the groups that have a ranked map, in the order of `KINDS`; suites by their largest target.

    A ladder's pairs have a page of their own, and no panel.
    """
    made = []
    for kind in KINDS:
        suites = [_suite(name, (pair for pair in pairs if pair_kind(pair.record) == kind
                                and (name, pair.name) not in board.rungs))
                  for name, pairs in board.suites.items()]  # fmt: skip
        if kept := [suite for suite in suites if suite.panels]:
            made.append(Group(kind, sorted(kept, key=_largest_target, reverse=True)))
    return made


def _largest_target(suite: SuitePanels) -> int:
    return max(panel.pair.record.target.parameters for panel in suite.panels)


def lead(made: list[Group]) -> Panel | None:
    """Return the panel that answers the page's question: the first that tests a representation."""
    panels = [panel for group in made for panel in group.panels]
    return next((panel for panel in panels if not panel.output_level), panels[0] if panels else None)


def summary(panel: Panel | None) -> str:
    """Return the page's answer in one sentence, as previews of links show it."""
    text = "Which maps carry steering vectors from one language model to another, and how sure that is."
    if panel is None:
        return text
    best = panel.rows[0]
    words = KIND_WORDS[pair_kind(panel.pair.record)]
    answer = f"{best.name} does {best.result.transfer_score:.1f} of the 100 that the target's own vector does"
    return f"{panel.title} ({words}): {answer}. {text}"


def _suite(name: str, pairs: Iterable[PairEntries]) -> SuitePanels:
    panels = [panel for pair in pairs if (panel := _panel(pair)) is not None]
    panels.sort(key=lambda panel: panel.output_level)  # stable: else in the suite's own order
    return SuitePanels(name, panels[:PANELS], max(0, len(panels) - PANELS))


def _panel(pair: PairEntries) -> Panel | None:
    for track in RANKED_TRACKS:
        rows = [entry for entry in pair.ranked if entry.result.mapping.track == track]
        rows = [entry for entry in rows if entry.result.transfer_score is not None]
        if rows:
            rows.sort(key=lambda entry: -(entry.result.transfer_score or 0))
            floors = [pair.by_name[name] for name in CONTROLS if name in pair.by_name]
            floors = [entry for entry in floors if entry.result.transfer_score is not None]
            return Panel(pair, track, rows[:ROWS], max(0, len(rows) - ROWS), floors)
    return None

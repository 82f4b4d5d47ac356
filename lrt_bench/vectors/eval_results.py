"""What a pushed map scored, as the Hub reads it of a model: `.eval_results/lrt-bench.yaml`.

The value is the Transfer Score that `lrt-bench evaluate` gave the same mapping between the same weights and
layers; the benchmark is the dataset repository that the leaderboard publishes, its tasks are pairs.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from lrt_bench.errors import UserError
from lrt_bench.files.names import pair_slug
from lrt_bench.results.ladders import on_ladders
from lrt_bench.results.schema.result import Result
from lrt_bench.results.storage import read_result, result_files
from lrt_bench.vectors.map_card import MapCard, Side

FILE = ".eval_results/lrt-bench.yaml"


def eval_results(card: MapCard, results: Path, benchmark: str) -> bytes:
    """Return the file for a map.

    Parameters
    ----------
    card : of the map.
    results : folder of results; those of other maps, weights or layers are passed over.
    benchmark : ORG/NAME of the dataset repository whose tasks the scores are of.

    Raises
    ------
    UserError
        Where no result is of this map.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    entries = [
        EvalResultEntry(
            dataset_id=benchmark,
            task_id=pair_slug(result.suite, result.pair.name),
            value=round(result.transfer_score, 2),
            date=result.provenance.created,
            notes=_notes(result, card),
        )
        for result in _of_map(card, results)
        if result.transfer_score is not None
    ]
    if not entries:
        raise UserError(
            f"--results {results}: no score of {card.mapping} between these weights and layers; "
            "run `lrt-bench evaluate` with them first"
        )
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True).encode()


def _of_map(card: MapCard, results: Path) -> list[Result]:
    if not results.is_dir():
        raise UserError(f"--results {results}: no such folder; run `lrt-bench evaluate` first")
    found = [read_result(path) for path in result_files(results) if path.stem == card.mapping]
    rungs = {id(row) for ladder in on_ladders(found) for rows in ladder.values() for row in rows}
    scored = [
        result
        for result in found
        if result.mapping.name == card.mapping
        and not result.mapping.control
        and result.complete
        and _same(result.pair.source.digest, result.pair.source.where, card.source)
        and _same(result.pair.target.digest, result.pair.target.where, card.target)
        and id(result) not in rungs  # a ladder's fits are on few tokens: it scores a method, not this map
    ]
    on_its_corpus = [result for result in scored if result.provenance.corpus == card.corpus]
    return on_its_corpus or scored


def _same(digest: str, where: str, side: Side) -> bool:
    return digest == side.digest and where == str(side.layer)


def _notes(result: Result, card: MapCard) -> str:
    """Return the interval, and how many tokens the scored fit and this map had."""
    interval = "" if result.ci95 is None else f"95% [{result.ci95[0]:.1f}, {result.ci95[1]:.1f}]; "
    return (
        f"Transfer Score, {interval}scored as fitted on {result.cost.fit_tokens} tokens, "
        f"this map on {card.fit_tokens}"
    )

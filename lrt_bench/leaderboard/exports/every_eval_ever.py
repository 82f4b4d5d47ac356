"""Results as records of Every Eval Ever (schema 0.3.0), the shared form of evaluation results.

One record a map and pair: the model is the target, the score is the Transfer Score with its interval, and the
source, the map and the layers stand in the model's details. Controls are no results, planted pairs no models.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lrt_bench.errors import UserError
from lrt_bench.files.markdown import PAPER
from lrt_bench.files.names import slug
from lrt_bench.files.whole import write_whole
from lrt_bench.leaderboard.entries import Board, Entry
from lrt_bench.leaderboard.front.kinds import model_card, model_kind, pair_kind

VERSION = "0.3.0"
METRIC = {
    "evaluation_description": "how much of what the target's own steering vector does a carried one does: "
    "0 is no steering, 100 the target's own vector",
    "metric_id": "lrt_bench.transfer_score",
    "metric_name": "Transfer Score",
    "metric_unit": "points",
    "lower_is_better": False,
    "score_type": "continuous",
    "min_score": -100.0,
    "max_score": 100.0,
}


def export(board: Board, folder: Path) -> int:
    """Write a record for each scored map under data/BENCHMARK/DEVELOPER/MODEL/, and return how many.

    Raises UserError where the board has none.
    """
    entries = list(_scored(board))
    if not entries:
        raise UserError("no map has a score on a pair whose answer is unknown: nothing to export")
    for entry in entries:
        record = _record(entry)
        developer, _, model = record["model_info"]["id"].rpartition("/")
        path = folder / "data" / "lrt-bench" / slug(developer) / slug(model) / f"{_name(entry)}.json"
        write_whole(path, json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False).encode() + b"\n")
    return len(entries)


def _scored(board: Board) -> Iterable[Entry]:
    for entry in board.entries:
        result = entry.result
        known = pair_kind(result.pair) == "planted"
        if not (known or result.mapping.control or result.transfer_score is None or entry.rank is None):
            yield entry


def _name(entry: Entry) -> str:
    """Return a UUID of version 4's form, the same for the same result."""
    digest = hashlib.sha256(f"{entry.address} {entry.scores}".encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def _record(entry: Entry) -> dict[str, Any]:
    result = entry.result
    created = datetime.datetime.fromisoformat(result.provenance.created)
    target, source = result.pair.target, result.pair.source
    model = _model_id(target.model)
    is_open = model_kind(target.model) == "toy" or model_card(target.model) is not None
    details = {
        "deployment_type": "self_deployed",
        "model_availability": "open_weights" if is_open else "unknown",
        "target_layer": target.where,
        "target_digest": target.digest,
        "source_model": source.model,
        "source_layer": source.where,
        "source_digest": source.digest,
        "mapping": entry.name,
        "mapping_kind": result.mapping.kind,
        "mapping_digest": result.mapping.digest,
        "track": result.mapping.track,
    }
    stamp = str(int(created.timestamp()))
    return {
        "schema_version": VERSION,
        "evaluation_id": f"lrt-bench/{result.suite}/{result.pair.name}/{entry.name}/{model}/{stamp}",
        "evaluation_timestamp": result.provenance.created,
        "retrieved_timestamp": stamp,
        "source_metadata": {
            "source_name": "lrt-bench leaderboard",
            "source_type": "evaluation_run",
            "source_organization_name": "The lrt-bench maintainers",
            "evaluator_relationship": "third_party",
            "additional_details": {"state": entry.state, "hypothesis": PAPER},
        },
        "eval_library": {"name": "lrt-bench", "version": result.provenance.lrt_bench},
        "model_info": {
            "name": target.model,
            "id": model,
            "inference_platform": "transformers",
            "inference_engine": {"name": "transformers", "version": result.provenance.transformers},
            "additional_details": details,
        },
        "evaluation_results": [_score(entry)],
    }


def _model_id(model: str) -> str:
    """Return a model's id with a developer: of a model without one, of the embedded family's too, ours."""
    if model_card(model) is not None:
        return model.partition("@")[0]
    return f"lrt-bench/{slug(model.replace('/', '-'))}"


def _score(entry: Entry) -> dict[str, Any]:
    result = entry.result
    details: dict[str, Any] = {
        "score": result.transfer_score,
        "details": {"rank": str(entry.rank), "metric": result.metric, "suite_digest": result.suite_digest},
    }
    if entry.ci95 is not None:
        details["uncertainty"] = {
            "confidence_interval": {
                "lower": entry.ci95[0],
                "upper": entry.ci95[1],
                "confidence_level": 0.95,
                "method": "Bayesian bootstrap over concepts",
            },
            "num_samples": sum(task.steerable for task in result.tasks),
        }
    return {
        "evaluation_name": f"lrt-bench {result.suite}: {result.pair.name}",
        "source_data": {
            "dataset_name": f"lrt-bench suite {result.suite}, version {result.suite_version}",
            "source_type": "other",
            "additional_details": {"suite_digest": result.suite_digest},
        },
        "evaluation_timestamp": result.provenance.created,
        "metric_config": METRIC,
        "score_details": details,
    }

"""`eval.yaml`: what makes a dataset repository a benchmark on the Hub, with a task for each pair.

The Hub's documentation of evaluation results has the format; a model's `.eval_results` name these tasks.
"""

from __future__ import annotations

from collections.abc import Iterable

import yaml

from lrt_bench.files.names import pair_slug

DESCRIPTION = (
    "How well steering vectors made in one language model work in another, carried by a map between their "
    "hidden states. The value is a Transfer Score: 100 acts like the target's own vector, 0 like no steering."
)
CONFIG, SPLIT = "table", "train"  # where the scores of all maps lie in the dataset


def eval_yaml(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return the file for (suite, pair) of each task."""
    tasks = [
        {"id": pair_slug(suite, pair), "config": CONFIG, "split": SPLIT} for suite, pair in sorted(set(pairs))
    ]
    content = {
        "name": "lrt-bench",
        "description": DESCRIPTION,
        "evaluation_framework": "lrt-bench",
        "tasks": tasks,
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110).encode()

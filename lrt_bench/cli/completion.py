"""What a shell may complete: the names of suites, pairs, tasks and mappings.

Nothing heavy is imported: a key press waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem


def complete_suites(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a suite that ships with lrt-bench, or a file's."""
    from lrt_bench.files.resources import SUITES

    return _items((path.stem for path in sorted(SUITES.glob("*.yaml"))), incomplete)


def complete_pairs(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a pair of the suite that stands on the line, or of the default one."""
    suite = context.params.get("suite") or context.params.get("suite_spec") or "nano"
    return _items(_pairs(str(suite)), incomplete)


def complete_tasks(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a task."""
    from lrt_bench.files.resources import TASKS

    return _items((path.parent.name for path in sorted(TASKS.glob("*/task.yaml"))), incomplete)


def complete_mappings(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a built-in mapping."""
    from lrt_bench.mappings.names import BUILT_IN

    return _items(BUILT_IN, incomplete)


def _pairs(suite: str) -> list[str]:
    import yaml

    from lrt_bench.files.resources import SUITES

    path = SUITES / f"{suite}.yaml"
    if not path.is_file():
        return []
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [str(pair["name"]) for pair in content["pairs"]]


def _items(known: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Return what begins as the word does; of a list with commas, its last part is completed."""
    before, comma, word = incomplete.rpartition(",")
    items = [f"{before}{comma}{name}" for name in known if name.startswith(word)]
    return [CompletionItem(item) for item in items] or [CompletionItem(incomplete, type="file")]

"""The commands of the cache: what runs keep for later ones, shown and deleted."""

from __future__ import annotations

import json

import click

from lrt_bench.errors import one_line_errors


@click.group()
def cache() -> None:
    """Show or delete what runs keep for later ones: states, what native steering wrote, sweeps.

    It lies in $LRT_BENCH_CACHE, or else in $XDG_CACHE_HOME/lrt-bench or ~/.cache/lrt-bench;
    LRT_BENCH_CACHE=off keeps nothing. Any of it may be deleted at any time: it is made again.
    """


@cache.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@one_line_errors
def info(as_json: bool) -> None:
    """Say where the cache lies, and what it holds."""
    from lrt_bench.cli.terminal.screen import print_line
    from lrt_bench.files.cache.folder import CACHE_SIZE, chosen_folder
    from lrt_bench.files.format import size

    folder = chosen_folder(CACHE_SIZE)
    kinds = folder.kinds() if folder else []
    if as_json:
        rows = {each.kind: {"entries": each.entries, "bytes": each.size} for each in kinds}
        click.echo(json.dumps({"folder": str(folder.path) if folder else None, "kinds": rows}, indent=1))
        return
    if folder is None:
        print_line("no cache: LRT_BENCH_CACHE is off")
        return
    entries, total = sum(each.entries for each in kinds), sum(each.size for each in kinds)
    print_line(f"{folder.path}: {entries} entries, {size(total)}")
    for each in kinds:
        print_line(f"  {each.kind}: {each.entries}, {size(each.size)}")


@cache.command()
@one_line_errors
def clear() -> None:
    """Delete what the cache holds; a run that reads it meanwhile makes it again."""
    from lrt_bench.cli.terminal.screen import print_line
    from lrt_bench.files.cache.folder import CACHE_SIZE, chosen_folder

    folder = chosen_folder(CACHE_SIZE)
    count = folder.clear() if folder else 0
    print_line(f"{count} entries deleted" + (f" from {folder.path}" if folder else ""))

"""A process that publishes or pulls, for the tests of the Hub: the client reads its environment once.

Takes one JSON object of arguments; prints the reports, then the outcome as a line of JSON.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

from lrt_bench.data.hub.repository import Destination, publish
from lrt_bench.errors import UserError
from lrt_bench.leaderboard.publish import publish_leaderboard
from lrt_bench.leaderboard.pull import pull


def records_of(results: Path) -> dict[str, Path]:
    """SUITE/PAIR/MAPPING -> the result file."""
    paths = results.rglob("*.json")
    return {path.relative_to(results).with_suffix("").as_posix(): path for path in paths}


def run(what: str, arguments: dict[str, Any]) -> Any:
    def report(line: str) -> None:
        print(line, flush=True)

    if what == "pull":
        arguments["out"] = Path(arguments["out"])
        return pull(**arguments, report=report)
    if what == "maps":
        return [maps(report, **step) for step in arguments["steps"]]
    if what == "publish":
        destination = Destination(arguments.pop("repo"), arguments.pop("kind"))
        files = {name: Path(path) for name, path in arguments.pop("files").items()}
        done = [publish(destination, files, message="test", **arguments, report=report)]
    else:
        results, site = Path(arguments.pop("results")), Path(arguments.pop("site"))
        done = publish_leaderboard(records_of(results), site, **arguments, report=report)
    return [dataclasses.asdict(published) for published in done]


def maps(
    report: Any, push: str = "", find: str = "", cli: Any = (), folder: str = "", **settings: Any
) -> Any:
    """Push a map's folder, find a map, or run a command: what came of it, or the user's line."""
    from lrt_bench.vectors.fitted_map import load_map
    from lrt_bench.vectors.hub import find_map, push_map

    try:
        if cli:
            from lrt_bench.cli.main import main

            return main(cli, standalone_mode=False)
        if find:
            return find_map(find, report).card.model_dump(mode="json")
        return dataclasses.asdict(push_map(load_map(folder), push, **settings, report=report))
    except UserError as error:
        return str(error)


if __name__ == "__main__":
    _sleep = time.sleep
    time.sleep = lambda seconds: _sleep(min(seconds, 0.01))  # the client's pauses between tries
    try:
        print(json.dumps(run(sys.argv[1], json.loads(sys.argv[2]))))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

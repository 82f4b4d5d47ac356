"""Fetch the results of a published leaderboard."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lrt_bench.data.hub.client import (
    LocalFile,
    Repo,
    Report,
)
from lrt_bench.data.hub.repository import check_name, check_path, download
from lrt_bench.errors import UserError
from lrt_bench.files.hub import check_answers
from lrt_bench.files.whole import MAX_BYTES, write_whole


def pull(repo: str, out: Path, *, revision: str | None = None, report: Report) -> int:
    """Fetch the results of a published dataset into `out`; the number of files written.

    ``results/SUITE/PAIR/MAPPING.json`` there becomes ``SUITE/PAIR/MAPPING.json`` in `out`, its propensities
    beside it. A file that is the same already is not fetched, and nothing in `out` is ever deleted.
    Raises UserError before writing anything where a remote name would lead out of `out`.
    """
    check_name(repo)
    check_answers(repo)
    remote = Repo(repo, "dataset", write=False, report=report)
    head = remote.with_retries(lambda: remote.head(revision))
    tree = remote.with_retries(lambda: remote.tree(head))
    wanted = {name: file for name in tree if (file := tree[name]) and _is_result(repo, name)}
    for name, file in wanted.items():
        if file.size > MAX_BYTES:
            raise UserError(f"{repo}: {name}: larger than {MAX_BYTES // 1_000_000} MB: not a result")
    places = {name: out / Path(*name.split("/")[1:]) for name in wanted}
    old = [
        name for name, place in places.items() if place.is_file() and wanted[name].holds(LocalFile.of(place))
    ]
    new = sorted(set(wanted) - set(old))
    with tempfile.TemporaryDirectory(prefix="lrt-bench-") as folder:
        paths = download(remote, new, head or "main", Path(folder)) if new else {}
        for name, path in paths.items():
            if path.stat().st_size > MAX_BYTES or not wanted[name].holds(LocalFile.of(path)):
                raise UserError(f"{repo}: {name}: arrived damaged, nothing was written: run again")
        # A record vouches for its propensities: they come first, so that what can be read is finished.
        for name in sorted(paths, key=lambda name: name.endswith(".json")):
            write_whole(places[name], paths[name].read_bytes())
    report(f"dataset {repo}: {len(new)} files fetched, {len(old)} were the same already")
    return len(new)


def _is_result(repo: str, name: str) -> bool:
    """Whether a remote file is part of a result.

    Raises UserError for a name that is an attack.
    """
    if not name.startswith("results/"):
        return False
    check_path(repo, name)
    parts = name.split("/")
    return len(parts) == 4 and parts[3].endswith((".json", ".safetensors")) and parts[3][0] != "."

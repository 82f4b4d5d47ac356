"""Fitted maps on the Hub: pushed as one commit, fetched by name and revision."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lrt_bench.data.hub.client import LocalFile, Repo, Report
from lrt_bench.data.hub.repository import MARKS, Destination, Published, check_name, download, publish
from lrt_bench.errors import UserError
from lrt_bench.files.hub import check_answers
from lrt_bench.files.names import HUB_ID
from lrt_bench.vectors.eval_results import FILE, eval_results
from lrt_bench.vectors.fitted_map import CARD, MAX_CARD, MAX_TENSORS, README, TENSORS, FittedMap, load_map
from lrt_bench.vectors.map_card import map_readme, read_card

LIMITS = {TENSORS: MAX_TENSORS, CARD: MAX_CARD}


def push_map(
    fitted: FittedMap,
    repo: str,
    *,
    scores: tuple[Path, str] | None = None,
    dry_run: bool = False,
    verify: bool = False,
    report: Report,
) -> Published:
    """Make the model repository `repo` hold the map, in one commit, or none where nothing differs.

    scores : a folder of results and the benchmark's dataset repository, for what the map scored
        (`eval_results`).
    """
    files = fitted.files()
    if scores is not None:
        files[FILE] = eval_results(read_card(files[CARD], CARD), *scores)
    files[README] = map_readme(read_card(files[CARD], CARD), repo)
    return publish(
        Destination(repo, "model"),
        files,
        message="Add a fitted map with lrt-bench",
        dry_run=dry_run,
        verify=verify,
        mark=MARKS["model"],
        report=report,
    )


def find_map(spec: str, report: Report = lambda line: None) -> FittedMap:
    """Return the map that `spec` names: a folder, or ORG/NAME[@revision] on the Hub.

    Raises UserError.
    """
    path = Path(spec).expanduser()
    if path.is_dir():
        return load_map(path)
    if path.exists() or not HUB_ID.fullmatch(spec):
        raise UserError(f"--map {spec}: no such folder, and not a repository on the Hub (ORG/NAME)")
    name, _, revision = spec.partition("@")
    return pull_map(name, revision=revision or None, report=report)


def pull_map(repo: str, *, revision: str | None = None, report: Report) -> FittedMap:
    """Fetch a map.

    Raises UserError where the repository holds none, or it arrives damaged.
    """
    check_name(repo)
    check_answers(repo)
    remote = Repo(repo, "model", write=False, report=report)
    head = remote.with_retries(lambda: remote.head(revision))
    tree = remote.with_retries(lambda: remote.tree(head))
    for name, most in LIMITS.items():
        if name not in tree:
            raise UserError(f"{repo}: no map there: {name} is missing; `lrt-bench fit --push` writes one")
        if tree[name].size > most:
            raise UserError(f"{repo}: {name}: larger than {most} bytes: no map")
    with tempfile.TemporaryDirectory(prefix="lrt-bench-") as folder:
        paths = download(remote, LIMITS, head or "main", Path(folder))
        for name, path in paths.items():
            if path.stat().st_size > LIMITS[name] or not tree[name].holds(LocalFile.of(path)):
                raise UserError(f"{repo}: {name}: arrived damaged: run again")
        fitted = load_map(folder)
    report(f"model {repo}: map fetched at {(head or 'main')[:12]}")
    return fitted

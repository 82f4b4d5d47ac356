"""One repository on the Hub: made to hold given files, and nothing else, in one commit.

A publish is one commit on top of the head that was just read, or none where nothing differs. What is
uploaded before a commit is not visible, so an interrupted publish leaves the last complete state, and a
second run completes it.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lrt_bench.data.hub.client import (
    PAUSES,
    Commit,
    ConflictError,
    Content,
    Kind,
    LocalFile,
    MissingError,
    RemoteFile,
    Repo,
    Report,
    TransientError,
    blocks,
)
from lrt_bench.errors import UserError

REPO = re.compile(r"[A-Za-z0-9](?:[\w.-]*[\w])?/[A-Za-z0-9](?:[\w.-]*[\w])?", re.ASCII)
PART = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|]{1,200}")  # what every file system takes as a name
CONFLICTS = 5
THREADS = 8
KEPT = {".gitattributes"}  # the Hub's own: it says which files are stored apart from git
FRESH = KEPT | {
    "README.md",
    "index.html",
    "style.css",
}  # what a repository made on the Hub's pages begins with
MARKS: dict[Kind, str] = {  # what a leaderboard's repository holds, and a fitted map's
    "space": "site.json",
    "dataset": "data/table.parquet",
    "model": "map.json",
}


@dataclass(frozen=True)
class Destination:
    """A repository on the Hub.

    Raises UserError where `repo` is not ORG/NAME.
    """

    repo: str
    kind: Kind

    def __post_init__(self) -> None:
        check_name(self.repo)

    def __str__(self) -> str:
        return f"{self.kind} {self.repo}"


@dataclass(frozen=True)
class Published:
    """What a publish did.

    `commit` is None where nothing was committed: nothing differed, or a dry run.
    """

    repo: str
    kind: Kind
    commit: str | None
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    url: str
    pr_url: str | None = None


@dataclass(frozen=True)
class Changes:
    """How the local files differ from a remote tree."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def __str__(self) -> str:
        return f"{len(self.added)} added, {len(self.changed)} changed, {len(self.removed)} removed"


def check_name(repo: str) -> None:
    """Raise UserError where a repository's name is not ORG/NAME as the Hub takes it."""
    if not REPO.fullmatch(repo) or "--" in repo or ".." in repo or repo.endswith(".git") or len(repo) > 96:
        raise UserError(
            f"{repo!r}: not a repository on the Hub: write ORG/NAME, for instance my-team/results"
        )


def compare(files: Mapping[str, LocalFile], tree: Mapping[str, RemoteFile]) -> Changes:
    """Return what a commit must do so that `tree` holds `files` and nothing else."""
    return Changes(
        added=tuple(name for name in files if name not in tree),
        changed=tuple(name for name in files if name in tree and not tree[name].holds(files[name])),
        removed=tuple(sorted(set(tree) - set(files) - KEPT)),
    )


def check_ours(repo: Repo, tree: Mapping[str, RemoteFile], changes: Changes, mark: str | None) -> None:
    """Raise UserError where publishing would remove the files of something that is no leaderboard."""
    others = sorted(set(changes.removed) - FRESH)
    if others and mark is not None and mark not in tree:
        names = ", ".join(others[:3]) + (" and more" if len(others) > 3 else "")
        raise UserError(
            f"{repo.kind} {repo.name}: holds something else ({names}), which publishing would remove: give "
            "another repository, or empty this one first"
        )


def publish(
    destination: Destination,
    files: Mapping[str, Content],
    *,
    message: str,
    dry_run: bool = False,
    create_pr: bool = False,
    verify: bool = False,
    mark: str | None = None,
    report: Report,
) -> Published:
    """Make a repository hold `files` (its path there to a local file, or to bytes) and nothing else.

    Creates the repository where it is missing. Raises UserError, one line, for whatever went wrong.
    dry_run : only say what would be done; wants no token, uploads and creates nothing.
    create_pr : open a pull request instead of committing to the main branch.
    verify : download every file again afterwards, and compare.
    mark : a file that the repository must hold before anything else's files are removed from it.
    """
    if not files:
        raise UserError(f"{destination}: nothing to publish: that would empty it")
    for name in files:
        check_path(destination.repo, name)
    local = {name: LocalFile.of(files[name]) for name in sorted(files)}
    repo = Repo(destination.repo, destination.kind, write=not dry_run, report=report)
    if dry_run:
        return _rehearse(repo, destination, local, mark, report)
    changes, commit, revision = _commit_until_done(repo, local, message, create_pr, mark, report)
    if commit is None:
        report(f"{destination}: nothing differs, no commit made")
    else:
        report(f"{destination}: {changes}: {commit.pr_url or f'commit {commit.oid[:12]}'}")
    if verify:
        _verify(repo, local, revision)
        report(f"{destination}: {len(local)} files downloaded again: all as published")
    parts = (changes.added, changes.changed, changes.removed)
    oid, pr_url = (commit.oid, commit.pr_url) if commit else (None, None)
    return Published(destination.repo, destination.kind, oid, *parts, repo.url, pr_url)


def _rehearse(
    repo: Repo, destination: Destination, local: Mapping[str, LocalFile], mark: str | None, report: Report
) -> Published:
    """Say what a publish would do; without a network, what would be sent, and how large it is."""
    try:
        tree = repo.with_retries(lambda: repo.tree(repo.head()))
        changes = compare(local, tree)
        check_ours(repo, tree, changes, mark)
    except MissingError:
        report(f"{destination}: not there, or not visible to this token: would be created")
        changes = Changes(added=tuple(local))
    except UserError as error:
        if not isinstance(error.__cause__, TransientError):
            raise
        report(f"{destination}: what is there is not known ({error})")
        for name, file in local.items():
            report(f"{destination}: would be sent where it differs: {name} ({file.size} bytes)")
        total = sum(file.size for file in local.values())
        report(f"{destination}: dry run: {len(local)} files, {total} bytes; nothing was sent")
        return Published(destination.repo, destination.kind, None, (), (), (), repo.url)
    for verb in ("added", "changed", "removed"):
        for name in getattr(changes, verb):
            held = f" ({local[name].size} bytes)" if name in local else ""
            report(f"{destination}: would be {verb}: {name}{held}")
    report(f"{destination}: dry run: {changes if changes else 'nothing differs'}; nothing was sent")
    parts = (changes.added, changes.changed, changes.removed)
    return Published(destination.repo, destination.kind, None, *parts, repo.url)


def _commit_until_done(
    repo: Repo,
    local: Mapping[str, LocalFile],
    message: str,
    create_pr: bool,
    mark: str | None,
    report: Report,
) -> tuple[Changes, Commit | None, str]:
    """Read, compare and commit until the commit lands; also the revision at which the files now stand.

    Every try begins with reading. So a commit that landed although its answer was lost is found, not
    made twice, and one that lost a race is made again on top of the winner's.
    """
    sent = Changes()
    conflicts = failures = 0
    while True:
        committing = False
        try:
            head, tree = _read(repo, report)
            changes = compare(local, tree)
            check_ours(repo, tree, changes, mark)
            if not changes:
                landed = Commit(head or "", head or "", None) if sent else None
                return sent, landed, head or "main"
            write = {name: local[name] for name in (*changes.added, *changes.changed)}
            sent, committing = changes, True
            commit = repo.commit(message, write, changes.removed, parent=head, create_pr=create_pr)
            return changes, commit, commit.revision
        except ConflictError as error:
            conflicts += 1
            if conflicts > CONFLICTS:
                raise UserError(
                    f"{repo.name}: somebody else keeps committing there ({conflicts} times while this "
                    "publish ran): stop the other publisher, then run again"
                ) from error
            report(f"{repo.kind} {repo.name}: somebody committed in between: reading again")
        except TransientError as error:
            if create_pr and committing:
                raise UserError(
                    f"{error.line}; but look first whether a pull request was opened: {repo.url}/discussions"
                ) from error
            if failures == len(PAUSES):
                raise UserError(error.line) from error
            repo.pause(PAUSES[failures])
            failures += 1


def _read(repo: Repo, report: Report) -> tuple[str | None, dict[str, RemoteFile]]:
    """Return the head and its tree; a repository that is missing is created."""
    try:
        head = repo.head()
    except MissingError:
        repo.create()
        head = repo.head()  # still missing: it exists, and this token may not see it
        report(f"{repo.kind} {repo.name}: created")
    return head, repo.tree(head)


def _verify(repo: Repo, local: Mapping[str, LocalFile], revision: str) -> None:
    """Download what was published and compare; UserError naming the files that differ."""
    with tempfile.TemporaryDirectory(prefix="lrt-bench-") as folder:
        paths = download(repo, local, revision, Path(folder))
        wrong = [name for name, path in paths.items() if _sha256(path) != local[name].sha256]
    if wrong:
        names = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise UserError(
            f"{repo.name}: {names}: downloaded again, not as published: the Hub serves other bytes than it "
            f"was sent; delete them there and run again"
        )


def download(repo: Repo, names: Iterable[str], revision: str, folder: Path) -> dict[str, Path]:
    """Files into a temporary folder, some at a time; the first failure stops the rest."""

    def fetch(name: str) -> tuple[str, Path]:
        return name, repo.with_retries(lambda: repo.download(name, revision, folder))

    pool = ThreadPoolExecutor(THREADS)
    try:
        return dict(pool.map(fetch, names))
    finally:
        pool.shutdown(cancel_futures=True)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for block in blocks(path):
        digest.update(block)
    return digest.hexdigest()


def check_path(repo: str, name: str) -> None:
    """Raise UserError where a path in a repository is no plain relative path on every file system."""
    parts = name.split("/")
    if any(not PART.fullmatch(part) or not part.strip(". ") or part == ".git" for part in parts):
        raise UserError(f"{repo}: {name!r}: not a plain relative file name; nothing was written")

"""One repository on the Hub, through huggingface_hub: reading its tree, committing, downloading.

Every failure leaves here as one of three errors: ConflictError (somebody committed first: read again),
TransientError (worth another try) or a UserError, one line that says what to do. The token is read where
the client reads it and is scrubbed from every line.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from lrt_bench._version import __version__
from lrt_bench.errors import UserError

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

T = TypeVar("T")
Kind = Literal["space", "dataset", "model"]
Content = Path | bytes
Report = Callable[[str], None]
PAUSES = (1.0, 3.0)  # seconds before the second and the third try; the client has its own, longer ones
TIMEOUT = 300.0  # seconds without a byte; the client itself would wait for ever
AGAIN = "what stands there is the last complete commit: run the same command again to complete the work"
LOGIN = ", or run `hf auth login`"
XET_STATUS = re.compile(r"HTTP status \w+ error \((\d{3})")  # hf-xet tells it in words only
TOKEN_LIKE = re.compile(r"\bhf_[A-Za-z0-9]{8,}|(?i:bearer)\s+\S+")


class ConflictError(Exception):
    """The branch moved between reading it and committing."""


class TransientError(Exception):
    """The network or the server failed; `line` is what to tell when it keeps failing."""

    def __init__(self, line: str) -> None:
        super().__init__(line)
        self.line = line


class MissingError(UserError):
    """There is no such repository, or this token may not see it."""


@dataclass(frozen=True)
class LocalFile:
    """What is to be published, with the two hashes that a remote file may be known by."""

    content: Content
    size: int
    oid: str
    sha256: str

    @classmethod
    def of(cls, content: Content) -> LocalFile:
        """Hash a file or bytes."""
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        oid = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        sha256 = hashlib.sha256()
        for block in blocks(content):
            oid.update(block)
            sha256.update(block)
        return cls(content, size, oid.hexdigest(), sha256.hexdigest())


@dataclass(frozen=True)
class RemoteFile:
    """A file in the remote tree: git's hash of its blob, and the content's own where git holds a pointer."""

    size: int
    oid: str
    sha256: str | None

    def holds(self, local: LocalFile) -> bool:
        """Tell whether the remote file has the content of a local one."""
        return self.sha256 == local.sha256 if self.sha256 else self.oid == local.oid


@dataclass(frozen=True)
class Commit:
    """What the Hub answered to a commit; `revision` is where its files can be read."""

    oid: str
    revision: str
    pr_url: str | None


def blocks(content: Content) -> Iterator[bytes]:
    """Yield the bytes of a file, a megabyte at a time."""
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as stream:
        while block := stream.read(1 << 20):
            yield block


class Repo:
    """One repository of the Hub.

    Its methods raise ConflictError, TransientError or UserError.
    """

    def __init__(self, name: str, kind: Kind, *, write: bool, report: Report) -> None:
        """Find the token; `write` says that one is needed, and has the Hub tell whose it is."""
        from huggingface_hub import HfApi

        _silence_client()
        self.name, self.kind, self.report = name, kind, report
        self.again = AGAIN if write else "run the same command again"
        self.token: str | None = None
        self.token = self.with_retries(lambda: self._ask(_find_token))
        if write and not self.token:
            raise UserError(f"{name}: no token: set HF_TOKEN to one that may write{LOGIN}")
        self.api: HfApi = HfApi(
            token=self.token or False, library_name="lrt-bench", library_version=__version__
        )
        self.url = f"{self.api.endpoint}/{name}" if kind == "model" else f"{self.api.endpoint}/{kind}s/{name}"
        # A token that a CI job was lent for one repository belongs to no account: nobody to ask for.
        if write and not os.environ.get("HF_OIDC_RESOURCE"):
            self.with_retries(lambda: self._ask(self.api.whoami))

    def with_retries(self, action: Callable[[], T]) -> T:
        """Try again after a failure that may pass; the last one becomes the user's line."""
        for pause in PAUSES:
            try:
                return action()
            except (TransientError, ConflictError):
                self.pause(pause)
        try:
            return action()
        except TransientError as error:
            raise UserError(error.line) from error
        except ConflictError as error:  # reading can't lose a race: something odd stands in between
            raise UserError(f"{self.name}: the Hub refused: {error}; {self.again}") from error

    def pause(self, seconds: float) -> None:
        """Wait before another try, and say so."""
        self.report(f"{self.kind} {self.name}: the Hub or the network failed: trying again")
        time.sleep(seconds)

    def head(self, revision: str | None = None) -> str | None:
        """Return the commit that a branch, a tag or nothing (main) stands for."""

        def read() -> str | None:
            info = self.api.repo_info(self.name, repo_type=self.kind, revision=revision, timeout=60)
            return info.sha

        return self._ask(read)

    def create(self) -> None:
        """Create the repository, a static Space where it is one."""
        sdk = "static" if self.kind == "space" else None
        self._ask(lambda: self.api.create_repo(self.name, repo_type=self.kind, space_sdk=sdk, exist_ok=True))

    def tree(self, revision: str | None) -> dict[str, RemoteFile]:
        """Every file at a commit."""
        from huggingface_hub.hf_api import RepoFile

        if revision is None:
            return {}

        def read() -> dict[str, RemoteFile]:
            entries = self.api.list_repo_tree(
                self.name, repo_type=self.kind, revision=revision, recursive=True
            )
            files = [entry for entry in entries if isinstance(entry, RepoFile)]
            return {
                file.path: RemoteFile(
                    file.lfs.size if file.lfs else file.size,
                    file.blob_id,
                    file.lfs.sha256 if file.lfs else None,
                )
                for file in files
            }

        return self._ask(read)

    def commit(
        self,
        message: str,
        write: Mapping[str, LocalFile],
        remove: tuple[str, ...],
        *,
        parent: str | None,
        create_pr: bool,
    ) -> Commit:
        """Upload, then one commit: all or nothing.

        Raises ConflictError where `parent` is no longer the head.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        def send() -> Commit:
            # Fresh operations on every try: the client marks the ones it has used.
            operations: list[CommitOperationAdd | CommitOperationDelete] = [
                CommitOperationAdd(name, file.content) for name, file in write.items()
            ]
            operations += [CommitOperationDelete(name, is_folder=False) for name in remove]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a parquet file in a Space is a download, and meant
                info = self.api.create_commit(
                    self.name,
                    operations,
                    commit_message=message,
                    repo_type=self.kind,
                    parent_commit=parent,
                    create_pr=create_pr,
                )
            return Commit(info.oid, info.pr_revision or info.oid, info.pr_url)

        return self._ask(send)

    def download(self, name: str, revision: str, folder: Path) -> Path:
        """One file at a revision into a folder of the caller's, past every cache."""
        return Path(
            self._ask(
                lambda: self.api.hf_hub_download(
                    self.name, name, repo_type=self.kind, revision=revision, local_dir=folder
                )
            )
        )

    def _ask(self, action: Callable[[], T]) -> T:
        from huggingface_hub import get_session

        with self._explained_errors():
            get_session().timeout = TIMEOUT
            return action()

    @contextmanager
    def _explained_errors(self) -> Iterator[None]:
        """Turn what the client raises into this module's three errors."""
        try:
            yield
        except (UserError, ConflictError, TransientError):
            raise
        except KeyboardInterrupt:
            raise UserError(f"{self.name}: interrupted; {self.again}") from None
        except Exception as error:
            raise self._explained(error) from error

    def _explained(self, error: BaseException) -> Exception:
        """One of this module's three errors for what the client raised, or for what caused that."""
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
        from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # lazily, for every version

        causes = list(_causes(error))
        for cause in causes:
            if isinstance(cause, HfHubHTTPError):
                return self._refusal(cause)
            if isinstance(cause, OfflineModeIsEnabled):
                return UserError(f"{self.name}: HF_HUB_OFFLINE is set, so nothing can be reached: unset it")
        for cause in causes:
            words = self._words_of(cause)
            if status := XET_STATUS.search(str(cause)):
                return self._by_status(int(status[1]), cause)
            if isinstance(cause, (httpx.HTTPError, ConnectionError, TimeoutError, *_xet_errors())):
                return TransientError(f"{self.name}: the connection to the Hub broke ({words}); {self.again}")
            if isinstance(cause, OSError) and cause.filename:
                return UserError(f"{cause.filename}: {cause.strerror}")
        line = f"{self.name}: the Hub's client failed ({self._words_of(error)})"
        if isinstance(error, (HFValidationError, ValueError, TypeError)):
            return UserError(line)
        return TransientError(f"{line}; {self.again}")

    def _refusal(self, error: HfHubHTTPError) -> Exception:
        """Return the line for an answer with an error status."""
        from huggingface_hub.errors import (
            DisabledRepoError,
            GatedRepoError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        status, name = error.response.status_code, self.name
        if isinstance(error, GatedRepoError):
            return UserError(f"{name}: gated: accept its terms on the Hub, with the account of HF_TOKEN")
        if isinstance(error, DisabledRepoError):
            return UserError(f"{name}: disabled on the Hub: ask its owner, or give another repository")
        if isinstance(error, RevisionNotFoundError):
            return UserError(f"{name}: no such revision there: leave --revision out, or name one that exists")
        if isinstance(error, RepositoryNotFoundError) or status == 404 or (status == 401 and not self.token):
            whom = "this token may not see it" if self.token else "it wants a token"
            return MissingError(
                f"{name}: no such {self.kind}, or {whom}: check the spelling of ORG/NAME, and HF_TOKEN"
            )
        return self._by_status(status, error)

    def _by_status(self, status: int, error: BaseException) -> Exception:
        name = self.name
        if status in (409, 412):
            return ConflictError(self._words_of(error))
        if status == 401:
            return UserError(
                f"{name}: the Hub does not know this token (401): set HF_TOKEN to a valid one{LOGIN}"
            )
        if status == 403:
            return UserError(
                f"{name}: this token may not write there (403): it must have the write role, and its owner "
                f"must be {name.split('/')[0]} or a member of that organisation, which must exist"
            )
        if status >= 500 or status in (408, 429):
            why = "asks to slow down" if status == 429 else "has a server error"
            return TransientError(f"{name}: the Hub {why} ({status}); {self.again}")
        return UserError(f"{name}: the Hub refused ({status}): {self._words_of(error)}")

    def _words_of(self, error: BaseException) -> str:
        """Return an error's own words, short, and without the token."""
        text = getattr(error, "server_message", None) or str(error) or type(error).__name__
        text = " ".join(text.split())
        if self.token:
            text = text.replace(self.token, "***")
        text = TOKEN_LIKE.sub("***", text)
        return text if len(text) <= 200 else text[:199] + "…"


def _xet_errors() -> tuple[type[Exception], ...]:
    """Return what the client raises where storage by Xet fails; older ones have no type for it."""
    from huggingface_hub import errors

    xet = getattr(errors, "XetDownloadError", None)
    return () if xet is None else (xet,)


def _silence_client() -> None:
    """No progress bars, and none of the client's warnings on every try: `report` tells what matters."""
    from huggingface_hub import logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    if "HF_HUB_VERBOSITY" not in os.environ:
        logging.set_verbosity_error()


def _find_token() -> str | None:
    """Return the token of the environment, of a CI job's identity, or the one that `hf auth login` stored."""
    from huggingface_hub import errors, get_token

    try:
        return get_token()
    except getattr(errors, "OIDCError", ()) as error:  # older clients know no such job
        first = str(error).split(". ")[0]
        raise UserError(
            f"HF_OIDC_RESOURCE is set, but there is no job's identity to show: {first}"
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise UserError(
            f"HF_OIDC_RESOURCE: the Hub lends this job no token for it ({status}): "
            "add the job's repository to the trusted publishers there"
        ) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what caused it, outermost first."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__

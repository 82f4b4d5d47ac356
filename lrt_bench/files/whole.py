"""Files read and written whole: no half of one is ever seen, and none is too large to read."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from lrt_bench.errors import UserError

MAX_BYTES = 20_000_000
TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}")  # as tempfile completes `.NAME.`


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all.

    What a killed process left of earlier writes in the same folder is deleted. An OSError names the file.
    """
    with whole_file(path) as stream:
        stream.write(data)


@contextlib.contextmanager
def whole_file(path: Path, *, lasting: bool = True) -> Iterator[BinaryIO]:
    """Give a stream whose content is the file's once it is closed; `write_whole` a part at a time.

    lasting : wait until it is on the disk; without that a machine that loses its power may lose the file.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path)
        handle, name = _temporary(path)
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                if lasting:
                    os.fsync(stream.fileno())
                os.chmod(name, 0o644)
                os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an OSError that names no file, as on a full disk, name this one."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def sweep(path: Path, of_any: str | None = None) -> None:
    """Delete what killed processes left beside a file: temporaries that nobody writes any more.

    Only ``.NAME.`` and eight letters, as `write_whole` and `locked_folder` name them, where NAME is the
    file's own name or stands in the folder, or ends with `of_any`; what is locked is being written.
    """
    names = {entry.name for entry in os.scandir(path.parent)}
    for name in names:
        match = TEMPORARY.fullmatch(name)
        if match is None or not (match[1] == path.name or match[1] in names or _ends(match[1], of_any)):
            continue
        left = path.with_name(name)
        handle = _locked(left)
        if handle is None:
            continue
        try:
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
        finally:
            os.close(handle)


def _ends(name: str, suffix: str | None) -> bool:
    return suffix is not None and name.endswith(suffix)


@contextlib.contextmanager
def locked_folder(path: Path) -> Iterator[Path]:
    """Give a folder beside `path`, to be renamed to it; deleted on an error, never swept meanwhile."""
    sweep(path)
    made = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    handle = _locked(made)
    try:
        made.chmod(0o755)
        yield made
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    finally:
        if handle is not None:
            os.close(handle)


def _temporary(path: Path) -> tuple[int, str]:
    """Return a new temporary file beside `path`, locked: its handle and its name."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with contextlib.suppress(OSError):  # a file system without locks has no sweeper to fear either
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink:
            return handle, name
        os.close(handle)  # swept between its making and its lock


def _locked(path: Path) -> int | None:
    """Return a handle that locks a file or a folder; None where it is locked, or can't be had."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def read_bounded(path: Path) -> bytes:
    """Read a plain file's bytes.

    Raises
    ------
    UserError
        For a pipe or a device, which could hang or never end, and for more than `MAX_BYTES`.
    OSError
        Where it cannot be read.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise UserError(f"{path}: not a plain file: give a result file")
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UserError(
            f"{path}: larger than {MAX_BYTES // 1_000_000} MB: not a result; delete it and run again"
        )
    return content


def hash_files(files: Sequence[Path]) -> str:
    """Hash of files' names and contents."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()

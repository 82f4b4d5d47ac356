"""Workers as processes of this machine: small models gain more by them than by threads.

A worker says nothing and writes nothing; it ends when the driver does, however that ends. Values that all
workers read lie in files, which they map: the states of a pair are in memory once.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import mmap
import os
import pickle
import signal
import tempfile
import traceback
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from lrt_bench.errors import UserError
from lrt_bench.evaluation.cells import Cell
from lrt_bench.evaluation.engines import driver
from lrt_bench.evaluation.engines.forkserver import context, warm
from lrt_bench.evaluation.engines.worker import Settings, Worker
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.models.memory import held_memory

PROTOCOL = 5  # of pickle: arrays lie outside of what is pickled
ALIGN = 64  # bytes
WANTED = (
    "transformers.tokenization_utils_tokenizers",
    "matplotlib.figure",
    "matplotlib.backends.backend_svg",
)


@dataclass(frozen=True, eq=False)
class Shelved:
    """A value in a file: the pickle, then its arrays. The file goes with the driver's last mention of it.

    parts : (start, end) of the pickle and of each array.
    """

    path: str
    parts: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, value: Any, folder: Path) -> Shelved:
        """Write a value whole."""
        arrays: list[pickle.PickleBuffer] = []
        data = pickle.dumps(value, PROTOCOL, buffer_callback=arrays.append)
        parts = []
        handle, path = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            for part in [memoryview(data), *(array.raw() for array in arrays)]:
                start = file.tell()
                file.write(part)
                parts.append((start, file.tell()))
                file.write(b"\0" * (-file.tell() % ALIGN))
        found = cls(path, tuple(parts))
        weakref.finalize(found, Path(path).unlink, missing_ok=True)
        return found

    def value(self) -> Any:
        """The value; its arrays stay in the file, and can't be written to."""
        return _read(self.path, self.parts)


@functools.lru_cache(maxsize=8)
def _read(path: str, parts: tuple[tuple[int, int], ...]) -> Any:
    with open(path, "rb") as file:
        whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    data, *arrays = (whole[start:end] for start, end in parts)
    return pickle.loads(data, buffers=arrays)


def serve(pipe: connection.Connection, threads: int, environment: Mapping[str, str]) -> None:
    """A worker's life: calls in, what they return or raise out, until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver is interrupted, and lets its workers go
    os.environ.update(environment)
    torch.set_num_threads(threads)
    worker = Worker()
    with held_memory(), contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            method, arguments = pickle.loads(pipe.recv_bytes())
            pipe.send_bytes(pickle.dumps(_answer(worker, method, arguments), PROTOCOL))


def _answer(worker: Worker, method: str, arguments: Sequence[Any]) -> tuple[str, Any]:
    """("found", what is returned), or ("raised", the user's error), or ("broke", a traceback)."""
    try:
        values = [part.value() if isinstance(part, Shelved) else part for part in arguments]
        return "found", getattr(worker, method)(*values)
    except (UserError, OSError) as error:
        return "raised", error
    except Exception:  # a mistake of ours: the driver shows where
        return "broke", traceback.format_exc()


@dataclass(eq=False)
class _Post:
    """A worker's process, and the driver's end of the pipe to it."""

    process: BaseProcess
    pipe: connection.Connection


class Processes(driver.Crew):
    """Worker processes. Their threads are the machine's, shared out."""

    def __init__(self, count: int, threads: int, folder: Path) -> None:
        self.count, self._threads, self._folder = count, threads, folder

    def share(self, value: Any) -> Shelved:
        return Shelved.of(value, self._folder)

    def hire(self) -> _Post:
        mine, theirs = context().Pipe()
        arguments = (theirs, self._threads, dict(os.environ))
        process = context().Process(target=serve, args=arguments, daemon=True)  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        return _Post(process, mine)

    def call(self, worker: _Post, method: str, *arguments: Any) -> _Post:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # lost: `found` says so
            worker.pipe.send_bytes(pickle.dumps((method, arguments), PROTOCOL))
        return worker

    def wait(self, references: Sequence[_Post], seconds: float) -> list[_Post]:
        ended = connection.wait([post.pipe for post in references], seconds)
        return [post for post in references if post.pipe in ended]

    def found(self, reference: _Post) -> Any:
        try:
            kind, value = pickle.loads(reference.pipe.recv_bytes())
        except (EOFError, ConnectionResetError) as error:
            reference.process.join(5)
            raise driver.LostWorkerError(
                f"Its process ended with code {reference.process.exitcode}."
            ) from error
        if kind == "raised":
            raise value
        if kind == "broke":
            raise RuntimeError(f"a worker's mistake:\n{value}")
        return value

    def dismiss(self, worker: _Post) -> None:
        worker.pipe.close()
        worker.process.kill()
        worker.process.join()

    def missing(self) -> str:
        return "can this machine start processes?"


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """The driver computes little, and its idle threads would keep the workers from theirs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run(evaluation: Evaluation, count: int) -> list[Cell]:
    """`Evaluation.run` by processes of this machine. Raises UserError."""
    evaluation.check()
    settings = Settings.of(evaluation)
    try:
        pickle.dumps(settings, PROTOCOL)
    except Exception as error:  # whatever a stranger's objects raise
        raise UserError(
            f"--workers {count}: these settings cannot be sent to workers ({type(error).__name__}: {error}): "
            "give --workers 1"
        ) from error
    warm()
    for name in WANTED:  # while the workers' imports go on elsewhere
        importlib.import_module(name)
    threads = max(1, torch.get_num_threads() // count)
    with _one_thread(), tempfile.TemporaryDirectory(prefix="lrt-bench-") as folder:
        return driver.run(evaluation, settings, Processes(count, threads, Path(folder)))

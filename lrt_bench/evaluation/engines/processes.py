"""Workers as processes of this machine: small models gain more by them than by threads.

A worker says nothing and writes nothing; it ends when the driver does, however that ends. Values that all
workers read lie in files, which they map: the states of a pair are in memory once.
"""

from __future__ import annotations

import contextlib
import importlib
import mmap
import os
import pickle
import signal
import tempfile
import traceback
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from lrt_bench.errors import UserError
from lrt_bench.evaluation.cells import Cell
from lrt_bench.evaluation.engines import driver
from lrt_bench.evaluation.engines.forkserver import context, start_server
from lrt_bench.evaluation.engines.worker import Worker, WorkerSettings
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.evaluation.process_state import one_thread, run_state

PICKLE_PROTOCOL = 5  # of pickle: arrays lie outside of what is pickled
ALIGN = 64  # bytes
WANTED = (
    "transformers.tokenization_utils_tokenizers",
    "matplotlib.figure",
    "matplotlib.backends.backend_svg",
    "pandas",
)


@dataclass(frozen=True, eq=False)
class Shelved:
    """A value in a file: the pickle, then its arrays.

    The file goes with the driver's last mention of it.

    parts : (start, end) of the pickle and of each array.
    """

    path: str
    parts: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, value: Any, folder: Path) -> Shelved:
        """Write a value whole."""
        arrays: list[pickle.PickleBuffer] = []
        data = pickle.dumps(value, PICKLE_PROTOCOL, buffer_callback=arrays.append)
        parts = []
        handle, path = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            for part in [memoryview(data), *(array.raw() for array in arrays)]:
                start = file.tell()
                file.write(part)
                parts.append((start, file.tell()))
                file.write(b"\0" * (-file.tell() % ALIGN))
        shelved = cls(path, tuple(parts))
        weakref.finalize(shelved, Path(path).unlink, missing_ok=True)
        return shelved

    def read(self) -> Any:
        """Return the value; its arrays stay in the file, and cannot be written to."""
        with open(self.path, "rb") as file:
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        data, *arrays = (whole[start:end] for start, end in self.parts)
        return pickle.loads(data, buffers=arrays)


class ShelfReader:
    """Reads shelved values, and keeps the last few: a worker's calls name the same ones again and again."""

    KEPT = 8

    def __init__(self) -> None:
        self._values: OrderedDict[str, Any] = OrderedDict()

    def value(self, shelved: Shelved) -> Any:
        """Return a shelved value, read at its first mention."""
        if shelved.path not in self._values:
            self._values[shelved.path] = shelved.read()
        self._values.move_to_end(shelved.path)
        while len(self._values) > self.KEPT:
            self._values.popitem(last=False)
        return self._values[shelved.path]


def serve(pipe: connection.Connection, threads: int, environment: Mapping[str, str]) -> None:
    """Run a worker: read calls, send what they return or raise, until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver is interrupted, and lets its workers go
    os.environ.update(environment)
    torch.set_num_threads(threads)
    worker, reader = Worker(), ShelfReader()
    with contextlib.suppress(EOFError, OSError), run_state():  # the driver is gone, perhaps amid a call
        while True:
            method, arguments = pickle.loads(pipe.recv_bytes())
            values = [reader.value(part) if isinstance(part, Shelved) else part for part in arguments]
            pipe.send_bytes(pickle.dumps(_answer(worker, method, values), PICKLE_PROTOCOL))


def _answer(worker: Worker, method: str, arguments: Sequence[Any]) -> tuple[str, Any]:
    """Return ("returned", value), or ("raised", the user's error), or ("broke", a traceback)."""
    try:
        return "returned", getattr(worker, method)(*arguments)
    except (UserError, OSError) as error:
        return "raised", error
    except Exception:  # a mistake of ours: the driver shows where
        return "broke", traceback.format_exc()


@dataclass(eq=False)
class _WorkerProcess:
    """A worker's process, and the driver's end of the pipe to it."""

    process: BaseProcess
    pipe: connection.Connection


class Processes(driver.WorkerPool):
    """Worker processes.

    Their threads are the machine's, shared out.
    """

    def __init__(self, count: int, threads: int, folder: Path) -> None:
        self.count, self._threads, self._folder = count, threads, folder

    def share(self, value: Any) -> Shelved:
        """Put a value where every worker can read it."""
        return Shelved.of(value, self._folder)

    def start_worker(self) -> _WorkerProcess:
        """Start a worker."""
        mine, theirs = context().Pipe()
        arguments = (theirs, self._threads, dict(os.environ))
        process = context().Process(target=serve, args=arguments, daemon=True)  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        return _WorkerProcess(process, mine)

    def call(self, worker: _WorkerProcess, method: str, *arguments: Any) -> _WorkerProcess:
        """Call a worker's method; return a reference to its result."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # lost: `result` says so
            worker.pipe.send_bytes(pickle.dumps((method, arguments), PICKLE_PROTOCOL))
        return worker

    def wait(self, references: Sequence[_WorkerProcess], seconds: float) -> list[_WorkerProcess]:
        """Return the calls that have ended within some seconds."""
        ended = connection.wait([worker.pipe for worker in references], seconds)
        return [worker for worker in references if worker.pipe in ended]

    def result(self, reference: _WorkerProcess) -> Any:
        """Return what an ended call returned, or raise what it raised."""
        try:
            received = reference.pipe.recv_bytes()
        except (EOFError, OSError) as error:  # an OSError where it was killed amid an answer
            reference.process.join(5)
            raise driver.LostWorkerError(
                f"Its process ended with code {reference.process.exitcode}."
            ) from error
        kind, value = pickle.loads(received)
        if kind == "raised":
            raise value
        if kind == "broke":
            raise RuntimeError(f"a worker's mistake:\n{value}")
        return value

    def stop_worker(self, worker: _WorkerProcess) -> None:
        """End a worker."""
        worker.pipe.close()
        worker.process.kill()
        worker.process.join()

    def why_none_started(self) -> str:
        """Say why no worker may have started."""
        return "can this machine start processes?"


def run(evaluation: Evaluation, count: int) -> list[Cell]:
    """Compute every cell, as `Evaluation.run` does, by processes of this machine.

    Raises UserError.
    """
    evaluation.check()
    settings = WorkerSettings.of(evaluation)
    try:
        pickle.dumps(settings, PICKLE_PROTOCOL)
    except Exception as error:  # whatever a stranger's objects raise
        raise UserError(
            f"--workers {count}: these settings cannot be sent to workers ({type(error).__name__}: {error}): "
            "give --workers 1"
        ) from error
    start_server()
    for name in WANTED:  # while the workers' imports go on elsewhere
        importlib.import_module(name)
    threads = max(1, torch.get_num_threads() // count)
    with one_thread(), tempfile.TemporaryDirectory(prefix="lrt-bench-") as folder:
        return driver.run(evaluation, settings, Processes(count, threads, Path(folder)))

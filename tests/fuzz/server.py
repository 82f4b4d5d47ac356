"""Runs readers in forks of one process that has imported everything, under a deadline and a limit.

A line of JSON in (`reader`, `folders`, `seconds` for each, and `make` where the files are to be written), a
line of JSON out for each folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]

import readers  # noqa: E402

from lrt_bench.errors import UserError  # noqa: E402

CRASHED = 70  # an exit code of ours: something was raised that a user would see as a traceback
ADDRESSES = 4 << 30  # bytes of addresses beside what is mapped already: a stop, not the measure
MOST = 300_000  # characters of output that are handed back


def memory(field: str) -> int:
    """Bytes of a field of this process's status: VmSize, VmRSS, or VmHWM, the most that was ever resident."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) * 1024


def work(name: str, folder: Path, make: bool) -> int:
    """Make or read, as the command line's entry does: an exit code."""
    reader = readers.READERS[name]
    try:
        (reader.make if make else reader.read)(folder)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 0 if exit_.code is None else 1
    except BaseException:
        traceback.print_exc()
        return CRASHED
    return 0


def measured(name: str, folder: Path, make: bool, out: IO[bytes]) -> dict[str, object]:
    """What became of one folder in this process, whose output goes to a file that is emptied first."""
    out.seek(0)
    out.truncate()
    Path("/proc/self/clear_refs").write_text("5")  # the most that is resident is counted from here
    before = memory("VmRSS")
    code = work(name, folder, make)
    sys.stdout.flush()
    sys.stderr.flush()
    out.seek(0)
    printed = out.read().decode("utf-8", "backslashreplace")
    more = (memory("VmHWM") - before) / 2**20
    return {"code": code, "late": False, "more_mb": more, "printed": printed[-MOST:]}


def child(name: str, folders: Sequence[Path], make: bool, answers: int, out: IO[bytes]) -> None:
    """Read the folders one after the other, and say of each what became of it. Ends the process."""
    with contextlib.suppress(BaseException):
        limit = memory("VmSize") + ADDRESSES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for descriptor, target in (
            (os.open(os.devnull, os.O_RDONLY), 0),
            (out.fileno(), 1),
            (out.fileno(), 2),
        ):
            os.dup2(descriptor, target)
        for folder in folders:
            os.write(answers, json.dumps(measured(name, folder, make, out)).encode() + b"\n")
    os._exit(0)


def outcomes(name: str, folders: Sequence[Path], make: bool, seconds: float) -> Iterator[dict[str, object]]:
    """What became of each folder; a fork that hangs or dies takes one of them with it, not the others."""
    left = list(folders)
    while left:
        reading, writing = os.pipe()
        with tempfile.TemporaryFile("w+b") as out:
            process = os.fork()
            if process == 0:
                os.close(reading)
                child(name, left, make, writing, out)
            os.close(writing)
            late, unread = False, b""
            with os.fdopen(reading, "rb", buffering=0) as answers:
                while left:
                    ready, _, _ = select.select([answers], [], [], seconds)
                    late = not ready
                    part = answers.read(1 << 20) if ready else b""
                    if not part:
                        break
                    *lines, unread = (unread + part).split(b"\n")
                    yield from map(json.loads, lines)
                    del left[: len(lines)]
            os.kill(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
            if left:
                out.seek(0)
                printed = out.read().decode("utf-8", "backslashreplace")
                code = os.waitstatus_to_exitcode(status)
                yield {"code": code, "late": late, "more_mb": 0.0, "printed": printed[-MOST:]}
                del left[0]


def serve() -> None:
    """Import what readers import, then answer until standard input ends."""
    import torch

    import lrt_bench.api
    import lrt_bench.leaderboard.site
    import lrt_bench.models.loading
    import lrt_bench.submissions.folder
    import lrt_bench.vectors.vector_files  # noqa: F401

    torch.set_num_threads(1)
    readers.tokenizer()
    readers.board()
    for line in sys.stdin:
        request = json.loads(line)
        folders = [Path(folder) for folder in request["folders"]]
        for outcome in outcomes(request["reader"], folders, request["make"], request["seconds"]):
            print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    serve()

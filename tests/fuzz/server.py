"""Runs readers in forks of one process that has imported everything, under a deadline and a limit.

A line of JSON in (`reader`, `folder`, and `make` where the files are to be written), a line of JSON out.
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
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]

import readers  # noqa: E402

from lrt_bench.errors import UserError  # noqa: E402

CRASHED = 70  # an exit code of ours: something was raised that a user would see as a traceback
ADDRESSES = 4 << 30  # bytes of addresses beside what is mapped already: a stop, not the measure
TAIL = 6000  # characters of output that are handed back


def memory() -> tuple[int, int]:
    """Bytes of this process's address space, and those that are resident."""
    addresses, resident = Path("/proc/self/statm").read_text().split()[:2]
    return int(addresses) * resource.getpagesize(), int(resident) * resource.getpagesize()


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


def forked(name: str, folder: Path, make: bool, seconds: float) -> dict[str, object]:
    """What became of one fork."""
    addresses, resident = memory()
    with tempfile.TemporaryFile() as out:
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_AS, (addresses + ADDRESSES, addresses + ADDRESSES))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            code = CRASHED
            with contextlib.suppress(BaseException):
                code = work(name, folder, make)
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
        handle = os.pidfd_open(child)
        ended, _, _ = select.select([handle], [], [], seconds)
        if not ended:
            os.kill(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
        os.close(handle)
        out.seek(0)
        printed = out.read().decode("utf-8", "backslashreplace")
    return {
        "code": os.waitstatus_to_exitcode(status),
        "late": not ended,
        "more_mb": usage.ru_maxrss / 1024 - resident / 2**20,
        "printed": printed[-TAIL:],
    }


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
        asked = json.loads(line)
        outcome = forked(asked["reader"], Path(asked["folder"]), asked["make"], asked["seconds"])
        print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    serve()

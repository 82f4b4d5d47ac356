"""A control group over a cell: its memory is counted as memory, what the kernel holds for it included.

Limits on addresses do not count pages that a pipe pins, files in memory, or kernel objects. A control group
of version 2 or 1 does. Making one wants root, or a group that was delegated. Where there is none to be had,
the cell has the limit on addresses alone, and the result says so.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_NUMBERS = itertools.count()
Settings = tuple[str, tuple[tuple[str, str], ...]]  # the limit's file; others, with what is written there
VERSION_2: Settings = "memory.max", (("memory.swap.max", "0"), ("memory.oom.group", "1"))
VERSION_1: Settings = "memory.limit_in_bytes", (("memory.swappiness", "0"),)


class MemoryGroup:
    """A group of its own for one cell.

    `made` is False where this machine has none to give.
    """

    def __init__(self, limit: int) -> None:
        self._folder: Path | None = None
        for parent, settings in _parents():
            folder = parent / f"lrt-bench-{os.getpid()}-{next(_NUMBERS)}"
            try:
                folder.mkdir()
            except OSError:
                continue
            try:
                (folder / settings[0]).write_text(str(limit))
                for name, value in settings[1]:
                    with contextlib.suppress(OSError):  # not every kernel has every file
                        (folder / name).write_text(value)
            except OSError:
                _remove(folder)
                continue
            self._folder = folder
            break

    @property
    def made(self) -> bool:
        """Whether there is a group."""
        return self._folder is not None

    def take(self, pid: int) -> None:
        """Put a process in the group; what it starts afterwards is in it, too."""
        if self._folder is None:
            return
        try:
            (self._folder / "cgroup.procs").write_text(str(pid))
        except OSError:  # a group that takes no process is none
            self.remove()

    def remove(self) -> None:
        """Remove the group, once its processes are gone."""
        if self._folder is not None:
            _remove(self._folder)
            self._folder = None


def _remove(folder: Path) -> None:
    for _ in range(50):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:  # its last process is not off the list yet
            time.sleep(0.02)
        else:
            return


def _parents() -> Iterator[tuple[Path, Settings]]:
    """Yield groups below which one with a limit may be made, the nearest first, and what to write."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                own = Path(str(ROOT) + path)
                for parent in (own, *own.parents):
                    if ROOT not in (parent, *parent.parents):
                        break
                    with contextlib.suppress(OSError):
                        if "memory" in (parent / "cgroup.subtree_control").read_text().split():
                            yield parent, VERSION_2
            elif "memory" in controllers.split(","):
                yield Path(str(ROOT / "memory") + path), VERSION_1
                yield ROOT / "memory", VERSION_1


@functools.cache
def counts_memory() -> bool:
    """Return whether this machine counts a cell's memory as memory."""
    group = MemoryGroup(2**30)
    made = group.made
    group.remove()
    return made

"""Launches the runner in a cell of its own, talks with it, and ends it whatever it does.

A cell (`jail.py`) is new user, mount, process, network, IPC and host-name namespaces, a file system in memory
with a read-only view of the Python installation, no capability, resource limits and a seccomp filter. What
comes out of it is bytes, bounded in number and in time; nothing here believes them.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import platform
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from lrt_bench.errors import UserError
from lrt_bench.files.resources import PACKAGE
from lrt_bench.submissions.sandbox import view
from lrt_bench.submissions.sandbox.memory import MemoryGroup
from lrt_bench.submissions.sandbox.seccomp import SECCOMP, filter_program

GIB = 2**30
CHUNK = 1 << 18
SWITCHES = (  # of the kernel: its name, the value that forbids user namespaces, one that allows them
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "10000"),
)
START = """
import sys
sys.path.insert(0, sys.argv[1])
from lrt_bench.submissions.sandbox import jail
jail.start(int(sys.argv[2]), int(sys.argv[3]))
"""
ENDINGS = {
    "SIGKILL": "SIGKILL: out of memory, or by itself",
    "SIGXCPU": "SIGXCPU: its processor time is used up",
    "SIGXFSZ": "SIGXFSZ: it wrote too large a file",
    "SIGSEGV": "SIGSEGV: it crashed",
}


@dataclass(frozen=True)
class Limits:
    """What one fit may use.

    `memory` counts addresses, the interpreter and torch (about 1 GiB) included; and memory, where a control
    group can be had (`memory.MemoryGroup`).
    """

    seconds: float = 300.0
    memory: int = 6 * GIB
    threads: int = 2
    processes: int = 64
    files: int = 128
    scratch: int = 64 * 2**20

    def resources(self) -> dict[str, int]:
        """As the names of resource limits; processor time is the wall clock of every thread."""
        return {
            "AS": self.memory,
            "CPU": max(1, int(self.seconds * (self.threads + 1))),
            "NPROC": self.processes,
            "NOFILE": self.files,
            "FSIZE": self.scratch,
            "CORE": 0,
            "MEMLOCK": 0,
        }


class SandboxError(Exception):
    """One line: what a submission did instead of answering."""


class IsolationError(UserError):
    """A machine without a way to run a stranger's code apart."""


def frame(data: bytes) -> bytes:
    """Eight bytes that say how long, then the bytes."""
    return len(data).to_bytes(8, "little") + data


@dataclass
class SandboxProcess:
    """A runner process and the two pipes to it; leaving the context ends it and all that it started.

    Parameters
    ----------
    code : the submission's mapping.py.
    orders : what the runner is told, besides where things lie.
    isolate : False runs it as an ordinary process: --unsafe-no-sandbox.
    program : another program for the runner's place, for the probe.
    """

    code: bytes
    orders: dict[str, Any]
    limits: Limits = field(default_factory=Limits)
    isolate: bool = True
    program: bytes | None = None

    def __enter__(self) -> SandboxProcess:
        self._deadline = time.monotonic() + self.limits.seconds
        self._buffer = bytearray()
        self._ended = False
        self._folder: str | None = None
        self._memory: MemoryGroup | None = None
        self._outgoing: Iterator[bytes] = iter(())
        self._pending = memoryview(b"")
        files = view.own_files() | {"/submission/mapping.py": self.code}
        if self.program is not None:
            files["/lrt/runner.py"] = self.program
        self._output, output = os.pipe()
        self._status, status = os.pipe()
        try:
            start = self._start_in_cell if self.isolate else self._start_ordinary_process
            start(files, output, status)
        finally:
            os.close(output)
            os.close(status)
        assert self._process.stdin is not None
        self._input = self._process.stdin.fileno()
        for end in (self._input, self._output, self._status):
            os.set_blocking(end, False)
        return self

    def _start_in_cell(self, files: dict[str, bytes], output: int, status: int) -> None:
        # Libraries open two devices as they are imported. The cell has plain files of its own in their place.
        files = files | {"/dev/urandom": secrets.token_bytes(4096)}
        plan = view.machine_view() | {
            "files": [(path, len(data)) for path, data in files.items()],
            "scratch_bytes": self.limits.scratch,
            "limits": self.limits.resources(),
            "command": [*view.PYTHON, "/lrt/runner.py"],
        }
        command = [*view.PYTHON, "-c", START, str(PACKAGE.parent), str(status), str(output)]
        self._process = _launch(command, pass_fds=(status, output))
        self._memory = MemoryGroup(self.limits.memory)
        self._memory.take(self._process.pid)  # it waits for its plan, so all of the cell is in the group
        orders = self._orders("/lrt", "/submission", "/scratch")
        self.send([frame(json.dumps(plan).encode()), *files.values(), orders])

    def _start_ordinary_process(self, files: dict[str, bytes], output: int, status: int) -> None:
        if os.name != "posix":
            raise IsolationError(f"a submission's runner wants Linux or macOS, and this is {sys.platform}")
        from lrt_bench.submissions.sandbox import jail

        self._folder = folder = tempfile.mkdtemp(prefix="lrt-bench-unsafe-")
        for inside, data in files.items():
            path = Path(folder + inside)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        limits = {
            k: v for k, v in self.limits.resources().items() if k != "NPROC"
        }  # it counts a user's others

        def prepare() -> None:
            os.dup2(output, 3, inheritable=True)
            for name, value in limits.items():
                with contextlib.suppress(ValueError, OSError):  # not every system knows every limit
                    jail.set_limits({name: value})

        self._process = _launch([*view.PYTHON, f"{folder}/lrt/runner.py"], pass_fds=(3,), preexec_fn=prepare)
        self.send([self._orders(f"{folder}/lrt", f"{folder}/submission", folder)])

    def _orders(self, own: str, submission: str, scratch: str) -> bytes:
        orders = self.orders | {
            "paths": [own, *view.site_folders()],
            "mapping": f"{submission}/mapping.py",
            "scratch": scratch,
            "filter": filter_program(platform.machine()) if self.isolate else [],
            "seccomp": SECCOMP.get(platform.machine(), 0),
        }
        return frame(json.dumps(orders).encode())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the runner and everything in its cell, and wait until it has ended."""
        self._kill()
        limit = time.monotonic() + 10
        with contextlib.suppress(OSError):
            while time.monotonic() < limit:  # the pipe closes when the last process that holds it is gone
                wait_for(self._output, 0.1)
                try:
                    if not os.read(self._output, CHUNK):
                        break
                except BlockingIOError:
                    continue
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        os.close(self._output)
        os.close(self._status)
        if self._memory:
            self._memory.remove()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _kill(self) -> None:
        if not self.isolate:  # a session of its own: its group is what can be reached of it
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()  # in a jail the kernel then kills init, and with it the whole cell
        self._process.wait()

    def send(self, parts: Iterable[bytes]) -> None:
        """Queue bytes; they are written while an answer is waited for, as fast as they are read."""
        self._outgoing = itertools.chain(self._outgoing, parts)

    def extend(self, seconds: float) -> None:
        """Move the deadline."""
        self._deadline += seconds

    def line(self, limit: int = 4096) -> bytes:
        """Return the answer's next line.

        Raises SandboxError.
        """
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > limit:
                raise SandboxError("answered junk")
            if not self._turn():
                raise SandboxError(self._obituary())
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def rest(self, limit: int) -> bytes:
        """All that the runner sends from here to its end, at most `limit` bytes.

        Raises SandboxError.
        """
        while self._turn():
            if len(self._buffer) > limit:
                raise SandboxError(f"sent more than the {limit} bytes that its answer may have")
        if not self._buffer:
            raise SandboxError(self._obituary())
        return bytes(self._buffer)

    def _turn(self) -> bool:
        """Write and read what can be without waiting long; False once the runner has closed its end."""
        if self._ended:
            return False
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise SandboxError(f"took longer than {self.limits.seconds:g} seconds: stopped")
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            if self._next_part():
                selector.register(self._input, selectors.EVENT_WRITE)
            ready = {key.fd for key, _ in selector.select(left)}
        if self._input in ready:
            self._write()
        if self._output in ready:
            part = os.read(self._output, CHUNK)
            self._ended = not part
            self._buffer += part
        return not self._ended

    def _next_part(self) -> bool:
        while not self._pending:
            part = next(self._outgoing, None)
            if part is None:
                return False
            self._pending = memoryview(part)
        return True

    def _write(self) -> None:
        try:
            self._pending = self._pending[os.write(self._input, self._pending[:CHUNK]) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:  # it reads no more; what it has to say comes on the other pipe
            self._pending, self._outgoing = memoryview(b""), iter(())

    def _obituary(self) -> str:
        """Why the runner ended without an answer."""
        try:
            code = self._process.wait(max(0.0, min(10.0, self._deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            return "closed its answer and ran on: stopped"
        said = b""
        with contextlib.suppress(BlockingIOError):
            said = os.read(self._status, 1000)
        if said:
            raise IsolationError(
                f"this machine cannot isolate a submission: {said.decode(errors='replace')}; {_mend()}, "
                "or run code that you trust with --unsafe-no-sandbox"
            )
        number = -code if code < 0 else code - 128
        if number <= 0:
            return f"ended without an answer (exit code {code})"
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        return f"was killed ({ENDINGS.get(name, name)})"


def _mend() -> str:
    """Return what would let a cell be built here."""
    for switch, forbids, allows in SWITCHES:
        with contextlib.suppress(OSError):
            if Path("/proc/sys", switch.replace(".", "/")).read_text().strip() == forbids:
                return f"allow user namespaces (as root: sysctl {switch}={allows})"
    return "allow user namespaces"


def wait_for(fd: int, seconds: float) -> None:
    """Wait until there is something to read."""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        selector.select(seconds)


def _launch(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    nothing = subprocess.DEVNULL
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=nothing, stderr=nothing, env={}, cwd="/",
        start_new_session=True, bufsize=0, **options,
    )  # fmt: skip


PROBE = """
import os
seen = [path for path in ({canary!r}, "/etc/passwd") if os.path.exists(path)]
os.write(3, b"no" if seen else b"apart")
"""


@functools.cache
def check_isolation() -> None:
    """Raise IsolationError, with the reason, where this machine cannot build a cell."""
    if sys.platform != "linux":
        raise IsolationError(
            f"submissions are isolated by Linux namespaces, and this is {sys.platform}: run this on Linux, "
            "or run code that you trust with --unsafe-no-sandbox"
        )
    with tempfile.NamedTemporaryFile(prefix="lrt-bench-canary-") as canary:
        program = PROBE.format(canary=canary.name).encode()
        with SandboxProcess(b"", {}, Limits(seconds=30), program=program) as process:
            try:
                answer = process.rest(100)
            except SandboxError as failure:
                raise IsolationError(
                    f"this machine cannot isolate a submission: a trial {failure}"
                ) from failure
    if answer != b"apart":
        raise IsolationError("this machine cannot isolate a submission: a trial still saw its files")

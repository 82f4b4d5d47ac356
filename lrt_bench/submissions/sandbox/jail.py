"""The cell that a stranger's code runs in: build it, then start the runner inside it.

The module imports the standard library and `kernel` alone.

`launcher.py` starts it in a process of its own, isolated and without site packages, with two descriptors,
STATUS and OUTPUT; it reads what to build from standard input. It becomes three processes:

- this one, outside: makes the namespaces, keeps descriptors of what the cell may see, waits;
- init, process 1 of the cell: builds the file system, waits for the runner; when it ends, for whatever
  reason, the kernel ends every process of the cell;
- the runner: no capability, no way to gain one, limited, its environment empty.

The cell's processes run as `nobody` when this is started by root, else as the user who started it. If the
scorer dies, the kernel kills this process, and with it init.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import sys
from dataclasses import dataclass
from typing import Any, NoReturn

from lrt_bench.submissions.sandbox.kernel import (
    AT_FDCWD,
    ATTR_NODEV,
    ATTR_NOSUID,
    ATTR_RDONLY,
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    KEYCTL,
    MNT_DETACH,
    MOVE_MOUNT,
    MOVE_MOUNT_F_EMPTY_PATH,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    PIVOT_ROOT,
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_PDEATHSIG,
    JailError,
    checked,
    clone_tree,
    drop_everything,
    libc,
    mount,
    permitted,
    prctl,
    set_attributes,
    set_capabilities,
    syscall,
)

NOBODY = 65534
INNER = 1000  # what the cell's processes take themselves for

EMPTY, LOWER = ".empty", ".lower"  # of overlays, while they are made
STAGE = b"/dev"  # exists everywhere, and nothing that the cell needs is looked up in it later
FILE_LIMIT = 512_000_000
GRACE = 5  # seconds of processor time


@dataclass(frozen=True)
class Trees:
    """Descriptors of what the cell may see, each with its path: detached mounts of folders, open files."""

    folders: list[tuple[int, str]]
    files: list[tuple[int, str]]


def read_exactly(fd: int, size: int) -> bytes:
    """Read so many bytes.

    Raises JailError where fewer come.
    """
    parts, missing = [], size
    while missing:
        part = os.read(fd, min(missing, 1 << 20))
        if not part:
            raise JailError("the scorer went away")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def read_frame(fd: int) -> bytes:
    """Return a frame: eight bytes that say its length, then it."""
    size = int.from_bytes(read_exactly(fd, 8), "little")
    if size > FILE_LIMIT:
        raise JailError("frame too long")
    return read_exactly(fd, size)


def new_namespaces() -> None:
    """User, mount, process, network, IPC, host-name and control-group namespaces of our own.

    Root hands its children to nobody's account: a helper outside the new user namespace writes the map,
    which is not allowed from inside. Where that fails, the user is mapped to itself.
    """
    uid, gid = os.geteuid(), os.getegid()
    helper = 0
    ready_read, ready_write = os.pipe()
    if uid == 0:
        with contextlib.suppress(
            PermissionError
        ):  # forbidden in a rootless container, where it gains nothing
            os.setgroups([])
        helper = os.fork()
        if helper == 0:
            os.close(ready_write)
            outside = os.getppid()
            begun = os.read(ready_read, 1) == b"x"  # nothing, where the process outside is gone
            os._exit(0 if begun and _write_map(outside, NOBODY, NOBODY) else 1)
    every = (
        CLONE_NEWUSER
        | CLONE_NEWNS
        | CLONE_NEWPID
        | CLONE_NEWNET
        | CLONE_NEWIPC
        | CLONE_NEWUTS
        | CLONE_NEWCGROUP
    )
    failed = libc.unshare(every) < 0
    reason = os.strerror(ctypes.get_errno())
    os.write(ready_write, b"x")
    os.close(ready_read)
    os.close(ready_write)
    mapped = helper and os.waitpid(helper, 0)[1] == 0
    if failed:
        raise JailError(f"user namespaces are not allowed here (unshare: {reason})")
    if not mapped and not _write_map(os.getpid(), uid, gid):
        raise JailError("user namespaces are not allowed here (uid_map cannot be written)")


def _write_map(pid: int, uid: int, gid: int) -> bool:
    try:
        for name, text in (
            ("uid_map", f"{INNER} {uid} 1"),
            ("setgroups", "deny"),
            ("gid_map", f"{INNER} {gid} 1"),
        ):
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write(text)
    except OSError:
        return False
    return True


def take_trees(plan: dict[str, Any]) -> Trees:
    """Take descriptors of all that the cell may see, while this identity can still reach them."""
    attributes = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV
    return Trees(
        [(clone_tree(path, attributes), path) for path in plan["binds"]],
        [(os.open(path, os.O_RDONLY | os.O_CLOEXEC), path) for path in plan["copies"]],
    )


def become_inner() -> None:
    """Take the identity that is mapped; keep the new user namespace's capabilities for now."""
    prctl(PR_SET_KEEPCAPS, 1)
    os.setresgid(INNER, INNER, INNER)
    os.setresuid(INNER, INNER, INNER)
    set_capabilities(permitted())  # a change of user clears the effective ones
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    number = KEYCTL.get(os.uname().machine)
    if number is not None:  # a new session keyring: the scorer's would be inherited
        libc.syscall(ctypes.c_long(number), ctypes.c_long(1), ctypes.c_void_p(None))


def build_root(plan: dict[str, Any], trees: Trees, files: bytes) -> None:
    """Build an empty root in memory, the allowed trees and files in it, nothing else. It has no device."""
    mount(b"tmpfs", STAGE, b"tmpfs", MS_NOSUID | MS_NODEV, b"size=%d,mode=755" % plan["root_bytes"])
    os.chdir(STAGE)
    os.mkdir(EMPTY)
    os.mkdir(LOWER)
    for fd, inside in trees.folders:
        attach_folder(fd, inside.lstrip("/"))
    os.rmdir(LOWER)  # EMPTY stays: it is the upper layer of every overlay, and a removed one lists nothing
    for fd, inside in trees.files:
        copy_file(fd, inside.lstrip("/"))
    for inside in plan["hidden"]:
        if os.path.isdir(inside.lstrip("/")):
            mount(
                b"tmpfs", inside.lstrip("/").encode(), b"tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, b"size=4k"
            )
    for inside, link in plan["links"]:
        os.makedirs(os.path.dirname(inside.lstrip("/")) or ".", exist_ok=True)
        os.symlink(link, inside.lstrip("/"))
    start = 0
    for inside, size in plan["files"]:
        os.makedirs(os.path.dirname(inside.lstrip("/")), exist_ok=True)
        with open(inside.lstrip("/"), "wb") as file:
            file.write(files[start : start + size])
        start += size
    os.makedirs("scratch")
    options = b"size=%d,nr_inodes=1024,mode=700" % plan["scratch_bytes"]
    mount(b"tmpfs", b"scratch", b"tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
    open("scratch/null", "w").close()
    os.symlink("/scratch/null", "dev/null")
    mount_proc()
    change_root()


def attach_folder(fd: int, target: str) -> None:
    """Put a read-only overlay of a detached folder in the cell.

    Its inodes are the cell's own: locks, notices and times on them reach neither the machine nor another
    cell. Where the kernel refuses an overlay of this file system, the folder itself is attached, read-only.
    """
    os.makedirs(target, exist_ok=True)
    flags = ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH)
    lower = os.fsencode(LOWER)
    syscall(MOVE_MOUNT, f"move_mount {target}", fd, b"", AT_FDCWD, lower, flags)
    os.close(fd)
    layers = b"lowerdir=%b/%b:%b/%b,userxattr" % (STAGE, os.fsencode(EMPTY), STAGE, lower)
    try:
        mount(b"overlay", os.fsencode(target), b"overlay", MS_RDONLY | MS_NOSUID | MS_NODEV, layers)
    except JailError:
        syscall(
            MOVE_MOUNT,
            f"move_mount {target}",
            AT_FDCWD,
            lower,
            AT_FDCWD,
            os.fsencode(target),
            ctypes.c_uint(0),
        )
        return
    checked(libc.umount2(lower, MNT_DETACH), "umount of an overlay's lower folder")


def copy_file(fd: int, target: str) -> None:
    """Write a copy of a file, as executable as it is."""
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    with open(fd, "rb") as source, open(target, "wb") as copy:
        os.fchmod(copy.fileno(), 0o555 if os.fstat(source.fileno()).st_mode & 0o111 else 0o444)
        while part := source.read(1 << 20):
            copy.write(part)


def mount_proc() -> None:
    """/proc of the cell's own processes, read-only; and no user namespace inside this one."""
    os.makedirs("proc")
    try:
        mount(b"proc", b"proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except JailError:  # a container that masks parts of /proc forbids a new one: the cell has none, then
        return
    with contextlib.suppress(OSError), open("proc/sys/user/max_user_namespaces", "w") as file:
        file.write("0")
    set_attributes(AT_FDCWD, b"proc", 0, ATTR_RDONLY)


def change_root() -> None:
    """Make the stage the root and let go of the machine's."""
    number = PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise JailError(f"no isolation on {os.uname().machine} yet")
    syscall(number, "pivot_root", b".", b".")
    checked(libc.umount2(b".", MNT_DETACH), "umount of the machine's root")
    os.chdir("/")
    set_attributes(AT_FDCWD, b"/", 0, ATTR_RDONLY)


def set_limits(limits: dict[str, int]) -> None:
    """Set resource limits by name, none above the hard limit there is."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        soft = max(1, value - GRACE) if name == "CPU" else value  # first a signal with a name, then the end
        resource.setrlimit(kind, (soft, value))


def start_runner(plan: dict[str, Any], status: int, output: int, sink: int) -> NoReturn:
    """Become the runner: standard input and descriptor 3 are its only ways in and out.

    sink : what it prints goes there, and init throws it away.
    """
    os.setsid()
    # whoever started this may have had so many files open that an end has one of the numbers below
    status, output, sink = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 64) for end in (status, output, sink)]
    os.dup2(status, 62, inheritable=False)  # closed by the start of the runner's program
    os.dup2(output, 63, inheritable=False)
    os.dup2(sink, 61)
    os.dup2(61, 1)
    os.dup2(61, 2)
    os.dup2(63, 3, inheritable=True)
    os.closerange(4, 62)  # the sink's other descriptors too
    os.closerange(64, 4096)
    os.chdir("/scratch")
    set_limits(plan["limits"])
    drop_everything()
    try:
        os.execve(plan["command"][0], plan["command"], {})
    except OSError as error:
        os.write(62, f"{plan['command'][0]}: {error.strerror}".encode())
    os._exit(1)


def run_init(plan: dict[str, Any], trees: Trees, gate: tuple[int, int], ends: tuple[int, int]) -> int:
    """Process 1 of the cell: build, start the runner, wait for it.

    Its return is the cell's end.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.write(gate[1], b"x")
    if os.read(gate[0], 1) != b"x":  # the process outside is gone: its death signal would never come
        return 1
    prctl(PR_SET_DUMPABLE, 0)
    total = sum(size for _, size in plan["files"])
    build_root(plan, trees, read_exactly(0, total))
    printed, sink = os.pipe()
    runner = os.fork()
    if runner == 0:
        start_runner(plan, *ends, sink)
    drop_everything()
    for fd in (0, sink, *ends):
        os.close(fd)
    return wait_for(runner, printed)


def wait_for(runner: int, printed: int) -> int:
    """Throw away what is printed until the runner ends; return its exit code."""
    ended = os.pidfd_open(runner)
    watched = [ended, printed]
    while True:
        ready = select.select(watched, [], [], 1)[0]
        if printed in ready and not os.read(printed, 1 << 16):
            watched.remove(printed)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 1
            if pid == runner:
                code = os.waitstatus_to_exitcode(status)
                return 128 - code if code < 0 else code
            if pid == 0:
                break


def main(status: int, output: int) -> int:
    """Make the namespaces, start init in them, and return its exit code."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # where memory runs out, the cell goes first
    plan = json.loads(read_frame(0))
    new_namespaces()
    mount(b"none", b"/", None, MS_REC | MS_PRIVATE)
    trees = take_trees(plan)
    become_inner()
    to_init, to_outside = os.pipe(), os.pipe()
    init = os.fork()
    if init == 0:
        os.close(to_init[1])
        os.close(to_outside[0])
        code = 1
        try:
            code = run_init(plan, trees, (to_init[0], to_outside[1]), (status, output))
        except (JailError, OSError) as error:
            os.write(status, str(error).encode())
        os._exit(code)
    taken = [fd for fd, _ in (*trees.folders, *trees.files)]
    for fd in (0, output, to_init[0], to_outside[1], *taken):
        os.close(fd)
    if os.read(to_outside[0], 1) == b"x":
        os.write(to_init[1], b"x")
    return os.waitstatus_to_exitcode(os.waitpid(init, 0)[1]) & 0xFF


def start(status: int, output: int) -> NoReturn:
    """Run `main` as the whole of this process; what went wrong is written to `status`."""
    try:
        sys.exit(main(status, output))
    except (JailError, OSError) as problem:
        os.write(status, str(problem).encode())
        sys.exit(1)

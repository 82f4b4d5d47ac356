"""The kernel's calls that a cell is built with, through the C library: Python's own has none of them."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Any

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 0x4000, 0x40000
MNT_DETACH = 2
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442  # the same numbers on every architecture
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
KEYCTL = {"x86_64": 250, "aarch64": 219}
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE, OPEN_TREE_CLONE = -100, 0x1000, 0x8000, 1
MOVE_MOUNT_F_EMPTY_PATH = 4
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC = 1, 2, 4, 8
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_CAPBSET_DROP = 1, 4, 8, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
CAP_VERSION_3 = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)


class JailError(Exception):
    """A step that this machine refuses."""


def checked(result: int, what: str) -> int:
    """Return a system call's result; raise JailError where it failed."""
    if result < 0:
        raise JailError(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def prctl(option: int, *values: int) -> int:
    """Call prctl(2)."""
    return int(libc.prctl(option, *(ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4])))


def syscall(number: int, what: str, *arguments: Any) -> int:
    """Make a system call by its number.

    Raises JailError where it fails.
    """
    return checked(int(libc.syscall(ctypes.c_long(number), *arguments)), what)


def mount(source: bytes, target: bytes, kind: bytes | None, flags: int, options: bytes | None = None) -> None:
    """Call mount(2).

    Raises JailError.
    """
    result = libc.mount(source, target, kind, ctypes.c_ulong(flags), options)
    checked(result, f"mount {(kind or b'').decode()} on {target.decode()}")


def set_attributes(folder: int, path: bytes, flags: int, attributes: int) -> None:
    """mount_setattr(2): unlike a remount it reaches what is mounted below, too."""
    packed = struct.pack("=QQQQ", attributes, 0, 0, 0)
    syscall(
        MOUNT_SETATTR, "mount_setattr (wants Linux 5.12)", folder, path, ctypes.c_uint(flags), packed,
        ctypes.c_size_t(len(packed)),
    )  # fmt: skip


def clone_tree(path: str, attributes: int) -> int:
    """Return a detached, read-only copy of a mount: a descriptor that can be attached in the cell."""
    where = os.fsencode(path)
    flags = OPEN_TREE_CLONE | os.O_CLOEXEC | AT_RECURSIVE
    fd = syscall(OPEN_TREE, f"open_tree {path}", AT_FDCWD, where, ctypes.c_uint(flags))
    set_attributes(fd, b"", AT_EMPTY_PATH | AT_RECURSIVE, attributes)
    return fd


def permitted() -> int:
    """Return the capabilities that this process may have, as a mask."""
    header = (ctypes.c_uint32 * 2)(CAP_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    checked(libc.capget(header, data), "capget")
    return data[1] | data[4] << 32


def set_capabilities(mask: int) -> None:
    """Set the effective and permitted capabilities; none is inheritable."""
    header = (ctypes.c_uint32 * 2)(CAP_VERSION_3, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    checked(libc.capset(header, (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)), "capset")


def drop_everything() -> None:
    """No capability now, none later."""
    for capability in range(64):
        prctl(PR_CAPBSET_DROP, capability)
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    set_capabilities(0)
    checked(prctl(PR_SET_NO_NEW_PRIVS, 1), "no_new_privs")

"""The filter over a submission's system calls: what is not named is refused.

It is made outside the cell, from `calls` (names and numbers, generated from the kernel's headers), and put in
place by the runner before a stranger's code is imported. The namespaces stand behind it.
"""

from __future__ import annotations

from lrt_bench.submissions.sandbox.calls import CALLS

Step = tuple[int, int, int, int]  # of a classic BPF program: code, jump if true, jump if false, number

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
SECCOMP = {"x86_64": 317, "aarch64": 277}
ALLOW, REFUSE, NOT_THERE, KILL = 0x7FFF0000, 0x50001, 0x50026, 0x80000000  # errno EPERM, errno ENOSYS
LOAD, EQUAL, AT_LEAST, ANY_OF, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT, SECOND_ARGUMENT = 0, 4, 16, 24  # offsets of what a filter reads
X32 = 0x40000000  # bit of a second table of numbers on x86-64
NEWER = 450  # numbers from here on are younger than the table: the C library then does without
CLONE_THREAD = 0x10000
# Duplicates, flags and the like. No lock, lease, notice, seal or size of a pipe: they reach other processes,
# or take memory that no limit counts.
FCNTL = (0, 1, 2, 3, 4, 1030)
IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIO(N)CLEX


def filter_program(machine: str) -> list[Step]:
    """Return the filter for an architecture; none where the table has no such one."""
    if machine not in CALLS:
        return []
    calls = dict(CALLS[machine])
    clone, clone3, fcntl, ioctl = (calls.pop(name) for name in ("clone", "clone3", "fcntl", "ioctl"))
    program = [
        (LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, ARCHITECTURES[machine]), (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER), (AT_LEAST, 0, 1, X32), (RETURN, 0, 0, REFUSE),
        (EQUAL, 0, 1, clone3), (RETURN, 0, 0, NOT_THERE),  # the C library then uses clone
        (EQUAL, 0, 4, clone), (LOAD, 0, 0, FIRST_ARGUMENT), (ANY_OF, 0, 1, CLONE_THREAD),
        (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE),
    ]  # fmt: skip
    for number, allowed in ((fcntl, FCNTL), (ioctl, IOCTL)):
        program += [(EQUAL, 0, 2 * len(allowed) + 2, number), (LOAD, 0, 0, SECOND_ARGUMENT)]
        for value in allowed:
            program += [(EQUAL, 0, 1, value), (RETURN, 0, 0, ALLOW)]
        program.append((RETURN, 0, 0, REFUSE))
    for number in sorted(calls.values()):
        program += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    return [*program, (AT_LEAST, 0, 1, NEWER), (RETURN, 0, 0, NOT_THERE), (RETURN, 0, 0, REFUSE)]

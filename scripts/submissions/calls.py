"""Write the table of allowed system calls from the kernel's headers: ``python -m scripts.submissions.calls``.

The names are below; their numbers on x86-64 and aarch64 go to ``lrt_bench/submissions/sandbox/calls.py``. The
headers are those of linux-libc-dev.
"""

from __future__ import annotations

import re
from pathlib import Path

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),  # arm64 takes the generic numbers
}
OUT = Path(__file__).parents[2] / "lrt_bench/submissions/sandbox/calls.py"
ALLOWED = """
    access arch_prctl brk chdir clock_getres clock_gettime clock_nanosleep close close_range dup
    dup2 dup3 epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 exit exit_group faccessat
    faccessat2 fallocate fchdir fdatasync fstat fstatfs fsync ftruncate futex futex_waitv getcpu
    getcwd getdents64 getegid geteuid getgid getgroups getitimer get_mempolicy getpgid getpgrp
    getpid getppid getpriority getrandom getresgid getresuid getrlimit get_robust_list getrusage
    getsid gettid gettimeofday getuid kill lseek lstat madvise membarrier mkdir mkdirat mmap
    mprotect mremap msync munmap nanosleep newfstatat open openat openat2 pipe pipe2 poll ppoll
    prctl pread64 preadv prlimit64 pselect6 pwrite64 pwritev read readlink readlinkat readv rename
    renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask
    rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_getaffinity sched_getparam
    sched_get_priority_max sched_get_priority_min sched_getscheduler sched_setaffinity sched_yield
    select setitimer setrlimit set_robust_list set_tid_address sigaltstack stat statfs statx sysinfo
    tgkill time times tkill truncate umask uname unlink unlinkat wait4 waitid write writev
""".split()  # noqa: SIM905
LOOKED_INTO = ("clone", "clone3", "fcntl", "ioctl")  # allowed with some arguments only
SAME_NAME = {"newfstatat": ("newfstatat", "fstatat"), "fstat": ("fstat",), "lseek": ("lseek",)}


def numbers(header: Path) -> dict[str, int]:
    """Return every call's number in a header; on 64 bits __NR3264_x is x."""
    text = header.read_text()
    found = re.finditer(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\b", text)
    return {match[1]: int(match[2]) for match in found}


def table() -> dict[str, dict[str, int]]:
    """Return {architecture: {name: number}} of what is allowed, without calls that an architecture lacks."""
    tables = {}
    for machine, header in HEADERS.items():
        known = numbers(header)
        chosen = {}
        for name in sorted((*ALLOWED, *LOOKED_INTO)):
            for other in SAME_NAME.get(name, (name,)):
                if other in known:
                    chosen[name] = known[other]
                    break
        tables[machine] = chosen
    return tables


def main() -> None:
    """Write the table."""
    lines = [
        '"""Numbers of the system calls that a submission may make, by name.',
        "",
        "Written by ``python -m scripts.submissions.calls`` from the kernel's headers; do not edit.",
        '"""',
        "",
        "CALLS = {",
    ]
    for machine, calls in table().items():
        lines.append(f'    "{machine}": {{')
        row = "       "
        for name, number in calls.items():
            part = f' "{name}": {number},'
            if len(row) + len(part) > 108:
                lines.append(row)
                row = "       "
            row += part
        lines += [row, "    },"]
    lines += ["}  # fmt: skip", ""]
    OUT.write_text("\n".join(lines))


if __name__ == "__main__":
    main()

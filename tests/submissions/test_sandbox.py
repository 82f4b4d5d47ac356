"""The cell itself: it says so where it cannot be built, what runs without it, that it works for anyone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from command_line import COMMAND, one_line, output_of

from lrt_bench.submissions.sandbox import launcher as sandbox
from lrt_bench.submissions.sandbox import seccomp, view
from lrt_bench.submissions.sandbox.calls import CALLS
from lrt_bench.submissions.sandbox.launcher import (
    IsolationError,
    Limits,
    SandboxError,
    SandboxProcess,
    check_isolation,
)
from lrt_bench.submissions.sandbox.seccomp import filter_program
from lrt_bench.submissions.scaffold import new_submission
from scripts.submissions import calls

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fresh_check():
    check_isolation.cache_clear()
    yield
    check_isolation.cache_clear()


@pytest.mark.sandbox
def test_this_machine_isolates(fresh_check):
    check_isolation()


def test_another_system_is_refused(fresh_check, monkeypatch):
    monkeypatch.setattr(sandbox.sys, "platform", "darwin")
    with pytest.raises(IsolationError, match="this is darwin: run this on Linux"):
        check_isolation()


@pytest.mark.sandbox
def test_where_namespaces_are_forbidden_it_says_so_and_refuses(tmp_path, small_suite):
    """In a user namespace that may hold no other one, as on machines that forbid them."""
    new_submission("demo", tmp_path)
    options = ["--suite", small_suite, "--out", tmp_path / "out", "--submission", tmp_path / "demo"]
    command = [*COMMAND, "evaluate", *map(str, options)]
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    inside = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh", *command]
    process = subprocess.run(inside, capture_output=True, text=True, check=False)
    assert process.returncode == 2, process.stderr
    line = one_line(process.stderr)
    assert "this machine cannot isolate a submission: user namespaces are not allowed" in line
    assert "sysctl user.max_user_namespaces=10000" in line
    assert "--unsafe-no-sandbox" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.sandbox
def test_a_rootless_container_isolates():
    """Root of a user namespace that knows one user only."""
    code = (
        "from lrt_bench.submissions.sandbox.launcher import check_isolation; "
        "check_isolation(); print('apart')"
    )
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", code]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.stdout == "apart\n", process.stderr


@pytest.mark.slow
def test_without_a_sandbox_only_when_told(tmp_path, small_suite):
    new_submission("demo", tmp_path)
    options = ["--suite", small_suite, "--mapping", "affine", "--task", "person", "--out", tmp_path / "out"]
    options += ["--submission", tmp_path / "demo", "--unsafe-no-sandbox"]
    output_of("evaluate", *options)
    from lrt_bench.results.storage import read_result

    result = read_result(tmp_path / "out" / "small" / "rotated" / "demo.json")
    assert result.audit is not None
    assert not result.audit.isolated
    assert not list(Path("/tmp").glob("lrt-bench-unsafe-*"))


def test_allowed_calls_have_the_numbers_of_the_kernels_headers():
    """On both architectures: the table is what the generator makes of the headers that are here."""
    if not all(header.is_file() for header in calls.HEADERS.values()):
        pytest.skip("no kernel headers (linux-libc-dev)")
    assert calls.table() == CALLS


NO_USE = [  # each was an escape, a bit for the next fit, or memory that nothing counts
    "fork", "vfork", "execve", "execveat", "socket", "socketpair", "ptrace", "process_vm_readv", "kcmp",
    "pidfd_open", "pidfd_getfd", "unshare", "setns", "mount", "umount2", "pivot_root", "open_tree",
    "move_mount", "fsopen", "mount_setattr", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup",
    "memfd_create", "memfd_secret", "shmget", "msgget", "semget", "mq_open", "keyctl", "add_key",
    "request_key", "fanotify_init", "vmsplice", "splice", "tee", "utimensat", "utime", "utimes",
    "futimesat", "flock", "inotify_init", "inotify_init1", "mincore", "cachestat", "preadv2",
    "fadvise64", "readahead", "mlock", "setxattr", "chmod", "fchmod", "fchmodat", "symlink", "link",
    "name_to_handle_at", "mbind", "remap_file_pages",
]  # fmt: skip


@pytest.mark.parametrize("machine", CALLS)
def test_the_filter_lets_named_calls_through_and_no_others(machine):
    """The program is run as the kernel would: every number of both tables."""
    program = filter_program(machine)
    numbers = calls.numbers(calls.HEADERS[machine]) if calls.HEADERS[machine].is_file() else {}
    for name, number in CALLS[machine].items():
        if name not in calls.LOOKED_INTO:
            assert verdict(program, machine, number) == seccomp.ALLOW, name
    allowed = set(CALLS[machine].values())
    refused = {seccomp.REFUSE, seccomp.NOT_THERE}
    assert all(verdict(program, machine, n) in refused for n in range(1000) if n not in allowed)
    assert not set(NO_USE) & CALLS[machine].keys()
    for name in NO_USE:
        if name in numbers:
            assert verdict(program, machine, numbers[name]) in refused
    clone, fcntl = CALLS[machine]["clone"], CALLS[machine]["fcntl"]
    assert verdict(program, machine, clone, 0x10000) == seccomp.ALLOW  # a thread
    assert verdict(program, machine, clone, 17) == seccomp.REFUSE  # a process
    assert verdict(program, machine, fcntl, 5, 3) == seccomp.ALLOW
    for command in (5, 6, 7, 9, 36, 37, 38, 1024, 1026, 1031, 1033):  # locks, leases, notices, pipes, seals
        assert verdict(program, machine, fcntl, 5, command) == seccomp.REFUSE
    assert (
        verdict(program, machine, CALLS[machine]["ioctl"], 5, 0x5412) == seccomp.REFUSE
    )  # typing for others
    assert verdict(program, machine, 0x40000000 + 1) == seccomp.REFUSE
    other = next(name for name in CALLS if name != machine)
    assert verdict(program, other, 0) == seccomp.KILL


def verdict(program: list, machine: str, number: int, first: int = 0, second: int = 0) -> int:
    """What a classic BPF program returns for a call."""
    seen = {0: number, 4: seccomp.ARCHITECTURES[machine], 16: first, 24: second}
    at = value = 0
    while True:
        code, when, otherwise, constant = program[at]
        at += 1
        if code == seccomp.RETURN:
            return constant
        if code == seccomp.LOAD:
            value = seen[constant]
            continue
        holds = {
            seccomp.EQUAL: value == constant,
            seccomp.AT_LEAST: value >= constant,
            seccomp.ANY_OF: bool(value & constant),
        }[code]
        at += when if holds else otherwise


@pytest.mark.sandbox
def test_however_many_files_are_open_the_answer_arrives():
    """The runner's ends are put at 61 to 63: pipes that have these numbers already were written over."""
    held = [os.open("/dev/null", os.O_RDONLY)]
    try:
        while held[-1] < 52:
            held.append(os.open("/dev/null", os.O_RDONLY))
        while held[-1] < 64:
            program = b"import os; os.write(3, b'x')"
            with SandboxProcess(b"", {}, Limits(seconds=10), program=program) as process:
                assert process.rest(10) == b"x", held[-1]
            held.append(os.open("/dev/null", os.O_RDONLY))
    finally:
        for each in held:
            os.close(each)


@pytest.mark.sandbox
def test_many_runners_leave_no_descriptor_open():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with SandboxProcess(b"", {}, Limits(seconds=10), program=b"import os; os.write(3, b'x')") as process:
            assert process.rest(10) == b"x"
        with (
            pytest.raises(SandboxError),
            SandboxProcess(b"", {}, Limits(seconds=10), program=b"1 / 0") as process,
        ):
            process.rest(10)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def open_folder():
    """A folder that any user may enter; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="lrt-bench-open-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.mark.sandbox
def test_an_installed_lrt_bench_is_hidden(open_folder, monkeypatch):
    """Beside torch in site-packages it would show tasks and weights: the cell has an empty folder there."""
    package = open_folder / "site-packages" / "lrt_bench" / "_data" / "tasks"
    package.mkdir(parents=True)
    (package / "score.jsonl").write_text("answers")
    (open_folder / "site-packages" / "other.py").write_text("")
    folders = [str(open_folder / "site-packages"), *view.site_folders()]
    view.machine_view.cache_clear()
    monkeypatch.setattr(view, "site_folders", lambda: folders)
    program = (
        f"import os\nsite = {folders[0]!r}\n"
        "os.write(3, repr((sorted(os.listdir(site)), os.listdir(site + '/lrt_bench'))).encode())"
    )
    try:
        with SandboxProcess(b"", {}, Limits(seconds=10), program=program.encode()) as process:
            assert process.rest(1000) == b"(['lrt_bench', 'other.py'], [])"
    finally:
        view.machine_view.cache_clear()


def _as_nobody(command: list[str]) -> list[str]:
    """The command as an ordinary user, let to the interpreter even where it lies in root's folder."""
    closed = [path for path in Path(sys.base_prefix).parents if not path.stat().st_mode & 0o001]
    steps = ["set -e"]
    for folder in closed:
        kept = Path(*Path(sys.base_prefix).parts[: len(folder.parts) + 1])
        steps.append(
            f"kept=$(mktemp -d); mount --bind {kept} $kept; mount -t tmpfs -o mode=755 none {folder};"
            f"mkdir {kept}; mount --bind $kept {kept}; umount -l $kept; rmdir $kept"
        )
    steps.append('exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all "$@"')
    return ["unshare", "--mount", "sh", "-c", "; ".join(steps), "sh", *command]


@pytest.mark.sandbox
@pytest.mark.skipif(os.geteuid() != 0, reason="everything here already ran as an ordinary user")
def test_an_ordinary_user_is_as_safe(open_folder):
    """A handful of the exploits again, as nobody."""
    chosen = "the_cell_holds or inode or not_felt or notice or fork_bomb or memory_bomb or leftover"
    chosen += " or endless or scorer or calls_that"
    base = open_folder
    command = [
        sys.executable, "-m", "pytest", str(ROOT / "tests/submissions/exploits"), "-q", "-k", chosen,
        "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={base}/run", "--rootdir", str(ROOT),
    ]  # fmt: skip
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(base),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    process = subprocess.run(
        _as_nobody(command), capture_output=True, text=True, cwd=base, env=environment, check=False
    )
    assert process.returncode == 0, process.stdout[-4000:] + process.stderr[-2000:]
    assert process.stdout.splitlines()[-1].endswith("[100%]")
    assert process.stdout.count(".") > 30

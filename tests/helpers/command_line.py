"""The command line in this process, or in one of its own where the process itself is tested."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from lrt_bench.cli.main import main

COMMAND = (sys.executable, "-m", "lrt_bench.cli")


def run(*words: object) -> Result:
    """The outcome of `lrt-bench WORDS`. What a user would see as a traceback is raised here."""
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert "Traceback" not in result.output, result.output
    return result


def outcome(*words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = run(*words)
    return result.exit_code, result.stdout, result.stderr


def output_of(*words: object) -> str:
    """Standard output of a command that must succeed."""
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def error_of(*words: object) -> str:
    """The one line of a command that is refused: exit code 2, and nothing on standard output."""
    result = run(*words)
    assert result.exit_code == 2, result.output
    assert not result.stdout, result.stdout
    return one_line(result.stderr)


def one_line(stderr: str) -> str:
    """The line, where standard error is one line that begins with ``error:``."""
    lines = stderr.strip().splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("error: "), stderr
    return lines[0]


def run_process(
    *words: object, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The same command in a process of its own, with more variables in its environment."""
    command = [*COMMAND, *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=os.environ | environment, check=False
    )

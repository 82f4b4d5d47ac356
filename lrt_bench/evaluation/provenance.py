"""Where a result's numbers come from, and what computing them took."""

from __future__ import annotations

import datetime
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from lrt_bench._version import __version__
from lrt_bench.files.resources import PACKAGE
from lrt_bench.results.schema.records import Provenance


def provenance(
    corpus: str,
    corpus_digest: str,
    data: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    trust_remote_code: bool | None = None,
    bos: Literal["auto", "always", "never"] | None = None,
) -> Provenance:
    """Describe where this run's numbers come from.

    Parameters
    ----------
    data
        Revision of each data set that was read.
    config
        The run's settings, as `RunConfig.recorded` gives them.
    trust_remote_code, bos
        How the models were loaded (`models.loading.Models`).
    """
    import transformers

    return Provenance(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        lrt_bench=__version__,
        commit=_commit(),
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=transformers.__version__,
        platform=platform.platform(),
        threads=torch.get_num_threads(),
        corpus=corpus,
        corpus_digest=corpus_digest,
        data=dict(data or {}) or None,
        config=dict(config) if config is not None else None,
        trust_remote_code=trust_remote_code,
        bos=bos,
    )


def peak_memory(device: str) -> int:
    """Peak bytes so far: of the GPU where it is one, else of this process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if (
        status.exists()
    ):  # what getrusage gives on Linux begins with the peak of the process that started this one
        [peak] = re.findall(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        return int(peak) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _commit() -> str | None:
    """Return the commit of the checkout that this code runs from; None when installed from a wheel."""
    if not (PACKAGE.parent / ".git").exists():
        return None
    command = ["git", "-C", str(PACKAGE.parent), "rev-parse", "HEAD"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    return process.stdout.strip() or None

"""What of this machine a cell sees: Python, its packages, system libraries; and what it is given of ours."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

from lrt_bench.errors import UserError
from lrt_bench.files.resources import PACKAGE

OWN_FILES = ("__init__.py", "_version.py", "errors.py", "mappings/*.py")  # all that a submission may import
NEEDED = ("torch", "numpy", "safetensors")
SYSTEM = ("/lib", "/lib64", "/lib32", "/usr/lib", "/usr/lib64", "/nix/store")
READABLE = (
    "/etc/ld.so.cache",
    *(f"/sys/devices/system/cpu/{name}" for name in ("online", "possible", "present")),
)
ROOT_BYTES = 16 * 2**20  # of the cell's root in memory, beside the copies of single files
PYTHON = (
    os.path.realpath(sys.executable),
    "-I",
    "-S",
    "-B",
    "-X",
    "utf8",
)  # a virtual environment's is a link
HERE = Path(__file__).parent


def site_folders() -> list[str]:
    """Return the folders of packages that a runner needs.

    Raises UserError where one is not installed.
    """
    folders = []
    for name in NEEDED:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise UserError(f"{name} is not installed: a submission's runner needs it")
        folders.append(str(Path(spec.origin).parent.parent))
    return list(dict.fromkeys(folders))


@functools.cache
def machine_view() -> dict[str, Any]:
    """Return what of this machine is seen in a cell: libraries and Python, nothing that a user wrote.

    binds : folders, which the cell has an overlay of its own over. copies : single files.
    """
    wanted = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), f"{sys.base_prefix}/lib"]
    wanted += [*SYSTEM, *site_folders(), PYTHON[0], *READABLE]
    binds: list[str] = []
    links = []
    for path in wanted:
        if os.path.islink(path):
            if path in SYSTEM:
                links.append((path, os.readlink(path)))
            path = os.path.realpath(path)
        if os.path.exists(path) and not any(_inside(path, bound) for bound in binds):
            binds = [bound for bound in binds if not _inside(bound, path)] + [path]
    copies = [path for path in binds if not os.path.isdir(path)]
    hidden = [f"{folder}/lrt_bench" for folder in site_folders()]
    return {
        "binds": [path for path in binds if path not in copies],
        "copies": copies,
        "links": [link for link in links if not any(_inside(link[0], bound) for bound in binds)],
        "hidden": hidden,
        "root_bytes": ROOT_BYTES + sum(os.stat(path).st_size for path in copies),
    }


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


@functools.cache
def own_files() -> dict[str, bytes]:
    """Return the runner, and the modules that a submission may import."""
    files = {"/lrt/runner.py": (HERE / "runner.py").read_bytes()}
    for pattern in OWN_FILES:
        for path in sorted(PACKAGE.glob(pattern)):
            files[f"/lrt/lrt_bench/{path.relative_to(PACKAGE)}"] = path.read_bytes()
    return files

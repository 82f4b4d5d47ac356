"""A rehearsal of a publish needs no network: it lists what would be sent, and how large it is."""

from __future__ import annotations

import os
import subprocess
import sys

CODE = """
from lrt_bench.data.hub import client
from lrt_bench.data.hub.repository import Destination, publish
client.PAUSES = ()
files = {"a.txt": b"hello", "b/c.txt": b"hi"}
publish(Destination("acme/x", "dataset"), files, message="m", dry_run=True, report=print)
"""


def test_a_dry_run_without_a_network_lists_files_and_sizes(tmp_path):
    """Nothing listens at the address; the process has no token."""
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "what is there is not known" in done.stdout
    assert "a.txt (5 bytes)" in done.stdout
    assert "b/c.txt (2 bytes)" in done.stdout
    assert "dry run: 2 files, 7 bytes; nothing was sent" in done.stdout

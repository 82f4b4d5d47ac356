"""Shows a built site on loopback."""

from __future__ import annotations

import functools
import http.server
from collections.abc import Callable
from pathlib import Path

from lrt_bench.errors import UserError
from lrt_bench.leaderboard.site import MARK


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a preview says where it is, and no more."""


def serve(site: Path, port: int, ready: Callable[[str], None]) -> None:
    """Serve a site until Ctrl-C.

    `ready` is called with its address. Raises UserError.
    """
    if not (site / MARK).is_file():
        raise UserError(f"--out {site}: no site there; run `lrt-bench leaderboard build` first")
    handler = functools.partial(_Quiet, directory=str(site))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror}; give another, or 0 for any") from error
    with server:
        ready(f"http://127.0.0.1:{server.server_address[1]}/")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return

"""Without the Hub: one line in two seconds, whatever is to be fetched; a slow Hub is waited for."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from lrt_bench.errors import UserError
from lrt_bench.files import hub
from lrt_bench.files.hub import check_data, check_models, why_no_hub

ROOT = Path(__file__).parents[2]
LATE = 2.6  # seconds: more than a connection is given


def closed() -> str:
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@contextlib.contextmanager
def swallowing() -> Iterator[str]:
    """An address that takes no connection and refuses none: its queue is full."""
    with contextlib.ExitStack() as held:
        server = held.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextlib.contextmanager
def answering_after(seconds: float) -> Iterator[str]:
    """A Hub that answers each request so late."""

    class Late(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if self.request.recv(4096):
                time.sleep(seconds)
                with contextlib.suppress(OSError):
                    self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Late) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(autouse=True)
def online(monkeypatch, tmp_path):
    """The network as it is, an empty cache; and nothing is known of any Hub."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "_said", {})


def at(monkeypatch: pytest.MonkeyPatch, address: str) -> str | None:
    monkeypatch.setattr(constants, "ENDPOINT", address)
    return why_no_hub()


def test_a_closed_port_is_known_at_once(monkeypatch):
    begun = time.monotonic()
    assert "cannot be reached (Connection refused)" in at(monkeypatch, closed())
    assert time.monotonic() - begun < 1


def test_a_network_that_swallows_everything_is_given_up_in_two_seconds(monkeypatch):
    begun = time.monotonic()
    with swallowing() as address:
        assert "cannot be reached" in at(monkeypatch, address)
        assert time.monotonic() - begun < 3
        assert "cannot be reached" in why_no_hub()  # known: the second model costs nothing
    assert time.monotonic() - begun < 3


def test_a_name_that_nobody_looks_up_is_given_up_too(monkeypatch):
    given_up = threading.Event()

    def look_up(*_, **__):
        given_up.wait()
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    begun = time.monotonic()
    assert "no connection within 2 s" in at(monkeypatch, "https://hub.invalid")
    assert time.monotonic() - begun < 3
    given_up.set()


def test_a_slow_hub_is_no_absent_one(monkeypatch, caplog):
    with answering_after(LATE) as address:
        assert at(monkeypatch, address) is None
    assert "is slow to answer: waiting 10 s" in caplog.text


def test_a_hub_that_never_answers_ends_when_its_client_would_give_up_the_first_time(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    with answering_after(30) as address:
        begun = time.monotonic()
        assert "does not answer" in at(monkeypatch, address)
    assert time.monotonic() - begun < 3


def test_where_a_proxy_stands_it_is_the_proxy_that_must_be_there(monkeypatch):
    close_session()  # one that was made before knows no proxy
    with answering_after(0) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        assert at(monkeypatch, "http://hub.invalid") is None
    monkeypatch.setenv("http_proxy", closed())
    assert "Connection refused" in at(monkeypatch, "http://another.invalid")
    close_session()


@pytest.mark.parametrize("address", ["nonsense", "http://", "http://host:port"])
def test_what_is_no_address_is_said(monkeypatch, address):
    assert at(monkeypatch, address) == f"HF_ENDPOINT is no address: {address}"


def test_what_lies_on_this_disk_asks_no_hub(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "ENDPOINT", closed())
    fetched = tmp_path / "cache" / "models--org--fetched"
    (fetched / "snapshots" / "abc").mkdir(parents=True)
    (fetched / "snapshots" / "abc" / "config.json").write_text("{}")
    (fetched / "refs").mkdir()
    (fetched / "refs" / "main").write_text("abc")
    check_models(
        ["nano/S", str(tmp_path), "org/fetched", "org/named@v1", "gpt2"], {"org/named": ".", "gpt2": "."}
    )
    check_data(["nano", str(tmp_path), "org/data@v1"], {"org/data": "."})
    for spec in ("org/absent", "org/fetched@v2", "planted-rotation:gpt2"):
        with pytest.raises(UserError, match=r"not in the local cache, and http.* cannot be reached"):
            check_models([spec], {})
    with pytest.raises(UserError, match=r"`--data org/data=PATH` names one\), and http.* cannot be reached"):
        check_data(["org/data"], {})


HERE = "--source nano/S:3 --target nano/L:5"
AWAY = "--source gpt2:6 --target gpt2-medium:12"


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        f"fit {AWAY} --save map",
        f"fit {HERE} --corpus org/text --save map",
        f"transfer --vector v.npy {AWAY}",
        "transfer --map org/map --vector v.npy",
        f"evaluate {AWAY}",
        f"evaluate {HERE} --corpus org/text",
        "evaluate --suite paper-base",
        "try --model gpt2:6 --vector v.npy --prompt x",
        "leaderboard pull org/results",
    ],
)
def test_every_command_fails_in_a_line(tmp_path, words):
    """A process of its own: what starting costs counts. Two seconds on a quiet core; here cores are busy."""
    hub_variables = {"HF_ENDPOINT": closed(), "HF_HUB_OFFLINE": "0", "HF_HUB_CACHE": str(tmp_path)}
    environment = os.environ | hub_variables | {"PYTHONPATH": str(ROOT)}
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "lrt_bench.cli", *words.split()],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert time.monotonic() - begun < 10
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "cannot be reached (Connection refused)" in done.stderr

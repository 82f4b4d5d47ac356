"""Whether the Hub answers, asked before anything is fetched: its client would try again and again.

For a file that was never fetched, the client asks six times with growing pauses, and transformers asks for
several files: three quarters of a minute without a network. So one question goes first, and where there is
no answer the local cache alone is read.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from lrt_bench.errors import UserError, first_line
from lrt_bench.files.names import HUB_ID, MODEL_ID, PLANTED

LOG = logging.getLogger("lrt_bench")
CONNECTED = 2.0  # seconds for the name and a connection: three times what a bad mobile network takes
KEPT = 30.0  # seconds for which an answer holds: a run asks for each model and each data set
_said: dict[str, tuple[float, str | None]] = {}  # of each address: when it was asked, and what came out


class AbsentError(UserError):
    """A model or a data set that is on the Hub alone, which gives nothing now."""


def why_no_hub() -> str | None:
    """Say why the Hub gives nothing now; None where it answers, whatever it says.

    Without a network that is known within `CONNECTED` seconds. A Hub that takes the connection is there: it
    may be slow, and is waited for as long as its own client waits for a file (`HF_HUB_ETAG_TIMEOUT`).
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    address = constants.ENDPOINT
    asked, why = _said.get(address, (float("-inf"), None))
    if time.monotonic() - asked > KEPT:
        why = _ask(address)
        _said[address] = time.monotonic(), why
    return why


def check_answers(name: str) -> None:
    """Raise UserError where a repository is to be read and the Hub gives nothing."""
    if why := why_no_hub():
        raise UserError(f"{name}: {why}")


@contextlib.contextmanager
def cache_alone() -> Iterator[None]:
    """Have libraries that fetch data sets read what is cached, and try nothing else; then put it back."""
    import datasets.config
    from huggingface_hub import constants

    held = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = held


def check_models(specs: Iterable[str], local: Mapping[str, str]) -> None:
    """Raise UserError where a model must be fetched and the Hub gives nothing; torch is not needed for it.

    local : {id: folder or file} that take the place of models.
    """
    for spec in specs:
        planted = PLANTED.fullmatch(spec)
        base = planted["base"] if planted else spec
        place = local.get(base.partition("@")[0], base)
        if _on_hub(place) and (why := why_no_hub()):
            check_cached(place, why)


def check_data(specs: Iterable[str], local: Mapping[str, str]) -> None:
    """Raise UserError where a data set must be fetched and the Hub gives nothing.

    local : {id: folder or file} that take the place of data sets.
    """
    for spec in specs:
        identifier = spec.partition("@")[0]
        given = identifier in local or Path(spec).expanduser().exists()
        if not given and HUB_ID.fullmatch(spec) and (why := why_no_hub()):
            raise AbsentError(f"{absent(spec)}, and {why}")


def absent(spec: str) -> str:
    """Say that a data set is not on this disk, and how it could be."""
    identifier = spec.partition("@")[0]
    return f"{spec}: not a file or folder here (`--data {identifier}=PATH` names one)"


def check_cached(spec: str, why: str) -> None:
    """Raise UserError where a model on the Hub was not fetched before."""
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = spec.partition("@")
    try:
        cached = isinstance(try_to_load_from_cache(name, "config.json", revision=revision or None), str)
    except ValueError:  # an id that the Hub has not: its own error
        cached = False
    if not cached:
        raise AbsentError(f"{spec}: not in the local cache, and {why}; a folder can take its place")


def _on_hub(spec: str) -> bool:
    """Whether a model's name means one on the Hub: not the embedded family, nor what lies on this disk."""
    path = Path(spec).expanduser()
    here = spec.startswith("nano/") or path.suffix.lower() == ".gguf" or path.exists()
    return not here and MODEL_ID.fullmatch(spec) is not None


def _ask(address: str) -> str | None:
    """Connect first, in little time; then ask for an answer, in as much time as the client takes."""
    from huggingface_hub import constants, get_session

    try:
        way = _way(urlsplit(address))
    except ValueError:
        return f"HF_ENDPOINT is no address: {address}"
    if why := _no_connection(*way):
        return f"{address} cannot be reached ({why})"
    most = constants.HF_HUB_ETAG_TIMEOUT
    slow = threading.Timer(CONNECTED, LOG.warning, ("%s is slow to answer: waiting %g s", address, most))
    slow.daemon = True
    slow.start()
    try:
        get_session().head(address, timeout=most)
    except Exception as error:  # the transport's errors: the client's versions rest on different libraries
        return f"{address} does not answer ({first_line(error)})"
    finally:
        slow.cancel()
    return None


def _way(address: SplitResult) -> tuple[str, int]:
    """Return the host and the port that a request goes to: the address's own, or a proxy's.

    Raises ValueError where there is none.
    """
    proxies = {} if proxy_bypass(address.hostname or "") else getproxies()
    if proxy := proxies.get(address.scheme) or proxies.get("all"):
        address = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    if not address.hostname:
        raise ValueError(address.geturl())
    return address.hostname, address.port or {"http": 80, "socks5": 1080}.get(address.scheme, 443)


def _no_connection(host: str, port: int) -> str | None:
    """Say why no address of a host takes a connection; None where one does.

    All are tried side by side: one of a network that this machine is not in must not use up the time. The
    threads are left to themselves: neither a name's look-up nor a connection can be broken off.
    """
    said: queue.Queue[str | None] = queue.Queue()

    def attempt(family: int, place: tuple[str, int]) -> None:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as tried:
                tried.settimeout(CONNECTED)
                tried.connect(place)
            said.put(None)
        except OSError as error:
            said.put(error.strerror or first_line(error))

    def attempts() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            said.put(getattr(error, "strerror", None) or first_line(error))
            return said.put("")
        tries = [threading.Thread(target=attempt, args=(one[0], one[4]), daemon=True) for one in found]
        for each in tries:
            each.start()
        for each in tries:
            each.join()
        return said.put("")  # no more will come

    threading.Thread(target=attempts, daemon=True).start()
    why, end = f"no connection within {CONNECTED:g} s", time.monotonic() + CONNECTED
    while True:
        try:
            outcome = said.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            return why
        if not outcome:
            return why if outcome == "" else None
        why = outcome

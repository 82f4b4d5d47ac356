"""How names look: of models on the Hub, of their layers, and names as parts of paths."""

from __future__ import annotations

import hashlib
import re

from lrt_bench.errors import UserError

LAYER = re.compile(r"[1-9]\d{0,5}(/[1-9]\d{0,5})?")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
MODEL_ID = re.compile(rf"{HUB_ID.pattern}|gpt2[\w-]*")
PLANTED = re.compile(r"planted-(?P<kind>[\w]+):(?P<base>.+)")

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def slug(name: str) -> str:
    """Return a name as part of a path: itself if it is plain, else what is plain of it and a hash."""
    if PLAIN.fullmatch(name):
        return name
    letters = re.sub(r"[^A-Za-z0-9]+", "-", name)[:40].strip("-") or "name"
    return f"{letters}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def pair_slug(suite: str, pair: str) -> str:
    """Return suite and pair as one plain part of a path; the pair's name as a task of the benchmark."""
    return f"{slug(suite)}--{slug(pair)}"


def visible(text: str) -> str:
    """Return a name or a path as it is.

    Raises ValueError where a letter of it would not be seen: a record of it could not be shown.
    """
    if not text.isprintable():
        raise ValueError("want one line of visible characters")
    return text


def parse_site(spec: str) -> tuple[str, int | str | None]:
    """``MODEL``, ``MODEL:20`` or ``MODEL:20/26`` (a share of the depth) to the model and its layer.

    >>> parse_site("planted-rotation:nano/S:3")
    ('planted-rotation:nano/S', 3)
    >>> parse_site("org/name@main:20/26"), parse_site("planted-rotation:nano/S")
    (('org/name@main', '20/26'), ('planted-rotation:nano/S', None))
    """
    model, _, layer = spec.rpartition(":")
    if not model or not layer.replace("/", "").isdecimal():
        return spec, None
    if not LAYER.fullmatch(layer):
        raise UserError(f"{spec}: layer {layer}: give one counted from 1, or a share of the depth like 20/26")
    return model, layer if "/" in layer else int(layer)

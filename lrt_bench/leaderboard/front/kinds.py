"""What a pair is, in words: pretrained models, toy models of the embedded family, or a known answer."""

from __future__ import annotations

import re
from typing import Literal

from lrt_bench.files.format import count
from lrt_bench.results.schema.records import PairRecord, SiteRecord
from lrt_bench.results.schema.result import ResultSummary

Kind = Literal["pretrained", "toy", "planted"]
KINDS: tuple[Kind, ...] = ("pretrained", "toy", "planted")  # in the order of the front page
KIND_WORDS = {
    "pretrained": "pretrained models",
    "toy": "toy models, trained for this benchmark",
    "planted": "a known answer",
}
HUB_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?")
TOY = "nano/"
PLANTED = "planted-"
HUB = "https://huggingface.co"


def model_kind(model: str) -> Kind:
    """Return what a model is, by its name in the records."""
    if model.startswith(PLANTED):
        return "planted"
    return "toy" if model.startswith(TOY) else "pretrained"


def pair_kind(record: PairRecord) -> Kind:
    """Return what a pair is; a planted side makes it a known answer, a toy side a toy pair."""
    sides = {model_kind(record.source.model), model_kind(record.target.model)}
    return next(kind for kind in ("planted", "toy", "pretrained") if kind in sides)


def model_card(model: str) -> str | None:
    """Return the address of a model's card on the Hub; None for what is no id of the Hub."""
    match = HUB_ID.fullmatch(model)
    if match is None or model_kind(model) != "pretrained":
        return None
    tree = f"/tree/{match['revision']}" if match["revision"] else ""
    return f"{HUB}/{match['repo']}{tree}"


def short_name(model: str) -> str:
    """Return a model's name without organisation and revision: Qwen2.5-Coder-0.5B, toy model S."""
    if model.startswith(PLANTED):
        kind, _, base = model.removeprefix(PLANTED).partition(":")
        return f"{short_name(base)} after a {kind}"
    if model.startswith(TOY):
        return f"toy {model.removeprefix(TOY)}"
    match = HUB_ID.fullmatch(model)
    return match["repo"].rpartition("/")[2] if match else model


def title(record: PairRecord) -> str:
    """Return source and target in words."""
    return f"{short_name(record.source.model)} → {short_name(record.target.model)}"


def layer_of(site: SiteRecord) -> str:
    """Return the layer and how many the model has: layer 3 of 6."""
    total = round(site.layer / site.depth) if site.depth > 0 else 0
    name = "layers" if site.layers else "layer"
    return f"{name} {site.where} of {total}" if total >= site.layer else f"{name} {site.where}"


def facts(record: PairRecord) -> str:
    """Return kind, sizes and layers of a pair in one line."""
    words = KIND_WORDS[pair_kind(record)].partition(",")[0]
    source, target = record.source, record.target
    return (
        f"{words} · {count(source.parameters)} → {count(target.parameters)} parameters"
        f" · {layer_of(source)} → {layer_of(target)}"
    )


def weights_told(result: ResultSummary) -> list[str]:
    """Return what a run said of its models' weights (`--weights`), each once."""
    told = (result.provenance.config or {}).get("weights")
    values = told.values() if isinstance(told, dict) else ()
    return sorted({text for text in values if isinstance(text, str)})

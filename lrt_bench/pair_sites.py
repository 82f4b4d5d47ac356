"""From a pair's layers as a suite writes them to the sites of two loaded models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lrt_bench.errors import UserError
from lrt_bench.features import Features
from lrt_bench.models import LanguageModel, Site
from lrt_bench.records import SiteRecord
from lrt_bench.sae import SparseAutoencoder
from lrt_bench.sources import ManyLayers, many_layers
from lrt_bench.suites import PairSpec

DEFAULT_DEPTH = 0.7  # of a model's layers, where no layer is given: steering works at 60-80% depth


def layer_at(layer: int | str | None, n_layers: int) -> int:
    """A layer, or a share of the depth: "20/26" is layer 20 of 26 and the nearest to that depth of others."""
    if isinstance(layer, int):
        return layer
    top, bottom = map(int, layer.split("/")) if layer else (DEFAULT_DEPTH, 1)
    return min(n_layers, max(1, round(top * n_layers / bottom)))


def target_site(model: LanguageModel, pair: PairSpec) -> Site:
    """The target's site. Raises UserError where it has no such layer."""
    return _named(f"{pair.name}: target", lambda: Site(model, layer_at(pair.target_layer, model.n_layers)))


def source_site(model: LanguageModel, pair: PairSpec, load: Callable[[str], SparseAutoencoder]) -> Site:
    """The source's site: one layer, several side by side, or features of one."""

    def site() -> Site:
        if pair.source_layers is not None:
            return many_layers(model, pair.source_layers)
        layer = layer_at(pair.source_layer, model.n_layers)
        return Features(model, layer, sae=load(pair.source_sae)) if pair.source_sae else Site(model, layer)

    return _named(f"{pair.name}: source", site)


def _named(what: str, make: Callable[[], Site]) -> Site:
    try:
        return make()
    except UserError as error:
        raise UserError(f"{what}: {error}") from error


def several(site: Site) -> tuple[int, ...] | None:
    """The layers of a site that has several."""
    return site.layers if isinstance(site, ManyLayers) else None


def identity(site: Site) -> list[Any]:
    """What a site's states depend on besides the text."""
    features = [site.sae.digest] if isinstance(site, Features) else []
    return [site.model.digest, site.layer, *(several(site) or ()), *features]


def site_record(site: Site) -> SiteRecord:
    """The site in a result."""
    model = site.model
    return SiteRecord(
        model=model.name,
        digest=model.digest,
        layer=site.layer,
        depth=site.depth,
        width=site.width,
        parameters=model.parameters,
        layers=several(site),
        sae=f"{site.sae.name} ({site.sae.digest})" if isinstance(site, Features) else None,
    )

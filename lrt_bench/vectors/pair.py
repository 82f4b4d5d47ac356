"""The two sites that a vector goes between, as a user names them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from lrt_bench.errors import UserError
from lrt_bench.evaluation.sites import layer_at
from lrt_bench.files.names import parse_site
from lrt_bench.models.loading import Models
from lrt_bench.models.sites import Site

Made = TypeVar("Made")


@dataclass(frozen=True)
class Pair:
    """A source site and a target site, as `Site` or as text: ``MODEL:LAYER``, ``MODEL:20/26``, ``MODEL``.

    Models named by text are loaded when they are first used, by `models`, which says where and how they
    compute. Without a layer it is the one at 70% of the depth.

    Raises
    ------
    UserError
        Where a side is no text and no plain `Site`, or a layer is none; and, once its model is loaded, where
        the model has no such layer.
    """

    source: Site | str
    target: Site | str
    models: Models = field(default_factory=Models, compare=False)

    def __post_init__(self) -> None:
        for side, given in (("source", self.source), ("target", self.target)):
            if not isinstance(given, str):
                check_plain(side, given)
            elif not _named(side, functools.partial(parse_site, given))[0].strip():
                raise UserError(f"{side}: no model is named: give MODEL, MODEL:LAYER or a Site")

    @functools.cached_property
    def source_site(self) -> Site:
        """The source's site; loads the model."""
        return self._site("source", self.source)

    @functools.cached_property
    def target_site(self) -> Site:
        """The target's site; loads the model."""
        return self._site("target", self.target)

    def _site(self, side: str, given: Site | str) -> Site:
        if isinstance(given, str):
            spec, layer = parse_site(given)
            model = self.models.get(spec)
            return _named(side, lambda: Site(model, layer_at(layer, model.n_layers)))
        return given

    @property
    def specs(self) -> tuple[str, str]:
        """The names of the two models."""
        sides = self.source, self.target
        source, target = (s.model.name if isinstance(s, Site) else parse_site(s)[0] for s in sides)
        return source, target


def check_plain(side: str, given: object) -> None:
    """Raise UserError unless a pair's side is one layer of a model."""
    if not isinstance(given, Site):
        raise UserError(f"{side}: {type(given).__name__} is no site: give MODEL, MODEL:LAYER or a Site")
    if type(given) is not Site:
        raise UserError(f"{side}: a steering vector lives at one layer of a model: give a plain Site")


def _named(side: str, make: Callable[[], Made]) -> Made:
    """Return what `make` gives; its UserError names the side."""
    try:
        return make()
    except UserError as error:
        raise UserError(f"{side}: {error}") from error

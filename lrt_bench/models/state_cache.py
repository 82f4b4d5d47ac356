"""States that were read once and are read again: pairs of one suite share models, layers and texts."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

Key = tuple[int, tuple[int, ...], bytes]


@dataclass
class StateMemory:
    """The states last read, up to so many bytes; those that were not asked for the longest go first."""

    limit: int
    _held: OrderedDict[Key, Tensor] = field(default_factory=OrderedDict, repr=False)
    _bytes: int = 0

    def get(self, ids: Tensor, layers: Iterable[int]) -> dict[int, Tensor] | None:
        """States of token ids [b, t] after each of the layers, if all of them are held."""
        keys = {layer: _key(ids, layer) for layer in layers}
        if not all(key in self._held for key in keys.values()):
            return None
        for key in keys.values():
            self._held.move_to_end(key)
        return {layer: self._held[key] for layer, key in keys.items()}

    def put(self, ids: Tensor, states: dict[int, Tensor]) -> None:
        """Hold what was read, [b, t, d] by layer; nobody may change it in place."""
        for layer, read in states.items():
            key = _key(ids, layer)
            if key not in self._held and read.nbytes <= self.limit:
                self._held[key] = read
                self._bytes += read.nbytes
        while self._bytes > self.limit:
            self._bytes -= self._held.popitem(last=False)[1].nbytes


def _key(ids: Tensor, layer: int) -> Key:
    return layer, tuple(ids.shape), hashlib.sha256(ids.cpu().numpy().tobytes()).digest()

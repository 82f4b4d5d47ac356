"""What was made last and may be asked for again, up to so many values."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass
class Recent(Generic[Value]):
    """Values by key; those that were not asked for the longest go first.

    It belongs to a run: whoever owns it decides who shares it, and nothing outlives its owner.

    Parameters
    ----------
    limit : how many values are held.
    """

    limit: int
    _held: OrderedDict[Hashable, Value] = field(default_factory=OrderedDict, repr=False)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key; what `make` gives where it is not held."""
        if key not in self._held:
            self._held[key] = make()
            if len(self._held) > self.limit:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return self._held[key]

    def __len__(self) -> int:
        return len(self._held)

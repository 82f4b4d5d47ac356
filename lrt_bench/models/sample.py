"""A bounded uniform sample of a stream of paired states."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np


class Sample:
    """A uniform random sample of a stream of pairs (reservoir sampling), in memory-mapped files."""

    def __init__(self, size: int, d_x: int, d_y: int, seed: int) -> None:
        with tempfile.TemporaryDirectory(prefix="lrt-bench-", ignore_cleanup_errors=True) as folder:
            self.x: np.ndarray = np.memmap(Path(folder) / "x.f32", np.float32, "w+", shape=(size, d_x))
            self.y: np.ndarray = np.memmap(Path(folder) / "y.f32", np.float32, "w+", shape=(size, d_y))
        # The files have no name any more: the system frees them with the process, however it ends.
        self.size, self.seen = size, 0
        self._rng = np.random.default_rng([seed, 7])

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> Sample:
        """Return a sample of just these pairs, x [n, d_x] and y [n, d_y], which are not copied."""
        sample = cls.__new__(cls)
        sample.x, sample.y = x, y
        sample.size = sample.seen = len(x)
        return sample

    def __len__(self) -> int:
        return min(self.seen, self.size)

    def draw(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Which of the next `count` pairs are kept, and their slots, before any of them is there.

        Algorithm R: pair number i replaces a random one with probability size / (i + 1). A pair that a later
        one of the same draw replaces is left out.
        """
        index = np.arange(self.seen, self.seen + count)
        slots = np.where(index < self.size, index, self._rng.integers(0, index + 1))
        self.seen += count
        rows = np.flatnonzero(slots < self.size)
        _, last = np.unique(slots[rows][::-1], return_index=True)
        rows = np.sort(rows[len(rows) - 1 - last])
        return rows, slots[rows]

    def put(self, slots: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
        """Keep pairs in the slots that were drawn for them."""
        self.x[slots], self.y[slots] = x, y

    def update(self, x: np.ndarray, y: np.ndarray) -> None:
        """Draw and keep the next pairs."""
        rows, slots = self.draw(len(x))
        self.put(slots, x[rows], y[rows])

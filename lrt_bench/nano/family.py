"""The embedded family: which sizes there are, how they were trained, where their weights lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
CONTEXT = 128
VOCABULARY = 1536
BOS, EOS = "<bos>", "<eos>"

# Streams of the seeded grammar, one for each use; they are never mixed.
TOKENIZER_STREAM, VALIDATION_STREAM, MAPPING_STREAM, SAE_STREAM = 1, 2, 3, 4


@dataclass(frozen=True)
class Size:
    """One member of the family: a Llama of `layers` blocks, `width` wide, heads of 32."""

    name: str
    width: int
    layers: int
    intermediate: int
    tokens: int
    seed: int
    batch: int = 32
    muon_rate: float = 0.02
    adam_rate: float = 3e-3

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return WEIGHTS / self.name

    @property
    def training_stream(self) -> int:
        """Seed of the member's own training text: two seeds of a size never read the same text."""
        return 1000 + self.seed


FAMILY: dict[str, Size] = {
    size.name: size
    for size in (
        Size("S", width=96, layers=3, intermediate=256, tokens=10_000_000, seed=0),
        Size("S2", width=96, layers=3, intermediate=256, tokens=10_000_000, seed=1),
        Size("M", width=128, layers=4, intermediate=352, tokens=20_200_000, seed=0),
        Size("L", width=192, layers=6, intermediate=512, tokens=13_000_000, seed=0),
    )
}

"""Sparse autoencoders: states to coefficients of features, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lrt_bench.errors import UserError

UNTRAINED = "untrained:"


@dataclass(frozen=True, eq=False)
class SparseAutoencoder:
    """h -> f = activation((h - b_dec if apply_b_dec_to_input) w_enc + b_enc) -> f w_dec + b_dec.

    Attributes
    ----------
    name : what the user called it.
    w_enc [d, n], b_enc [n], w_dec [n, d], b_dec [d] : float32.
    threshold : [n], the JumpReLU's: a coefficient at or below it is 0. None: no threshold.
    top_k : how many coefficients of a state stay, the largest. None: all. Then ReLU, always.
    apply_b_dec_to_input : whether b_dec is taken off a state before it is encoded.
    files : hash of the files that it was read from; "" where it was made.
    """

    name: str
    w_enc: Tensor
    b_enc: Tensor
    w_dec: Tensor
    b_dec: Tensor
    threshold: Tensor | None = None
    top_k: int | None = None
    apply_b_dec_to_input: bool = False
    files: str = ""

    def __post_init__(self) -> None:
        """Raise UserError where shapes do not belong together or a number is not finite."""
        check_tensors(self.name, self.tensors(), self.d, self.width)
        if self.top_k is not None and not 1 <= self.top_k <= self.width:
            raise UserError(f"{self.name}: k = {self.top_k}: want 1 to {self.width}, its number of features")

    @property
    def d(self) -> int:
        """Width of the states."""
        return self.w_enc.shape[0]

    @property
    def width(self) -> int:
        """Number of features."""
        return self.w_enc.shape[-1]

    @property
    def architecture(self) -> str:
        """Which activation it has, in SAELens's words."""
        return "topk" if self.top_k else "standard" if self.threshold is None else "jumprelu"

    @property
    def digest(self) -> str:
        """Hash of its weights and its files: equal digests give equal coefficients."""
        digest = hashlib.sha256(f"{self.top_k} {self.apply_b_dec_to_input} {self.files}".encode())
        for name, tensor in sorted(self.tensors().items()):
            digest.update(f"\0{name} {tuple(tensor.shape)}\0".encode())
            digest.update(tensor.float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def tensors(self) -> dict[str, Tensor]:
        """Its weights by the names that both formats give them."""
        weights = {"W_enc": self.w_enc, "b_enc": self.b_enc, "W_dec": self.w_dec, "b_dec": self.b_dec}
        return weights if self.threshold is None else weights | {"threshold": self.threshold}

    @torch.inference_mode()
    def encode(self, h: Tensor) -> Tensor:
        """Coefficients [..., n] of states [..., d], float32, none negative."""
        h = h.float()
        pre = (h - self.b_dec if self.apply_b_dec_to_input else h) @ self.w_enc + self.b_enc
        coefficients = pre.relu()
        if self.threshold is not None:
            coefficients = coefficients * (pre > self.threshold)
        if self.top_k is None:
            return coefficients
        values, index = coefficients.topk(self.top_k, dim=-1)
        return torch.zeros_like(coefficients).scatter_(-1, index, values)

    @torch.inference_mode()
    def decode(self, f: Tensor) -> Tensor:
        """States [..., d] that coefficients [..., n] stand for, float32."""
        return f.float() @ self.w_dec + self.b_dec

    def to(self, device: torch.device | str) -> SparseAutoencoder:
        """Return the same on another device."""
        threshold = None if self.threshold is None else self.threshold.to(device)
        names = ("w_enc", "b_enc", "w_dec", "b_dec")
        return replace(self, threshold=threshold, **{name: getattr(self, name).to(device) for name in names})


def check_tensors(name: str, tensors: Mapping[str, Tensor], d: int, n: int) -> None:
    """Raise UserError where a tensor has another shape than [d, n] asks for, or is not finite."""
    shapes = {"W_enc": (d, n), "W_dec": (n, d), "b_dec": (d,)}
    for key, tensor in tensors.items():
        shape = shapes.get(key, (n,))
        if tuple(tensor.shape) != shape:
            raise UserError(
                f"{name}: {key} is {list(tensor.shape)}: want {list(shape)} beside W_enc [{d}, {n}]"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{name}: {key} holds NaN or infinity")


def untrained(sae: SparseAutoencoder, seed: int = 0) -> SparseAutoencoder:
    """Return the control of feature-to-hidden: as many features and as sparse a top-k, in random directions.

    A map of n > d rectified coefficients can bend where a map of states cannot, whatever the features mean;
    what training adds is what it has beyond this. Columns keep the encoder's norms, states are centred on
    b_dec, there is no b_enc and no threshold.
    """
    noise = torch.randn(sae.w_enc.shape, generator=torch.Generator().manual_seed(seed))
    w_enc = noise * (sae.w_enc.norm(dim=0) / noise.norm(dim=0))
    w_dec = (noise / noise.norm(dim=0)).T.contiguous()
    return SparseAutoencoder(
        UNTRAINED + sae.name, w_enc, torch.zeros(sae.width), w_dec, sae.b_dec,
        top_k=sae.top_k, apply_b_dec_to_input=True, files=sae.files,
    )  # fmt: skip

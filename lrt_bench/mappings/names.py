"""The built-in mappings by name; nothing heavy is imported to list them."""

from __future__ import annotations

# name -> (module, class, one line for `lrt-bench list mappings`)
BUILT_IN: dict[str, tuple[str, str, str]] = {
    "affine": ("affine", "Affine", "least squares, closed form; v goes to A v"),
    "affine-paper": ("affine_paper", "AffinePaper", "the same map; v goes to A v + p, the paper's words"),
    "ridge": ("ridge", "Ridge", "affine with a penalty chosen on validation states"),
    "orthogonal": ("orthogonal", "Orthogonal", "scaled Procrustes, unequal widths included"),
    "low-rank": ("low_rank", "LowRank", "reduced-rank regression, rank chosen on validation states"),
    "mlp": ("mlp", "Mlp", "one hidden layer beside a linear path"),
    "autoencoder": ("autoencoder", "Autoencoder", "rectified latent, linear decoder"),
}

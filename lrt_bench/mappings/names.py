"""The built-in mappings by name; nothing heavy is imported to list them."""

from __future__ import annotations

# name -> (module, class, one line for `lrt-bench list mappings`)
BUILT_IN: dict[str, tuple[str, str, str]] = {
    "affine": ("affine", "Affine", "least squares, closed form; v goes to A v"),
    "affine-with-bias": ("affine_with_bias", "AffineWithBias", "the same map; v goes to A v + p"),
    "affine-adamw": ("affine_adamw", "AffineAdamw", "trained as the paper does: AdamW, raw states; A v"),
    "affine-adamw-with-bias": (
        "affine_adamw", "AffineAdamwWithBias", "the same map; v goes to A v + p, the paper's words",
    ),
    "ridge": ("ridge", "Ridge", "affine with a penalty chosen on validation states"),
    "orthogonal": ("orthogonal", "Orthogonal", "scaled Procrustes, unequal widths included"),
    "low-rank": ("low_rank", "LowRank", "reduced-rank regression, rank chosen on validation states"),
    "mlp": ("mlp", "Mlp", "one hidden layer beside a linear path"),
    "autoencoder": ("autoencoder", "Autoencoder", "rectified latent, linear decoder"),
}  # fmt: skip

FORMER = {"affine-paper": "affine-with-bias"}  # names that suites, options and kept maps may still give


def current(name: str) -> str:
    """Return what a built-in mapping is called now; any other text as it is."""
    return FORMER.get(name, name)


def is_built_in(name: str) -> bool:
    """Whether a built-in mapping is called so, or was."""
    return current(name) in BUILT_IN

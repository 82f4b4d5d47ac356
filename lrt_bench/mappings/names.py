"""The built-in mappings by name; nothing heavy is imported to list them."""

from __future__ import annotations

# name -> (module, class, one line for `lrt-bench list mappings`)
BUILT_IN: dict[str, tuple[str, str, str]] = {
    "affine": ("affine", "Affine", "least squares, closed form; v goes to A v"),
    "affine-with-bias": ("affine_with_bias", "AffineWithBias", "the same map; v goes to A v + p"),
    "affine-no-bias": ("spectral.affine_no_bias", "AffineNoBias", "least squares through the origin"),
    "affine-adamw": ("affine_adamw", "AffineAdamw", "trained as the paper does: AdamW, raw states; A v"),
    "affine-adamw-with-bias": (
        "affine_adamw", "AffineAdamwWithBias", "the same map; v goes to A v + p, the paper's words",
    ),
    "ridge": ("ridge", "Ridge", "affine with a penalty chosen on validation states"),
    "reshaped": ("spectral.reshaped", "Reshaped", "ridge, its output's spectrum reshaped"),
    "two-way": ("spectral.two_way", "TwoWay", "affine maps up and down that undo each other"),
    "orthogonal": ("orthogonal", "Orthogonal", "scaled Procrustes, unequal widths included"),
    "orthogonal-standardised": (
        "spectral.orthogonal_standardised", "OrthogonalStandardised", "Procrustes of standardised states",
    ),
    "whiten-rotate": ("spectral.whiten_rotate", "WhitenRotate", "Procrustes of whitened states"),
    "low-rank": ("low_rank", "LowRank", "reduced-rank regression, rank chosen on validation states"),
    "cca": ("spectral.cca", "Cca", "the most correlated pairs of directions alone"),
    "pls": ("spectral.pls", "Pls", "partial least squares, components chosen on validation states"),
    "mixture": ("kernels.mixture", "Mixture", "affine maps about k-means centres, gated by distance"),
    "relative": ("kernels.relative", "Relative", "cosines to anchor states, decoded by ridge"),
    "kernel-ridge": ("kernels.kernel_ridge", "KernelRidge", "random Fourier features of whitened states"),
    "affine-waves": ("kernels.affine_waves", "AffineWaves", "affine and Fourier features; our own"),
    "mlp": ("mlp", "Mlp", "one hidden layer beside a linear path"),
    "blend": ("blend", "Blend", "mean of mlp, autoencoder and affine-waves; our own"),
    "autoencoder": ("autoencoder", "Autoencoder", "rectified latent, linear decoder"),
    "crosscoder": ("crosscoder", "Crosscoder", "a sparse dictionary of both models, used from the source"),
    "stitched": ("target.stitched", "Stitched", "affine, trained on what the target predicts from it"),
    "functional": ("target.functional", "Functional", "low-rank in the metric of the target's output"),
    "functional-orthogonal": (
        "target.functional", "FunctionalOrthogonal", "Procrustes in the metric of the target's output",
    ),
    "unpaired": ("unaligned.unpaired", "Unpaired", "a rotation found without aligned tokens"),
    "own-texts": ("concepts.texts", "OwnTexts", "least squares on the concept's own texts: proves nothing"),
    "own-texts-permuted": ("concepts.texts", "OwnTextsPermuted", "the same, paired at random within a class"),
    "own-texts-noise": ("concepts.texts", "OwnTextsNoise", "the same from noise: no source model at all"),
    "other-texts": ("concepts.texts", "OtherTexts", "least squares on the texts of all other concepts"),
    "concept-basis": ("concepts.concept_basis", "ConceptBasis", "v written in other concepts' vectors"),
}  # fmt: skip

FORMER = {"affine-paper": "affine-with-bias"}  # names that suites, options and kept maps may still give
NEED_S_YY = frozenset({"cca", "reshaped", "two-way", "whiten-rotate"})  # read the target's own products


def current(name: str) -> str:
    """Return what a built-in mapping is called now; any other text as it is."""
    return FORMER.get(name, name)


def is_built_in(name: str) -> bool:
    """Whether a built-in mapping is called so, or was."""
    return current(name) in BUILT_IN


def spares_s_yy(name: str) -> bool:
    """Whether a mapping is a built-in one that never reads the target's own products."""
    return is_built_in(name) and current(name) not in NEED_S_YY

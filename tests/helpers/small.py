"""A suite of seconds: three tasks on a planted pair of the smallest model."""

SMALL_SUITE = """
name: small
corpus: {source: nano, context: 128, fit_tokens: 4000, validation_tokens: 600, sample_tokens: 2000}
shuffles: 2
fit_seeds: 2
bootstrap: 200
tasks: [sentiment, person, topic-dogs, fidelity]
mappings: [affine, ridge, orthogonal, mlp]
pairs:
  - {name: rotated, source: nano/S, source_layer: 2, target: "planted-rotation:nano/S", target_layer: 2}
"""

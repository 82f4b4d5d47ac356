"""From a concept to a steered model: concept states, interventions on the residual stream, sweeps over alpha.

The sweep gives propensities, generation gives texts, and refusal gives the paper's harmless and harmful
instructions.
"""

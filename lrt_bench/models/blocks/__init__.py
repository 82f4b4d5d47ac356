"""Decoder blocks that are run faster than transformers runs them, with the same numbers.

A block is used only where a probe shows that it gives what the model's own block gives.
"""

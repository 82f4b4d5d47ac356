"""Decoders of transformers at tiny size, run by this package and by plain transformers.

`configurations` lists them, `check` compares one, `python -m scripts.decoders` writes `docs/decoders.md`.
"""

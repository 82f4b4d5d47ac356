"""The decoders that `base.LanguageModel` stands for: one that transformers loads, and one planted in another.

A transformers model is run block by block; its shell does what it does around its blocks. A planted model is
its base in another basis, for which the true map is known.
"""

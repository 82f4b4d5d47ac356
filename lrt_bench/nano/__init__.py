"""The embedded family: its weights, and the grammar and lexicon of the language that it was trained on.

Corpora hash the bytes of `grammar.py` and `lexicon.py`: a change there changes every key of the embedded
suites. How the family was trained is in `scripts/nano`.
"""

"""Causal language models, seen as embedding, blocks and head, and the states that are read from them.

`loading` makes a model from a name or a folder; `base` says what a model is to all other rooms, and
`decoders` has the two kinds; `sites` says where its states are read; `states` reads two models on one corpus
and hands on what a mapping is fitted on.
"""

"""How the ranked metric of protocol 2 was chosen: known-better maps set against known-worse ones.

`python -m scripts.protocol.measure` measures every candidate (minutes; what is there is not measured again),
and `python -m scripts.protocol.table` writes the tables of `docs/protocol.md`.
`python -m scripts.protocol.choose_sites` measures on which pairs and tasks it is to rank.
"""

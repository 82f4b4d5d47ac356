"""Every layer of the source against every layer of the target: maps, fidelity and scores for each pair.

The paper's layer-by-layer analysis (section 4), with its record and its figure.
"""

"""What was measured: the record of a result, its files, the metrics, ranks, tables and pictures.

A result is one method on one pair in one suite. Nothing here imports torch or knows a model.
"""

"""A user's own steering vector: read, carried through a fitted map, forecast, tried out, written.

A fitted map is a folder with tensors and a card, on disk or on the Hub.
"""

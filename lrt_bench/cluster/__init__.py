"""Cells and corpus shards on several processes or machines: what is sent, what is done there, in what order.

Only `ray_engine.py` knows of Ray.
"""

"""Where cells are computed: in this process, by processes of this machine, or by workers of a Ray cluster.

Whatever the engine, cells have the same numbers. Only `ray.py` imports Ray, and `choice.py` imports that only
when it is asked for.
"""

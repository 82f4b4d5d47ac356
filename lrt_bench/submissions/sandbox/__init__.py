"""The process a submission runs in: the jail that it starts in, the worker inside, and the launcher outside.

The worker may import `lrt_bench.mappings` and nothing else of the package. The jail has no network, no files
but its own, no environment and no other process.
"""

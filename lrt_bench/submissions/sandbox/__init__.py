"""The process a submission runs in: the jail that it starts in, the runner inside, and the launcher outside.

The runner may import `lrt_bench.mappings` and nothing else of the package. The jail has no network, no files
but its own, no environment and no other process.
"""

"""What was computed once, kept on disk under the hash of all that it was computed from.

`folder.CacheFolder` is the folder: entries written whole, bounded, safe with parallel processes.
`recall` computes, or reads back what was computed before: `using` says in which folder, and without it
everything is computed.
"""

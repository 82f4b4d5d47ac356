"""Steering vectors as files: one module a format, each with `encode` and `decode`.

`vector_files.py` chooses the module. No code of a file is run.
"""

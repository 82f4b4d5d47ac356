"""A stranger's method: its folder read and checked, its code run in a sandbox, its numbers computed again.

Nothing of a submission is ever imported in the scorer's own process. What comes back from the sandbox is
tensors, in safetensors, checked by whoever reads them.
"""

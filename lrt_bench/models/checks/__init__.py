"""What is checked of a model when it is loaded: its checkpoint, its layout, its tokens, what a run relies on.

A check that fails is one line that names the model and the mend. Digests say which files were read.
"""

"""What nobody has seen before it is scored: models from a secret, and concepts drawn at scoring time.

Stored answers are answers to public models and public tasks. Here is what they cannot have been stored for.
"""

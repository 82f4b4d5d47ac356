"""Sparse autoencoders: their forward pass, and their files as SAELens and Gemma Scope write them."""

"""The linear relation of two sparse autoencoders' decoders and its nulls (paper, section 2.2, figure 2)."""

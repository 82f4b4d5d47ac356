"""Pictures and tables of results: a pair's figure, the refusal figure, the paper's tables."""

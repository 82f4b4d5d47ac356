"""Pretrained pairs: the corpus that their maps are fitted on, their runs, and what the runs say."""

"""What every evaluation does alike: the protocol's version and its controls."""

PROTOCOL = 3  # raised whenever the same inputs would give other numbers
REFERENCES = ("native", "native-split", "random")
DISTURBED = ("native", "random")  # controls whose writing and side effects are measured too
STATES_WEIGHT = 4  # the pass over the corpus, in cells, for the progress bar

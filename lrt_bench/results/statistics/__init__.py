"""How sure a score is: the two intervals, and which rows are told apart."""

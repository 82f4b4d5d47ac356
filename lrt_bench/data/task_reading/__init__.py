"""Tasks from their folders, from data sets and from the model-written evals, checked where they are read."""

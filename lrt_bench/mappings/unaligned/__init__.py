"""Maps that see states of both models and never which of them belong together."""

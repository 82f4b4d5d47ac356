"""Maps that may run the target on corpus text: the target-aware track."""

"""Maps that are given concepts' texts as both models read them: the task-aware track."""

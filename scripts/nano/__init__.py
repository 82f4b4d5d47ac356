"""The embedded family from nothing: training, gate, model card, tasks."""

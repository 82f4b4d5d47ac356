"""The everyday tasks: sentence frames, and the gate that keeps tasks which a model can do."""

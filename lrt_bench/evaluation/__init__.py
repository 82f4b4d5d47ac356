"""The benchmark itself: a suite, its pairs and its methods go in, results come out.

`evaluation.Evaluation` is a run. For each pair it opens a bench (the states and the native sweeps), makes a
row for each method, and computes a cell for each row: its sweeps are scored against the native ones, and the
scores become a result. The rooms inside are the engines that share out cells, the sweep over layers, the
scorers of written text, and the side effects under lm-eval.
"""

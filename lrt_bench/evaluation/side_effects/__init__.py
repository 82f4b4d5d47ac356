"""What steering costs elsewhere: any lm-eval task, under a native or a transferred vector.

The only room that imports lm-eval (EleutherAI's Language Model Evaluation Harness). Its requests are
answered by our own models, run block by block, with an offset added at one site at every token; its tasks
and its metrics are its own. Its request cache is keyed on the text alone, so it is never used here: it would
answer for another vector.

A task file of lm-eval is code (templates without a sandbox, `!function`). The tasks that the user names are
read through it and nothing else: no file of ours, and none of a submission.
"""

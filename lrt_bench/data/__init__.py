"""What is read before any model: corpora, tasks and suites, chat templates, data sets.

Everything is checked where it is read, and hashed, so that a result can say what it was measured on. A corpus
gives token pairs of documents in two tokenizers. A task gives the pairs that make a vector and the prompts
that score it. A suite names pairs of models, tasks and a corpus. No module here knows a model.
"""

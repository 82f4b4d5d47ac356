"""Results to a leaderboard: entries and their ranks, the ledger of changes, pages, downloads, publishing.

It reads result files and nothing else; no module here knows a model. The templates, the style and the scripts
of the pages lie in `leaderboard/` of the repository.
"""

"""Scores of written text: word lists, a classifier of refusals, a judge behind an HTTP interface."""

"""Rows of data sets and local files: which files of a folder are read, and which column is the text."""

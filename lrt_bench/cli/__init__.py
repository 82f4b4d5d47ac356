"""The command line: one module a command, the options that commands share, and what the terminal shows.

Commands parse, call the rooms below, and print; they compute nothing. No module here imports torch when it is
loaded, so that `lrt-bench --help` does not wait for it.
"""

"""What lrt-bench costs, measured beside what others do: `make bench`, or `python -m benchmarks`."""

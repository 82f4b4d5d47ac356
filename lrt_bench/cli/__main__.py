"""``python -m lrt_bench.cli.main``: the command line, where the console script is not on the path."""

from lrt_bench.cli.main import main

if __name__ == "__main__":
    main()

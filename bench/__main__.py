"""Run all benchmarks, or those that are named, and print their tables."""

import sys
from importlib import import_module

BENCHMARKS = ("selection", "playlists", "segments", "cuts")

for name in sys.argv[1:] or BENCHMARKS:
    import_module(f"bench.{name}").main()
    print()

"""Run all benchmarks, or those that are named, and print their tables; what begins with a dash is for them."""

import sys
from importlib import import_module

BENCHMARKS = ("selection", "playlists", "segments", "cuts", "downloads", "events", "backfill")

arguments = sys.argv[1:]
options_at = next((index for index, text in enumerate(arguments) if text.startswith("-")), len(arguments))
names, options = arguments[:options_at], arguments[options_at:]
for name in names or BENCHMARKS:
    import_module(f"bench.{name}").main(*([options] if options else []))
    print()

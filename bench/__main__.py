"""Run all benchmarks and print their tables."""

from bench import playlists, selection

selection.main()
print()
playlists.main()

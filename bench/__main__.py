"""Run all benchmarks and print their tables."""

from bench import selection

selection.main()

"""Benchmarks: `python tests/benchmarks` prints one table; every comparison is a ratio within one run."""

"""Benchmarks: each compares two ways of doing the same work, in turn, in one run. See README.md."""

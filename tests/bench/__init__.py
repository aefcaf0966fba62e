"""Benchmarks: `python -m tests.bench [NAME]`, one line of JSON each, with a reference from the same run."""

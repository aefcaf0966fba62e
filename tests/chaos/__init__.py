"""Faults on purpose: `python -m tests.chaos [NAME]`. Short forms run with the tests (test_faults.py)."""

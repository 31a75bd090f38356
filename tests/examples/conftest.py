"""Keeps the project's own run out of the examples: `tests/pytest_rosey/test_examples.py` runs each."""

collect_ignore_glob = ["*"]

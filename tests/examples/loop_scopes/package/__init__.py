"""A package of tests that share a loop."""

LOOPS = set()

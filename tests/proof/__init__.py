"""The claims of reliability, fidelity and security as one command that anyone can repeat.

`python -m tests.proof` drives the project's tests by their knobs and prints one table: property,
how tried, how many times, failures. `lines.py` lists what is driven; what is tried nowhere else
stands here as well.
"""

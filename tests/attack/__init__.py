"""What a hostile plugin gets, and what its neighbour notices of it (SPEC 3.4).

`python -m tests.attack` runs every attack and prints a table; `test_attacks.py` runs a few of them
shortly. How long and which is said by ROSEY_ATTACK_SECONDS and ROSEY_ATTACKS.
"""

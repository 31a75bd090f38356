"""Fault exploration: every fault at every request of a test, each in a run of its own.

- `choice`: which tests are explored, by which rules, and why others are not.
- `faults`: what can go wrong at a request: one table.
- `tap`: sits where the clients of a test publish; sees requests, does the one fault.
- `calls`: who asked, and with what outcome.
- `effects`: what a call has changed in the database.
- `run`: one run of the test, from its first line to what is looked at in the end.
- `comparison`: two clean runs side by side, and what is the same in each.
- `verdict`: what a run with a fault is held against.
- `exploration`: the clean runs, the places, and a run for each.
- `findings`, `report`: what came of it, and how it is told.
- `plugin`: the hooks.
"""

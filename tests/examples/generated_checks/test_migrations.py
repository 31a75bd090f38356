"""Checks by name: one test for each, and for each plugin below `migrations`."""

from pytest_rosey.checks.migrations import (  # noqa: F401
    test_names_and_numbering,
    test_round_trip_restores_schema_and_data,
    test_up_and_down_present,
)

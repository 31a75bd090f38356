"""The project's own tests: packages that mirror the source, and rooms for what crosses it."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The checkout."""

"""What a command says when it is done: text for people, JSON for scripts."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from dbservice.protocol.codec import encode_json


def tell(value: Any, text: str = "", *, as_json: bool) -> None:
    """Write the outcome of a command to standard output.

    Args:
        value: the outcome, as JSON.
        text: the outcome for people, with its line ends.
        as_json: which of the two.
    """
    sys.stdout.write(encode_json(value).decode() + "\n" if as_json else text)
    sys.stdout.flush()


def counted(number: int, noun: str) -> str:
    """Return how many there are of something, as `1 row` or `3 rows`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def say_ready(where: Mapping[str, str], *, as_json: bool) -> None:
    """Write the one line that says that a command serves from now on.

    Args:
        where: what it serves and at which addresses, by name.
        as_json: as JSON instead of `rosey: ready name=value …`.
    """
    parts = " ".join(f"{name}={value}" for name, value in where.items())
    tell({"ready": True, **where}, f"rosey: ready {parts}\n", as_json=as_json)

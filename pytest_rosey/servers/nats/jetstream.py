"""The streams on a server, asked for with the standard library alone (SPEC 5.1).

A stream outlives who made it, and with it the durable consumers on it: a test that leaves one
changes what the next one finds.
"""

from __future__ import annotations

import json
from typing import Any

from pytest_rosey.servers.nats.responder import answer_to

_API = "$JS.API"
_TIMEOUT = 5.0

Inventory = dict[str, frozenset[str]]
"""The durable consumers of each stream, by name."""


def inventory(url: str) -> Inventory:
    """Return what is on a server; nothing on one without JetStream.

    Raises:
        ServerUnavailable: the server cannot be reached.
    """
    names = _asked(url, "STREAM.NAMES").get("streams") or ()
    return {name: frozenset(_durable(url, name)) for name in names}


def left(before: Inventory, after: Inventory) -> list[tuple[str, str]]:
    """Return what has come in between: a stream and no consumer, or a stream's consumer."""
    return [
        (stream, consumer)
        for stream, consumers in sorted(after.items())
        for consumer in (sorted(consumers - before[stream]) if stream in before else [""])
    ]


def remove(url: str, stream: str, consumer: str = "") -> None:
    """Remove a stream with all that is on it, or one consumer of it."""
    what = f"CONSUMER.DELETE.{stream}.{consumer}" if consumer else f"STREAM.DELETE.{stream}"
    _asked(url, what)


def _durable(url: str, stream: str) -> list[str]:
    listed = _asked(url, f"CONSUMER.LIST.{stream}").get("consumers") or ()
    return [consumer["name"] for consumer in listed if "durable_name" in consumer["config"]]


def _asked(url: str, what: str) -> dict[str, Any]:
    reply = answer_to(url, f"{_API}.{what}", _TIMEOUT)
    answered: dict[str, Any] = json.loads(reply) if reply else {}
    return answered

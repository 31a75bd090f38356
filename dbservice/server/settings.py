"""What may be set about a running service, with its defaults (SPEC 3.4)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from dbservice.protocol import limits

DRAIN_TIMEOUT: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The limits of one service; each is an option of `rosey serve`, with these words as its help.

    Attributes:
        max_in_flight: Requests served at a time. One plugin alone gets at most seven eighths of
            them.
        max_queued: Requests that may wait for that; plugins take turns. Further ones are answered
            with OVERLOADED.
        statement_timeout: Seconds after which an SQL statement is stopped.
        drain_timeout: Seconds to answer what was taken, once it is told to end.
        sweep_interval: Seconds between two removals of expired keys.

    Raises:
        ValueError: a value is out of its range; the text names it.
    """

    max_in_flight: int = limits.MAX_IN_FLIGHT
    max_queued: int = limits.MAX_QUEUED
    statement_timeout: float = limits.STATEMENT_TIMEOUT
    drain_timeout: float = DRAIN_TIMEOUT
    sweep_interval: float = limits.KV_SWEEP_INTERVAL

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 0 or (value == 0 and field.name != "max_queued"):
                least = "0 or more" if field.name == "max_queued" else "more than 0"
                raise ValueError(f"{field.name}: expected {least}, got {value:g}.")

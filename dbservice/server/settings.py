"""What may be set about a running service, with its defaults (SPEC 3.4)."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Final

from dbservice.protocol import limits

DRAIN_TIMEOUT: Final = 30.0
PEER_INTERVAL: Final = 30.0

_ACROSS_ACCOUNTS: Final = "_R_."
"""What nats-server replaces the inbox of a request by that comes from another account."""

WORKERS: Final = max(2, min(4, (os.cpu_count() or 1) // 2)) if hasattr(os, "pidfd_open") else 0
"""Processes that search a database file where the service has the machine's cores to itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The limits of one service; each is an option of `rosey serve`, with these words as its help.

    Attributes:
        max_in_flight: Requests served at a time. One plugin alone gets at most seven eighths of
            them.
        max_queued: Requests that may wait for that; plugins take turns. Further ones are answered
            with OVERLOADED.
        max_bytes: Bytes of all requests that are served or wait. Further ones are answered with
            OVERLOADED.
        max_plugin_bytes: Of these, those of one plugin.
        statement_timeout: Seconds after which an SQL statement is stopped.
        write_timeout: Seconds that a plugin's write may keep the writer of an SQLite file.
        drain_timeout: Seconds to answer what was taken, once it is told to end.
        sweep_interval: Seconds between two removals of expired keys.
        peer_interval: Seconds between two looks whether a service of another database answers on
            this bus.
        inbox_prefix: What reply subjects begin with. A request that wants its answer elsewhere is
            dropped, so that nobody sends the service to a place where they may not publish.

    Raises:
        ValueError: a value is out of its range; the text names it.
    """

    max_in_flight: int = limits.MAX_IN_FLIGHT
    max_queued: int = limits.MAX_QUEUED
    max_bytes: int = limits.MAX_BYTES_TAKEN
    max_plugin_bytes: int = limits.MAX_PLUGIN_BYTES_TAKEN
    statement_timeout: float = limits.STATEMENT_TIMEOUT
    write_timeout: float = limits.WRITE_TIMEOUT
    drain_timeout: float = DRAIN_TIMEOUT
    sweep_interval: float = limits.KV_SWEEP_INTERVAL
    peer_interval: float = PEER_INTERVAL
    inbox_prefix: str = "_INBOX"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str):
                if not value:
                    raise ValueError(f"{field.name}: expected a text, got none.")
            elif not (value > 0 or (value == 0 and field.name == "max_queued")):
                least = "0 or more" if field.name == "max_queued" else "more than 0"
                raise ValueError(f"{field.name}: expected {least}, got {value:g}.")

    def may_answer(self, reply_to: str) -> bool:
        """Return whether a reply subject is an inbox, and no subject that somebody listens on.

        Args:
            reply_to: as it came; empty if nobody waits for an answer.
        """
        return not reply_to or reply_to.startswith((self.inbox_prefix, _ACROSS_ACCOUNTS))

"""Messages of the namespace and service families (SPEC 2.1)."""

from __future__ import annotations

from typing import Any

from dbservice.protocol.messages import Reply, Request


class Clear(Request, frozen=True, kw_only=True):
    """Remove everything a plugin owns: rows, tables, KV entries, bookkeeping. Admin only."""


class Cleared(Reply, frozen=True, kw_only=True):
    """Answer to `clear`: how much of each was removed."""

    tables: int
    keys: int
    migrations: int


class Ping(Request, frozen=True, kw_only=True):
    """Ask whether the service answers."""


class Pong(Reply, frozen=True, kw_only=True):
    """Answer to `ping`."""

    service: str
    version: str


class Info(Request, frozen=True, kw_only=True):
    """Ask what this service is."""


class ServiceInfo(Reply, frozen=True, kw_only=True):
    """Answer to `info`; `uptime_s` in seconds."""

    service: str
    version: str
    engine: str
    limits: dict[str, Any]
    namespaces: list[str]
    uptime_s: float

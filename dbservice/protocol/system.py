"""Messages of the namespace and service families."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from dbservice.protocol.limits import MAX_EXPORT_PAGE
from dbservice.protocol.messages import NonEmpty, Reply, Request
from dbservice.protocol.rows import Column


class DescribeNamespace(Request, frozen=True, kw_only=True):
    """Ask what a plugin owns."""


class TableSummary(Struct, frozen=True, kw_only=True):
    """One table in the description of a namespace."""

    name: str
    columns: list[Column]
    row_count: int


class NamespaceDescribed(Reply, frozen=True, kw_only=True):
    """Answer to `describe`; expired keys do not count, `migrations` are the applied ones."""

    tables: list[TableSummary]
    keys: int
    migrations: list[str]


class Clear(Request, frozen=True, kw_only=True):
    """Remove everything a plugin owns: rows, tables, KV entries, bookkeeping. Admin only."""


class Cleared(Reply, frozen=True, kw_only=True):
    """Answer to `clear`: how much of each was removed."""

    tables: int
    keys: int
    migrations: int


class Export(Request, frozen=True, kw_only=True):
    """Read everything a plugin owns as JSON lines, a page at a time. Each page is one snapshot.

    Attributes:
        after: the cursor `next` of the page before; absent for the first page.
        limit: characters of the page at the most.
    """

    after: NonEmpty | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=64, le=MAX_EXPORT_PAGE)] = MAX_EXPORT_PAGE


class Exported(Reply, frozen=True, kw_only=True):
    """Answer to `export`: a piece of the text; a line longer than a page goes on in the next."""

    text: str
    next: str | UnsetType = UNSET


class Import(Request, frozen=True, kw_only=True):
    """Store what `export` gave in an empty namespace, a part at a time, in order.

    Until the last part all other operations of the plugin are answered with LOCK_TIMEOUT; `clear`
    ends an import that nobody will finish.

    Attributes:
        session: names this import; the same name takes it up again where it stopped.
        part: which piece of the text this is, counted from 0. One that was taken already is not
            stored again: its answer says how far the import is.
        text: the piece, cut anywhere.
        finish: this is the last piece. If the answer is not `finished`, there are more rows than
            are looked over in one go: an empty piece, with `finish`, asks for the next go.
    """

    session: Annotated[str, Meta(min_length=1, max_length=64)]
    part: Annotated[int, Meta(ge=0, le=2**31)]
    text: Annotated[str, Meta(max_length=MAX_EXPORT_PAGE)]
    finish: bool = False


class Imported(Reply, frozen=True, kw_only=True):
    """Answer to `import`: how many parts were taken, of how many characters, and what is stored."""

    finished: bool
    parts: int = 0
    characters: int = 0
    tables: int = 0
    rows: int = 0
    keys: int = 0
    migrations: int = 0


class Ping(Request, frozen=True, kw_only=True):
    """Ask whether the service answers."""


class Pong(Reply, frozen=True, kw_only=True):
    """Answer to `ping`."""

    service: str
    version: str


class Info(Request, frozen=True, kw_only=True):
    """Ask what this service is."""


class ServiceInfo(Reply, frozen=True, kw_only=True):
    """Answer to `info`; `uptime_s` in seconds, `identity` tells its database from every other."""

    service: str
    version: str
    engine: str
    limits: dict[str, Any]
    namespaces: list[str]
    uptime_s: float
    identity: str | UnsetType = UNSET

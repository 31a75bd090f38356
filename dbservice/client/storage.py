"""The storage of one plugin, as the plugin sees it."""
# ruff: noqa: ASYNC109 - the timeout is that of the request, and part of the contract

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from msgspec import UNSET

from dbservice.client.channel import Channel, Nats
from dbservice.client.kv import KeyValues
from dbservice.client.migrations import Migrations
from dbservice.client.reply_reader import ReplyReader
from dbservice.client.retry import RetryPolicy
from dbservice.client.rows import Row, Rows
from dbservice.client.transfer import Lines, exported, imported, pages
from dbservice.protocol.sql import ExecuteQuery, QueryResult
from dbservice.protocol.system import (
    Clear,
    Cleared,
    DescribeNamespace,
    Exported,
    Imported,
    NamespaceDescribed,
)

__tracebackhide__ = True  # in a failing test pytest shows the line of the caller

DEFAULT_TIMEOUT: Final = 2.0
IMPORT_TIMEOUT: Final = 600.0

_CLEARED = ReplyReader(Cleared)
_DESCRIBED = ReplyReader(NamespaceDescribed)
_RESULT = ReplyReader(QueryResult, "rows")


class StorageClient:
    """Keys, rows and migrations of one plugin, over NATS.

    ```python
    storage = StorageClient(nats, "quote-db", retries=3)
    quote_id = await storage.rows("quotes").insert({"text": "Hello", "author": "Alice"})
    ```

    Args:
        nats: a connected nats-py client, or anything with its `request()`.
        plugin: the plugin's name, for example `quote-db`; nothing outside its namespace can be
            reached.
        timeout: seconds to wait for each reply.
        retries: how often a failed call is repeated at the most, 0 for never; or a policy. Writes
            that may be repeated carry an idempotency key, so that none is executed twice.

    Attributes:
        kv: the plugin's keys and values.
        migrations: the versions of the plugin's tables.

    Raises:
        InvalidSubject: `plugin` is not a plugin name.
    """

    def __init__(
        self,
        nats: Nats,
        plugin: str,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retries: int | RetryPolicy = 0,
    ) -> None:
        policy = RetryPolicy(limit=retries) if isinstance(retries, int) else retries
        self._channel = Channel(nats, plugin, timeout, policy)
        self.kv = KeyValues(self._channel)
        self.migrations = Migrations(self._channel)

    def rows(self, table: str) -> Rows:
        """Return a table of the plugin.

        Args:
            table: its bare name, for example `quotes`.
        """
        return Rows(self._channel, table)

    async def sql(self, query: str, *params: Any, timeout: float | None = None) -> list[Row]:
        """Return the rows of one SELECT over the plugin's own tables, at most 1,000 of them.

        Args:
            query: one `SELECT` or `WITH … SELECT`, tables under their bare names.
            *params: values for `$1`, `$2` and so on.
            timeout: seconds; by default the client's.

        Raises:
            ValidationError: the query cannot be read, or names what is not there.
            Forbidden: it reaches beyond the plugin's tables, or would do more than read.
        """
        request = ExecuteQuery(query=query, params=list(params))
        return (await self._channel.call(request, _RESULT, timeout)).rows

    async def describe(self, *, timeout: float | None = None) -> NamespaceDescribed:
        """Return the plugin's tables with their row counts, its keys and its migrations.

        Args:
            timeout: seconds; by default the client's.
        """
        return await self._channel.call(DescribeNamespace(), _DESCRIBED, timeout)

    def export(self, *, timeout: float | None = None) -> AsyncIterator[str]:
        """Yield everything the plugin owns as JSON lines, without their ends.

        Each page is one snapshot, the whole is not: stop the plugin's writes for an export of one
        moment. A migration meanwhile ends it with a `ValidationError`.

        Args:
            timeout: seconds for each page; by default the client's.
        """
        return exported(self._channel, timeout)

    def export_pages(
        self, *, after: str | None = None, timeout: float | None = None
    ) -> AsyncIterator[Exported]:
        """Yield an export as it comes, in pages, each with the cursor that leads to the next.

        For whoever wants to take up an export again that was interrupted.

        Args:
            after: the `next` of the last page that was kept; by default the export begins.
            timeout: seconds for each page; by default the client's.
        """
        return pages(self._channel, UNSET if after is None else after, timeout)

    async def import_(
        self, lines: Lines, *, session: str | None = None, timeout: float = IMPORT_TIMEOUT
    ) -> Imported:
        """Store what `export()` gave in this plugin's empty namespace, a part at a time.

        Rows get the ids, stamps and JSON texts they had, keys the lifetime they had left. Until
        the last part all other requests of the plugin fail with `LockTimeout`. An import that was
        interrupted goes on with the same lines under the same session; `clear()` ends it.

        Args:
            lines: of one export, an iterable or an asynchronous one.
            session: names the import, for example by a checksum of the lines; by default it has a
                name of its own, and cannot be taken up again.
            timeout: seconds for each part; the first makes the tables, the last looks at the
                foreign keys, and they take longest.

        Raises:
            Forbidden: the server keeps this for the admin.
            ValidationError: the namespace is not empty, or the lines are no whole export.
            MigrationNotFound: the service lacks the migrations that made the tables.
            ChecksumMismatch: it has others under the same versions.
        """
        return await imported(self._channel, lines, session, timeout)

    async def clear(self, *, timeout: float | None = None) -> Cleared:
        """Remove everything the plugin owns: rows, tables, keys and the history of migrations.

        Args:
            timeout: seconds; by default the client's.

        Raises:
            Forbidden: the server keeps this for the admin.
        """
        return await self._channel.call(Clear(), _CLEARED, timeout)

    def __repr__(self) -> str:
        return f"StorageClient({self._channel.plugin!r})"

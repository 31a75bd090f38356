"""Sends requests to a `Database` as the service does, without NATS in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dbservice.engine.engine import Engine
from dbservice.engine.errors import EngineError
from dbservice.engine.steps import Steps
from dbservice.protocol import (
    RequestError,
    decode_request,
    encode_failure,
    encode_reply,
    find,
    subject_for,
)
from dbservice.protocol.names import Namespace
from dbservice.protocol.subjects import Family
from dbservice.server.failures import reply_to
from dbservice.storage.database import Database

Json = dict[str, Any]

MakeEngine = Callable[..., Engine]
"""Makes an engine of the kind that the test runs on."""

ONLY_ON_SQLITE = pytest.mark.parametrize("make_engine", ["memory", "file"], indirect=True)
"""Marks a test of what only SQLite does."""


class Caller:
    """A plugin that talks to a database: JSON in, JSON out, through the whole protocol.

    Args:
        database: answers.
        plugin: whose subjects are used.
    """

    def __init__(self, database: Database, plugin: str = "quote-db") -> None:
        self.database = database
        self.plugin = plugin
        self._work = database.operations.table

    def named(self, plugin: str) -> Caller:
        """Return another plugin that talks to the same database."""
        return Caller(self.database, plugin)

    async def send(self, family: Family, operation: str, body: Json) -> Json:
        """Return the decoded reply, success or failure, without the `success` of a success."""
        address, found = find(subject_for(family, operation, self.plugin))
        try:
            request = decode_request(found, address, json.dumps(body).encode())
            assert address.namespace is not None
            key = body.get("idempotency_key")
            reply = await self.database.execute(
                self._work[found.family, found.name], address.namespace, found, request, key
            )
            answer: Json = json.loads(encode_reply(reply))
        except RequestError as error:
            answer = json.loads(encode_failure(error))
        except EngineError as error:
            answer = json.loads(encode_failure(reply_to(error, address.namespace)))
        return answer

    async def kv(self, operation: str, **body: Any) -> Json:
        """Send a KV request that is expected to succeed."""
        return _succeeded(await self.send(Family.KV, operation, body))

    async def row(self, operation: str, **body: Any) -> Json:
        """Send a row request that is expected to succeed."""
        return _succeeded(await self.send(Family.ROW, operation, body))

    async def clear(self) -> Json:
        """Clear the plugin's namespace."""
        return _succeeded(await self.send(Family.NAMESPACE, "clear", {}))

    async def refused_kv(self, operation: str, **body: Any) -> Json:
        """Send a KV request that is expected to fail; return its error."""
        return _failed(await self.send(Family.KV, operation, body))

    async def refused_row(self, operation: str, **body: Any) -> Json:
        """Send a row request that is expected to fail; return its error."""
        return _failed(await self.send(Family.ROW, operation, body))

    async def ids(self, filters: Json, table: str = "quotes") -> list[Any]:
        """Return the ids of the rows that match, in order."""
        found = await self.row("search", table=table, filters=filters, columns=["id"], limit=1000)
        ids = [row["id"] for row in found["rows"]]
        assert found["total"] == found["count"] == len(ids)
        counted = await self.row("count", table=table, filters=filters)
        assert counted == {"count": len(ids)}
        return ids

    async def one(self, row_id: int | str, *columns: str, table: str = "quotes") -> Json:
        """Return the row with an id."""
        wanted = {"columns": list(columns)} if columns else {}
        answer = await self.row("select", table=table, id=row_id, **wanted)
        row: Json = answer["data"]
        return row


def no_migrations(_namespace: Namespace) -> Steps[int]:
    """Stand in for the migrator: there is no bookkeeping to forget."""
    yield from ()
    return 0


def _succeeded(answer: Json) -> Json:
    assert answer.pop("success") is True, answer
    return answer


def _failed(answer: Json) -> Json:
    assert answer["success"] is False, answer
    error: Json = answer["error"]
    assert_tells_nothing(json.dumps(error))
    return error


def assert_tells_nothing(text: str) -> None:
    """Check that a reply has no SQL, prefixed table name, path or stack in it (SPEC 2.2)."""
    for secret in ("quote_db__", "SELECT ", "INSERT ", "UPDATE ", "Traceback", "sqlite_", ".db"):
        assert secret not in text, text

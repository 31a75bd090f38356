"""The contestants that no plugin brings: what lies under it, layer by layer.

They keep rows in a namespace of their own, so that no plugin's table is changed, and any plugin can
be compared with them.
"""

# ruff: noqa: D102 - what the methods do is said in Contestant
from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from dbservice.client import FieldDefinition, SortBy, StorageClient
from dbservice.protocol.codec import encode_json
from dbservice.protocol.subjects import Family, subject_for

ECHO: Final = "rosey.bench.echo"
"""Where the bare responder listens: a subject that is nobody else's."""

TABLE: Final = "notes"
TIMEOUT: Final = 30.0
BATCH: Final = 1_000
FIELDS: Final[list[FieldDefinition]] = [
    {"name": "text", "type": "text", "required": True},
    {"name": "author", "type": "string"},
    {"name": "added_by", "type": "string"},
    {"name": "timestamp", "type": "integer"},
    {"name": "score", "type": "integer", "default": 0},
]
_NEWEST: Final[SortBy] = {"field": "timestamp", "order": "desc"}
_PATTERN: Final = "%er 5%"
_MATCHING: Final = {"$or": [{"text": {"$ilike": _PATTERN}}, {"author": {"$ilike": _PATTERN}}]}


def row(number: int) -> dict[str, Any]:
    """Return the columns of one row."""
    return {
        "text": f"note number {number}",
        "author": f"author {number % 10}",
        "added_by": "bench",
        "timestamp": 1_700_000_000 + number,
    }


class _OnService:
    """Keeps its rows in a table of the service.

    Args:
        nats: a connected NATS client.
        namespace: where the rows are.
    """

    def __init__(self, nats: Any, namespace: str) -> None:
        self._nats = nats
        self._namespace = namespace
        storage = StorageClient(nats, namespace, timeout=TIMEOUT)
        self._notes, self._kv = storage.rows(TABLE), storage.kv

    async def initialize(self) -> None:
        """Make the table."""
        await self._notes.register(FIELDS)

    async def fill(self, rows: int) -> list[int]:
        """Insert rows, a thousand at a time."""
        keys: list[Any] = []
        for first in range(0, rows, BATCH):
            batch = [row(number) for number in range(first, min(first + BATCH, rows))]
            keys += await self._notes.insert_many(batch)
        return keys


class Requests(_OnService):
    """The service, asked with bare NATS requests: what it costs without any client library."""

    def __init__(self, nats: Any, namespace: str) -> None:
        super().__init__(nats, namespace)
        self._subjects: dict[tuple[Family, str], str] = {}

    async def add(self, number: int) -> int:
        reply = await self._ask(Family.ROW, "insert", {"table": TABLE, "data": row(number)})
        key: int = msgspec.json.decode(reply).get("id", number)
        return key

    async def get(self, key: int) -> bytes:
        return await self._ask(Family.ROW, "select", {"table": TABLE, "id": key})

    async def upvote(self, key: int) -> bytes:
        operations = {"score": {"$inc": 1}}
        request = {"table": TABLE, "id": key, "operations": operations, "returning": ["score"]}
        return await self._ask(Family.ROW, "update", request)

    async def delete(self, key: int) -> bytes:
        return await self._ask(Family.ROW, "delete", {"table": TABLE, "id": key})

    async def random(self) -> bytes:
        return await self._ask(
            Family.ROW, "select", {"table": TABLE, "sort": "$random", "limit": 1}
        )

    async def search(self) -> bytes:
        request = {"table": TABLE, "filters": _MATCHING, "sort": _NEWEST, "limit": 10}
        return await self._ask(Family.ROW, "search", request)

    async def kv_get(self, _number: int) -> bytes:
        return await self._ask(Family.KV, "get", {"key": "bench"})

    async def kv_set(self, number: int) -> bytes:
        """Write a key; always another value, because SQLite would not write the same one."""
        return await self._ask(Family.KV, "set", {"key": "bench", "value": number})

    async def ping(self) -> bytes:
        return await self._ask(Family.SERVICE, "ping", {})

    async def _ask(self, family: Family, operation: str, request: Mapping[str, Any]) -> bytes:
        subject = self._subjects.get((family, operation)) or self._subject(family, operation)
        data = await self._send(subject, encode_json(request))
        if not data.startswith(b'{"success":true'):
            raise RuntimeError(f"{subject} was refused: {data.decode()}")
        return data

    async def _send(self, subject: str, payload: bytes) -> bytes:
        reply = await self._nats.request(subject, payload, timeout=TIMEOUT)
        data: bytes = reply.data
        return data

    def _subject(self, family: Family, operation: str) -> str:
        plugin = None if family is Family.SERVICE else self._namespace
        subject = self._subjects[family, operation] = subject_for(family, operation, plugin)
        return subject


class Echo(Requests):
    """The same requests, sent to a responder that answers each with its own payload."""

    async def initialize(self) -> None:
        """Do nothing: there is no table."""

    async def fill(self, rows: int) -> list[int]:
        """Store nothing."""
        return list(range(1, rows + 1))

    async def _ask(self, _family: Family, _operation: str, request: Mapping[str, Any]) -> bytes:
        return await self._send(ECHO, encode_json(request))


class Client(_OnService):
    """The storage client against the service: what every plugin pays, and nothing of a plugin."""

    async def add(self, number: int) -> Any:
        return await self._notes.insert(row(number))

    async def get(self, key: int) -> Any:
        return await self._notes.get(key)

    async def upvote(self, key: int) -> Any:
        return await self._notes.update({"id": key}, {"score": {"$inc": 1}}, returning=["score"])

    async def delete(self, key: int) -> Any:
        return await self._notes.delete({"id": key})

    async def random(self) -> Any:
        return await self._notes.random()

    async def search(self) -> Any:
        return await self._notes.search(_MATCHING, sort=_NEWEST, limit=10)

    async def kv_get(self, _number: int) -> Any:
        return await self._kv.get("bench")

    async def kv_set(self, number: int) -> Any:
        return await self._kv.set("bench", number)


class Direct:
    """SQLite in this process, with the durability of the service and nothing between.

    Its calls do not let the event loop go on meanwhile; it takes part with one client only.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._execute = self._connection.execute

    async def initialize(self) -> None:
        """Make the tables."""
        self._execute("PRAGMA journal_mode = WAL")
        self._execute("PRAGMA synchronous = FULL")
        self._execute(
            f"CREATE TABLE {TABLE} (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL, "
            "author TEXT, added_by TEXT, timestamp INTEGER, score INTEGER DEFAULT 0)"
        )
        self._execute("CREATE TABLE kv (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")

    async def close(self) -> None:
        self._connection.close()

    async def fill(self, rows: int) -> list[int]:
        """Insert rows in one transaction."""
        self._execute("BEGIN IMMEDIATE")
        keys = [self._insert(number) for number in range(rows)]
        self._execute("COMMIT")
        return keys

    async def add(self, number: int) -> int:
        return self._insert(number)

    def _insert(self, number: int) -> int:
        cursor = self._execute(
            f"INSERT INTO {TABLE} (text, author, added_by, timestamp) "  # noqa: S608 - a constant
            "VALUES (:text, :author, :added_by, :timestamp)",
            row(number),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    async def get(self, key: int) -> Any:
        return self._first(f"SELECT * FROM {TABLE} WHERE id = ?", key)  # noqa: S608

    async def upvote(self, key: int) -> Any:
        return self._first(
            f"UPDATE {TABLE} SET score = score + 1 WHERE id = ? RETURNING score",  # noqa: S608
            key,
        )

    async def delete(self, key: int) -> Any:
        return self._execute(f"DELETE FROM {TABLE} WHERE id = ?", (key,)).rowcount  # noqa: S608

    async def random(self) -> Any:
        """Read any row, by the quickest statement that is fair where ids have gaps."""
        return self._first(f"SELECT * FROM {TABLE} ORDER BY random() LIMIT 1")  # noqa: S608

    async def search(self) -> Any:
        return self._execute(
            f"SELECT * FROM {TABLE} WHERE text LIKE ?1 OR author LIKE ?1 "  # noqa: S608
            "ORDER BY timestamp DESC LIMIT 10",
            (_PATTERN,),
        ).fetchall()

    async def kv_get(self, _number: int) -> Any:
        return self._first("SELECT value FROM kv WHERE key = 'bench'")

    async def kv_set(self, number: int) -> Any:
        return self._execute("INSERT OR REPLACE INTO kv VALUES ('bench', ?)", (number,))

    def _first(self, statement: str, *parameters: object) -> Any:
        # All rows are read: a statement that is left open would keep its transaction open, too.
        return self._execute(statement, parameters).fetchall()

"""One request for every operation, in an order in which each finds what it needs; and for errors.

An error that no request alone can cause is shown by a test in `reference/examples/errors.md`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbservice.embedded import Stack
from dbservice.protocol import Family
from dbservice.protocol.errors import ErrorCode
from dbservice.protocol.subjects import subject_for
from dbservice.server.metrics import ServiceMetrics
from reference_plugin_quote_db import QuoteDBPlugin
from reference_plugin_quote_db.shipped import migration_root

PLUGIN = "quote-db"
QUOTE = {"text": "Watch out for snakes! #classic", "author": "Eegah", "added_by": "ada"}

EXAMPLES: Mapping[tuple[Family, str], dict[str, Any]] = {
    (Family.SERVICE, "ping"): {},
    (Family.MIGRATE, "status"): {},
    (Family.MIGRATE, "verify"): {},
    (Family.MIGRATE, "apply"): {"applied_by": "ada"},
    (Family.MIGRATE, "repair"): {},
    (Family.KV, "set"): {"key": "greeting", "value": {"text": "Hi"}, "ttl_seconds": 3600},
    (Family.KV, "get"): {"key": "greeting"},
    (Family.KV, "list"): {"prefix": "greet", "limit": 10},
    (Family.KV, "delete"): {"key": "greeting"},
    (Family.KV, "incr"): {"key": "visits", "by": 1},
    (Family.ROW, "insert"): {
        "table": "quotes",
        "data": {**QUOTE, "timestamp": 1767225600},
        "counters": {"total_quotes": 1},
    },
    (Family.ROW, "insert_batch"): {
        "table": "quotes",
        "rows": [{**QUOTE, "timestamp": 1767225600}, {**QUOTE, "timestamp": 1767225601}],
    },
    (Family.ROW, "select"): {
        "table": "quotes",
        "filters": {"author": "Eegah", "timestamp": {"$gte": 1767225600}},
        "columns": ["id", "text"],
        "sort": {"field": "id", "order": "desc"},
        "limit": 2,
    },
    (Family.ROW, "search"): {
        "table": "quotes",
        "filters": {"text": {"$ilike": "%snakes%"}},
        "columns": ["id"],
        "limit": 1,
    },
    (Family.ROW, "update"): {
        "table": "quotes",
        "id": 1,
        "operations": {"score": {"$inc": 1}},
        "returning": ["score"],
    },
    (Family.ROW, "schema.register"): {
        "table": "settings",
        "schema": {
            "fields": [
                {"name": "name", "type": "string", "required": True, "unique": True},
                {"name": "value", "type": "json"},
            ]
        },
    },
    (Family.ROW, "upsert"): {
        "table": "settings",
        "data": {"name": "volume", "value": 11},
        "on": ["name"],
    },
    (Family.ROW, "count"): {"table": "quotes", "filters": {"author": {"$ne": "Eegah"}}},
    (Family.ROW, "aggregate"): {
        "table": "quotes",
        "group_by": ["author"],
        "compute": {"quotes": {"$count": "*"}, "best": {"$max": "score"}},
        "sort": {"field": "quotes", "order": "desc"},
        "limit": 2,
    },
    (Family.SQL, "execute"): {
        "query": "SELECT author, count(*) AS quotes FROM quotes WHERE score >= $1 GROUP BY author",
        "params": [0],
    },
    (Family.ROW, "schema.describe"): {"table": "settings"},
    (Family.ROW, "delete"): {"table": "quotes", "filters": {"author": "Eegah"}},
    (Family.ROW, "schema.drop"): {"table": "settings"},
    (Family.NAMESPACE, "describe"): {},
    (Family.NAMESPACE, "export"): {"limit": 400},
    (Family.MIGRATE, "rollback"): {"version": "003"},
    (Family.NAMESPACE, "clear"): {},
    # The first part of an import; the last one has "finish": true.
    (Family.NAMESPACE, "import"): {"session": "monday", "part": 0, "text": "{"},
    (Family.SERVICE, "info"): {},
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, and what the service answered."""

    family: Family
    name: str
    subject: str
    request: dict[str, Any]
    reply: dict[str, Any]


async def exchanges() -> list[Exchange]:
    """Send every example to a service with a database in memory, and return what it answered."""
    found = []
    async with Stack() as stack:
        nats = await stack.connect()
        for (family, name), request in EXAMPLES.items():
            plugin = () if family is Family.SERVICE else (PLUGIN,)
            subject = subject_for(family, name, *plugin)
            message = await nats.request(subject, json.dumps(request).encode(), timeout=10)
            reply = json.loads(message.data)
            assert reply["success"], f"the example of {subject} is refused: {reply}"
            found.append(Exchange(family, name, subject, request, reply))
    return found


MIGRATIONS: Mapping[str, str] = {
    "broken/001_no_such_table.sql": "-- UP\nDROP TABLE nothing;\n-- DOWN\n",
    "gap/002_second.sql": "-- UP\n-- DOWN\n",
    "one-way/001_table.sql": "-- UP\nCREATE TABLE t (id INTEGER);\n-- IRREVERSIBLE: data is lost\n",
    "edited/001_table.sql": "-- UP\nCREATE TABLE t (id INTEGER);\n-- DOWN\nDROP TABLE t;\n",
}
"""Migrations with which something is wrong."""

REFUSED: Mapping[ErrorCode, Sequence[tuple[str, bytes]]] = {
    ErrorCode.INVALID_JSON: [("rosey.db.kv.quote-db.get", b'{"key": ')],
    ErrorCode.INVALID_SUBJECT: [("rosey.db.kv.quote-db.grab", b"{}")],
    ErrorCode.MISSING_FIELD: [("rosey.db.kv.quote-db.get", b"{}")],
    ErrorCode.VALIDATION_ERROR: [
        ("rosey.db.row.quote-db.select", b'{"table": "quotes", "filters": {"auther": "Joel"}}')
    ],
    ErrorCode.VALUE_TOO_LARGE: [
        ("rosey.db.kv.quote-db.set", b'{"key": "all", "value": "%s"}' % (b"x" * 70_000))
    ],
    ErrorCode.CONSTRAINT_VIOLATION: [
        (
            "rosey.db.row.quote-db.insert",
            b'{"table": "quotes", "data": {"text": "Hi-keeba!", "timestamp": 1}}',
        )
    ],
    ErrorCode.NAMESPACE_CONFLICT: [("rosey.db.kv.quote_db.get", b'{"key": "greeting"}')],
    ErrorCode.FORBIDDEN: [("rosey.db.sql.quote-db.execute", b'{"query": "DELETE FROM quotes"}')],
    ErrorCode.IDEMPOTENCY_CONFLICT: [
        ("rosey.db.kv.quote-db.incr", b'{"key": "visits", "by": 1, "idempotency_key": "k1"}'),
        ("rosey.db.kv.quote-db.incr", b'{"key": "visits", "by": 2, "idempotency_key": "k1"}'),
    ],
    ErrorCode.MIGRATION_NOT_FOUND: [("rosey.db.migrate.quote-db.apply", b'{"version": "099"}')],
    ErrorCode.MIGRATION_FAILED: [("rosey.db.migrate.broken.apply", b"{}")],
    ErrorCode.MIGRATION_ORDER: [("rosey.db.migrate.gap.apply", b"{}")],
    ErrorCode.IRREVERSIBLE: [
        ("rosey.db.migrate.one-way.apply", b"{}"),
        ("rosey.db.migrate.one-way.rollback", b"{}"),
    ],
    ErrorCode.CHECKSUM_MISMATCH: [
        ("rosey.db.migrate.edited.apply", b"{}"),
        ("rosey.db.migrate.edited.apply", b"{}"),
    ],
    ErrorCode.LOCK_TIMEOUT: [
        ("rosey.db.namespace.notes.import", b'{"session": "monday", "part": 0, "text": "{"}'),
        ("rosey.db.kv.notes.get", b'{"key": "greeting"}'),
    ],
}
"""Requests whose last one is refused with the code."""


async def refusals() -> dict[ErrorCode, tuple[str, str, dict[str, Any]]]:
    """Return a refused request for each of these codes: its subject, its payload, and the reply."""
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for name, text in MIGRATIONS.items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(text, "utf-8")
        edited = root / "edited/001_table.sql"
        async with Stack(migrations=[root, migration_root()]) as stack:
            nats = await stack.connect()
            await nats.request("rosey.db.migrate.quote-db.apply", b"{}", timeout=10)
            for code, requests in REFUSED.items():
                for subject, payload in requests:
                    message = await nats.request(subject, payload, timeout=10)
                    if subject == "rosey.db.migrate.edited.apply":
                        edited.write_text(
                            edited.read_text("utf-8").replace("INTEGER", "TEXT"), "utf-8"
                        )
                reply = json.loads(message.data)
                assert reply.get("error", {}).get("code") == code, f"{subject}: {reply}"
                found[code] = (subject, payload.decode(), reply)
    return found


async def scraped() -> dict[str, str]:
    """Return the metrics of a running service and plugin, as Prometheus reads them."""
    service = ServiceMetrics()
    async with Stack(metrics=service) as stack:
        nats = await stack.connect()
        await nats.request(f"rosey.db.migrate.{PLUGIN}.apply", b"{}", timeout=10)
        plugin = QuoteDBPlugin(nats)
        await plugin.initialize()
        for number in range(1, 7):
            await plugin.add_quote(f"Quote {number}", "Joel", "ada")
            await plugin.get_quote(number)
        for number in range(12):
            await plugin.handle_command("ada", "user", f'!quote add "Again {number}" Joel')
        service.swept(
            await stack.service.database.sweep()
        )  # as it does by itself from time to time
        _, page = plugin.metrics_page()
        text = {"The service": service.page().decode(), "The quote plugin": page.decode()}
        await plugin.close()
    return text

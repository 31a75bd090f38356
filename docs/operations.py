"""One request for every operation, in an order in which each finds what it needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dbservice.embedded import Stack
from dbservice.protocol import Family
from dbservice.protocol.subjects import subject_for

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

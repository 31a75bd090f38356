"""Payloads of every operation: the smallest one, and one that names every field."""

from __future__ import annotations

from typing import Any

from dbservice.protocol import Family, Operation

_PLUGIN = {"plugin_name": "quote-db"}
_KEYED = {"idempotency_key": "k-1"}
_ROW = {"text": "To be", "score": None, "tags": ["a", {"b": [1.5, True]}]}
_SORT = [{"field": "score", "order": "desc"}, {"field": "text", "order": "asc"}]
_SELECT = {
    "table": "quotes",
    "id": 7,
    "filters": {"$or": [{"score": {"$gt": 1}}, {"text": None}]},
    "columns": ["id", "text"],
    "sort": _SORT,
    "limit": 10,
    "offset": 3,
    "after": "WzFd",
}
_SCHEMA = {
    "fields": [
        {"name": "text", "type": "string", "required": True, "max_length": 50, "unique": True},
        {"name": "score", "type": "integer", "default": 0},
    ]
}

EXAMPLES: dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]] = {
    ("kv", "set"): (
        {"key": "a", "value": None},
        {
            **_PLUGIN,
            **_KEYED,
            "key": "a",
            "value": {"b": [1, None]},
            "ttl_seconds": 5,
            "ttl": 5,
            "if_absent": True,
            "if_value": None,
        },
    ),
    ("kv", "get"): ({"key": "a"}, {**_PLUGIN, "key": "a"}),
    ("kv", "delete"): ({"key": "a"}, {**_PLUGIN, **_KEYED, "key": "a"}),
    ("kv", "list"): ({}, {**_PLUGIN, "prefix": "a", "limit": 5, "after": "ab"}),
    ("kv", "incr"): (
        {"key": "a"},
        {**_PLUGIN, **_KEYED, "key": "a", "by": -3, "ttl_seconds": 9, "ttl": 9},
    ),
    ("row", "insert"): (
        {"table": "quotes", "data": {}},
        {**_KEYED, "table": "quotes", "data": [_ROW], "counters": {"total": 1}},
    ),
    ("row", "insert_batch"): (
        {"table": "quotes", "rows": [{}]},
        {**_KEYED, "table": "quotes", "rows": [_ROW, {}], "counters": {"total": 1}},
    ),
    ("row", "select"): ({"table": "quotes"}, _SELECT),
    ("row", "search"): ({"table": "quotes"}, {**_SELECT, "sort": "$random"}),
    ("row", "update"): (
        {"table": "quotes"},
        {
            **_KEYED,
            "table": "quotes",
            "id": "seven",
            "filters": {"score": 1},
            "operations": {"score": {"$inc": 1}},
            "data": {"text": "x"},
            "returning": ["id"],
            "all": True,
        },
    ),
    ("row", "upsert"): (
        {"table": "quotes", "data": {}, "on": ["text"]},
        {
            **_KEYED,
            "table": "quotes",
            "data": _ROW,
            "on": ["text"],
            "operations": {"score": {"$inc": 1}},
        },
    ),
    ("row", "delete"): (
        {"table": "quotes"},
        {
            **_KEYED,
            "table": "quotes",
            "id": 7,
            "filters": {"score": 1},
            "counters": {"total": -1},
            "all": True,
        },
    ),
    ("row", "count"): ({"table": "quotes"}, {"table": "quotes", "filters": {"score": 1}}),
    ("row", "aggregate"): (
        {"table": "quotes", "compute": {"n": {"$count": "*"}}},
        {
            "table": "quotes",
            "filters": {"score": {"$gt": 1}},
            "group_by": ["author"],
            "compute": {"n": {"$count": "*"}, "sum": {"$sum": "score"}},
            "having": {"n": {"$gt": 1}},
            "sort": _SORT,
            "limit": 5,
        },
    ),
    ("row", "schema.register"): (
        {"table": "quotes", "schema": {"fields": [{"name": "text", "type": "text"}]}},
        {**_KEYED, "table": "quotes", "schema": _SCHEMA},
    ),
    ("row", "schema.describe"): ({"table": "quotes"}, {"table": "quotes"}),
    ("row", "schema.drop"): ({"table": "quotes"}, {**_KEYED, "table": "quotes"}),
    ("migrate", "apply"): (
        {},
        {"version": 3, "dry_run": True, "strict": True, "applied_by": "ann"},
    ),
    ("migrate", "rollback"): (
        {},
        {"version": "003", "to": 0, "all": True, "dry_run": True, "applied_by": "ann"},
    ),
    ("migrate", "status"): ({}, {}),
    ("migrate", "verify"): ({}, {}),
    ("migrate", "repair"): ({}, {}),
    ("namespace", "clear"): ({}, {}),
    ("sql", "execute"): (
        {"query": "SELECT 1"},
        {"query": "SELECT $1", "params": [None, 1.5], "limit": 5},
    ),
    ("namespace", "describe"): ({}, {}),
    ("namespace", "export"): ({}, {"after": "x", "limit": 100}),
    ("namespace", "import"): (
        {"session": "s", "part": 0, "text": ""},
        {"session": "s", "part": 1, "text": "x", "finish": True},
    ),
    ("service", "ping"): ({}, {}),
    ("service", "info"): ({}, {}),
}


def smallest(operation: Operation) -> dict[str, Any]:
    """Return the smallest payload of an operation."""
    return dict(EXAMPLES[operation.family, operation.name][0])


def fullest(operation: Operation) -> dict[str, Any]:
    """Return the payload of an operation that names every field."""
    return dict(EXAMPLES[operation.family, operation.name][1])


def subject_parts(operation: Operation) -> tuple[Family, str, str | None]:
    """Return what `subject_for` takes to build a subject of an operation."""
    plugin = None if operation.family is Family.SERVICE else "quote-db"
    return operation.family, operation.name, plugin

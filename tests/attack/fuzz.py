"""Generated hostile requests: what a program would send that knows the contract and breaks it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dbservice.protocol import OPERATIONS
from dbservice.protocol.operations import Operation
from dbservice.protocol.subjects import Family
from tests.attack.attacks import ATTACKER, Sent

_TABLES = ("big", "many", "arrays", "notes", "none", "", "notes; DROP TABLE x", "_kv", "é", 7, None)
_COLUMNS = ("text", "n", "tags", "id", "created_at", "no", "", '"', "text--", "__x", "$or", None)
_OPERATORS = (
    *("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$between", "$like", "$ilike"),
    *("$exists", "$null", "$contains", "$not", "$and", "$or", "$nor", "$regex", "$", "eq"),
)
_CHANGES = ("$set", "$unset", "$inc", "$dec", "$mul", "$max", "$min", "$push", "$pull", "$addToSet")
_TEXTS = (
    *("", "a", "%", "\\", "%a\\", "\x00", "\ud7ff", "é" * 300, "a" * 70_000, "null", "'", '"'),
    *("\u202e", "1e999", "2023-11-14T22:13:20Z", "9" * 400, "{}", "[1]", "$random", "__", "🦜"),
)
_NUMBERS = (0, -1, 1, 2**31, 2**53, 2**63 - 1, -(2**63), 2**63, 10**30, 1e308, 5e-324, 0.1, -0.0)
_QUERIES = (
    *("SELECT 1", "SELECT * FROM many LIMIT 5", "SELECT text FROM big", "DROP TABLE many", ""),
    *("SELECT * FROM _kv", "SELECT $1", "SELECT 1; SELECT 2", "SELECT 'a", "(((((", "SELECT 1/0"),
    *("WITH a AS (SELECT 1 AS n) SELECT * FROM a", "SELECT load_extension('x')", "PRAGMA x"),
    *("SELECT count(*) AS c FROM many WHERE text LIKE '%a%'", "SELECT " + "1+" * 3000 + "1"),
    *("SELECT " + "array[" * 99, "SELECT * FROM " + "(SELECT * FROM " * 50 + "many" + ") a" * 50),
    *("SELECT string_agg(text, ',') AS t FROM many", "SELECT text || text || text FROM big"),
    *("SELECT hex(text) AS h FROM notes", "SELECT 9223372036854775807 + 1", "SELECT NULL", "\x00"),
)
_SPARED = {(Family.NAMESPACE, "clear"), (Family.NAMESPACE, "import"), (Family.ROW, "schema.drop")}
"""What would take away what the others attack with."""


def fuzzed(seed: int) -> Iterator[Sent]:
    """Yield requests for ever, the same ones for the same seed."""
    rng = random.Random(seed)
    operations = [operation for at, operation in OPERATIONS.items() if at not in _SPARED]
    while True:
        operation = rng.choice(operations)
        yield _subject(rng, operation), _payload(rng, operation)


def _subject(rng: random.Random, operation: Operation) -> str:
    name = operation.name if rng.random() < 0.98 else rng.choice(("x", "select.x", "SET", "é"))
    if operation.family is Family.SERVICE:
        return f"rosey.db.{name}"
    plugin = ATTACKER if rng.random() < 0.97 else rng.choice(("evil_", "EVIL", "_", "x" * 70))
    return f"rosey.db.{operation.family}.{plugin}.{name}"


def _payload(rng: random.Random, operation: Operation) -> bytes:
    if rng.random() < 0.05:
        return rng.randbytes(rng.randrange(200))
    body = json.dumps(_body(rng, operation)).encode()
    if rng.random() < 0.05:
        cut = rng.randrange(len(body) + 1)
        body = body[:cut] + rng.randbytes(rng.randrange(4)) + body[cut + rng.randrange(4) :]
    return body


def _body(rng: random.Random, operation: Operation) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name in operation.request.__struct_fields__:
        if rng.random() < 0.6:
            body[name] = _field(rng, name)
    if rng.random() < 0.05:
        body[rng.choice(_TEXTS)[:50]] = _value(rng, 2)
    return body


def _field(rng: random.Random, name: str) -> Any:
    if rng.random() < 0.1:
        return _value(rng, 3)
    made = _FIELDS.get(name)
    return _value(rng, 2) if made is None else made(rng)


def _value(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(7 if depth else 4)
    if kind < 2:
        return rng.choice(_TEXTS)
    if kind == 2:
        return rng.choice(_NUMBERS)
    if kind == 3:
        return rng.choice((True, False, None))
    if kind == 4:
        return [_value(rng, depth - 1) for _ in range(rng.randrange(5))]
    return {
        str(rng.choice((*_TEXTS, *_COLUMNS))): _value(rng, depth - 1)
        for _ in range(rng.randrange(4))
    }


def _filters(rng: random.Random, depth: int = 3) -> Any:
    filters: dict[Any, Any] = {}
    for _ in range(rng.randrange(3)):
        if depth and rng.random() < 0.3:
            parts = [_filters(rng, depth - 1) for _ in range(rng.randrange(3))]
            filters[rng.choice(("$and", "$or", "$nor"))] = parts
        elif depth and rng.random() < 0.1:
            filters["$not"] = _filters(rng, depth - 1)
        else:
            operand = {rng.choice(_OPERATORS): _value(rng, 1) for _ in range(rng.randrange(3))}
            filters[str(rng.choice(_COLUMNS))] = operand if rng.random() < 0.8 else _value(rng, 0)
    return filters


def _row(rng: random.Random) -> Any:
    return {str(rng.choice(_COLUMNS)): _value(rng, 2) for _ in range(rng.randrange(4))}


def _operations(rng: random.Random) -> Any:
    return {
        str(rng.choice(_COLUMNS)): {rng.choice(_CHANGES): _value(rng, 1)}
        for _ in range(rng.randrange(3))
    }


def _sort(rng: random.Random) -> Any:
    key = {"field": rng.choice(_COLUMNS), "order": rng.choice(("asc", "desc", "up"))}
    return rng.choice((key, [key, key], "$random", []))


def _columns(rng: random.Random) -> Any:
    return [rng.choice(_COLUMNS) for _ in range(rng.randrange(4))]


def _picked(values: Sequence[Any]) -> Callable[[random.Random], Any]:
    return lambda rng: rng.choice(values)


_FIELDS: dict[str, Callable[[random.Random], Any]] = {
    "table": _picked(("notes", "many", "arrays", "big", *_TABLES)),
    "filters": _filters,
    "having": _filters,
    "data": lambda rng: _row(rng) if rng.random() < 0.8 else [_row(rng), _row(rng)],
    "rows": lambda rng: [_row(rng) for _ in range(rng.randrange(4))],
    "operations": _operations,
    "sort": _sort,
    "columns": _columns,
    "returning": _columns,
    "group_by": _columns,
    "on": _columns,
    "id": _picked((*range(20), *_TEXTS, *_NUMBERS)),
    "limit": _picked((1, 2, 100, 1_000, 5_000, *_NUMBERS)),
    "offset": _picked((0, 1, 1_000, *_NUMBERS)),
    "key": _picked((*"abcdefgh", *_TEXTS)),
    "plugin_name": _picked((ATTACKER, ATTACKER, ATTACKER, "quiet", *_TEXTS)),
    "query": _picked(_QUERIES),
    "params": lambda rng: [_value(rng, 1) for _ in range(rng.randrange(3))],
    "compute": lambda rng: {
        rng.choice(("a", "b", "A", "")): {rng.choice(("$sum", "$max", "$count", "$x")): column}
        for column in map(str, _columns(rng))
    },
    "counters": lambda rng: {rng.choice(("c", *_TEXTS)): rng.choice((*_NUMBERS, None))},
    "idempotency_key": lambda rng: rng.choice((*(f"{n}" for n in range(50)), *_TEXTS)),
    "schema": lambda rng: {
        "fields": [
            {"name": rng.choice(_COLUMNS), "type": rng.choice(("text", "integer", "json", "x"))}
            for _ in range(rng.randrange(4))
        ]
    },
}

"""The attacks: legal and illegal requests of one plugin that want to cost the others something."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, repeat
from typing import Any, Final

ATTACKER: Final = "evil"

Json = dict[str, Any]
Sent = tuple[str, bytes]
"""A subject and a payload."""

FIELDS: Final = [
    {"name": "text", "type": "text"},
    {"name": "n", "type": "integer"},
    {"name": "tags", "type": "json"},
]
SEARCHED: Final = [{**FIELDS[0], "search": True}, *FIELDS[1:]]
BIG: Final = 900_000
"""Characters of a text that just fits into a message."""


@dataclass(frozen=True)
class Attack:
    """One way to be a nuisance.

    Attributes:
        name: what it does.
        requests: makes what is sent, one after another, for ever.
        at_once: how many requests are under way at a time.
        engine: the only engine on which it is meant; empty for both.
    """

    name: str
    requests: Callable[[], Iterator[Sent]]
    at_once: int = 32
    engine: str = ""


WARM_UP: Final = (f"rosey.db.kv.{ATTACKER}.list", b"{}")
"""Is answered when the service's processes are there."""


def setting_up() -> Iterator[Sent]:
    """Yield what the attacker stores beforehand."""
    for table in ("big", "many", "arrays", "notes"):
        yield _sent("row.{}.schema.register", {"table": table, "schema": {"fields": FIELDS}})
    for number in range(24):
        yield _sent("row.{}.insert", {"table": "big", "data": {"text": "a" * BIG, "n": number}})
    for number in range(4):
        array = list(range(130_000))
        yield _sent("row.{}.insert", {"table": "arrays", "data": {"tags": array, "n": number}})
    for start in range(0, 40_000, 1_000):
        rows = [{"text": f"note {start + n} " + "x" * 100, "n": start + n} for n in range(1_000)]
        yield _sent("row.{}.insert_batch", {"table": "many", "rows": rows})
    for number in range(2_000):
        yield _sent("kv.{}.set", {"key": f"{number:04}" + "k" * 500, "value": "v"})


def _sent(subject: str, body: object, plugin: str = ATTACKER) -> Sent:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"rosey.db.{subject.format(plugin)}", payload


def _same(subject: str, body: object) -> Callable[[], Iterator[Sent]]:
    sent = _sent(subject, body)

    def requests() -> Iterator[Sent]:
        while True:
            yield sent

    return requests


def _each(subject: str, body: Callable[[int], object]) -> Callable[[], Iterator[Sent]]:
    def requests() -> Iterator[Sent]:
        for number in count():
            yield _sent(subject, body(number))

    return requests


def _select(table: str, filters: Json, **more: Any) -> Callable[[], Iterator[Sent]]:
    return _same("row.{}.select", {"table": table, "filters": filters, **more})


def _query(sql: str, *params: Any) -> Callable[[], Iterator[Sent]]:
    return _same("sql.{}.execute", {"query": sql, "params": params})


def _nested(depth: int) -> Json:
    filters: Json = {"text": {"$like": "%b%"}}
    for _ in range(depth):
        filters = {"$not": {"$or": [filters, {"n": -1}]}}
    return filters


def _patterns(number: int, operator: str = "$like") -> Json:
    return {"$or": [{"text": {operator: f"%{n}%b%c%"}} for n in range(number)]}


def _words(sent: int) -> Json:
    rng = random.Random(sent)
    return {"table": "notes", "data": {"text": rng.randbytes(40_000).hex(), "n": sent}}


def _one_row_and_all() -> Iterator[Sent]:
    everything = _sent("row.{}.update", {"table": "many", "all": True, "data": {"n": 1}})
    one = _sent("row.{}.update", {"table": "many", "id": 7, "data": {"n": 1}})
    while True:
        yield everything
        yield from [one] * 200


def _registered_and_dropped() -> Iterator[Sent]:
    for number in count():
        table = f"t{number % 100}"
        yield _sent("row.{}.schema.register", {"table": table, "schema": {"fields": FIELDS}})
        yield _sent("row.{}.schema.drop", {"table": table})


_LONG = "a" * 4_000
_MANY_WILDCARDS = "%a" * 2_000 + "b"
_INTEGERS = "[" + ",".join(["1"] * 400_000) + "]"
_DEEP = '{"a":' * 60 + "1" + "}" * 60
_RECURSION = (
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) AS c FROM c"
)

ATTACKS: Final[Sequence[Attack]] = (
    # -- one function call -------------------------------------------------------------------
    Attack("$like with 2,000 %", _select("big", {"text": {"$like": _MANY_WILDCARDS}})),
    Attack("$like with a long text", _select("big", {"text": {"$like": f"%{_LONG}b%"}})),
    Attack("$ilike beyond ASCII", _select("big", {"text": {"$ilike": f"%é%{_LONG[:90]}b"}})),
    Attack("$like on many rows", _select("many", {"text": {"$like": "%n%o%t%e%q%"}})),
    Attack("$contains on long arrays", _select("arrays", {"tags": {"$contains": -1}})),
    Attack("$eq on long arrays", _select("arrays", {"tags": [1, 2, 3]})),
    Attack("200 patterns", _select("big", _patterns(190))),
    Attack("200 patterns without case", _select("many", _patterns(190, "$ilike"))),
    Attack("8 levels of $not and $or", _select("many", _nested(3))),
    Attack("an id beside a pattern", _select("big", {"id": 1, "text": {"$like": _MANY_WILDCARDS}})),
    Attack(
        "1,000 ids beside patterns",
        _select("many", {"id": {"$in": list(range(1_000))}, **_patterns(150)}),
    ),
    Attack(
        "SQL: instr",
        _query(
            "SELECT count(*) AS c FROM big a, big b WHERE instr(a.text, "
            "substr(b.text, 1, 450000) || 'b') > 0"
        ),
        engine="sqlite",
    ),
    Attack(
        "SQL: strpos",
        _query(
            "SELECT count(*) AS c FROM big a, big b WHERE strpos(a.text, "
            "substr(b.text, 1, 450000) || 'b') > 0"
        ),
        engine="postgresql",
    ),
    Attack("SQL: replace", _query("SELECT length(replace(text, 'a', $1)) AS c FROM big", "b" * 99)),
    Attack("SQL: LIKE", _query("SELECT count(*) AS c FROM big WHERE text LIKE $1", f"%{_LONG}b%")),
    Attack(
        "SQL: GLOB",
        _query("SELECT count(*) AS c FROM big WHERE text GLOB $1", f"*{_LONG}b*"),
        engine="sqlite",
    ),
    Attack("SQL: nested arrays", _query("SELECT " + "array[" * 60 + "1" + "]" * 60 + " AS a")),
    Attack(
        "SQL: queries in queries",
        _query("SELECT * FROM " + "(SELECT * FROM " * 40 + "(SELECT 1 AS n) AS a" + ") AS a" * 40),
    ),
    Attack(
        "SQL: as many words as may be",
        _query("SELECT " + ", ".join(f"n + {n} AS c{n}" for n in range(160)) + " FROM many"),
    ),
    Attack(
        "SQL: sixty roots",
        _query(
            "SELECT " + " + ".join(f"sqrt(power(9.9::numeric, {99_000 + n}))" for n in range(60))
        ),
        engine="postgresql",
    ),
    Attack(
        "SQL: each number in each array",
        _query("SELECT count(*) AS c FROM arrays a, json_each(a.tags) x, json_each(a.tags) y"),
        engine="sqlite",
    ),
    # -- many rows ---------------------------------------------------------------------------
    Attack(
        "SQL: a window of 40,000 rows",
        _query(
            "SELECT max(m) AS c FROM (SELECT max(text) OVER (ORDER BY n ROWS BETWEEN 20000 "
            "PRECEDING AND 20000 FOLLOWING) AS m FROM many) AS w"
        ),
    ),
    Attack(
        "SQL: pairs in order",
        _query("SELECT a.n FROM many a, many b ORDER BY a.text || b.text LIMIT 1"),
    ),
    Attack(
        "SQL: none of the others",
        _query(
            "SELECT count(*) AS c FROM many a WHERE NOT EXISTS "
            "(SELECT 1 FROM many b WHERE b.text || 'x' = a.text)"
        ),
    ),
    Attack(
        "SQL: a plugin a query",
        lambda: (_sent("sql.{}.execute", {"query": _RECURSION}, f"evil-{n}") for n in count()),
        at_once=250,
    ),
    Attack("SQL: cross join", _query("SELECT count(*) AS c FROM many a, many b, many c")),
    Attack("SQL: endless recursion", _query(_RECURSION)),
    Attack(
        "count beyond an index", _same("row.{}.count", {"table": "many", "filters": _nested(2)})
    ),
    Attack("a far offset", _select("many", {}, offset=39_000, limit=1_000)),
    Attack("random order", _select("many", {}, sort="$random", limit=1_000)),
    Attack("sort by long texts", _select("big", {}, sort={"field": "text"}, columns=["n"])),
    Attack(
        "search with total",
        _same(
            "row.{}.search",
            {"table": "many", "filters": {"text": {"$ilike": "%9%"}}, "limit": 1_000},
        ),
    ),
    Attack("1,000 texts in $in", _select("many", {"text": {"$in": ["x" * 900] * 1_000}})),
    # -- much memory -------------------------------------------------------------------------
    Attack("all long rows", _select("big", {}, limit=1_000)),
    Attack("ids of all long rows", _select("big", {"id": {"$in": list(range(1, 25))}})),
    Attack("long rows in random order", _select("big", {}, sort="$random", limit=1_000)),
    Attack(
        "group by long texts",
        _same(
            "row.{}.aggregate",
            {"table": "big", "group_by": ["text"], "compute": {"c": {"$count": "*"}}},
        ),
    ),
    Attack(
        "450 computed values",
        _same(
            "row.{}.aggregate",
            {"table": "many", "compute": {f"v{n}": {"$max": "text"} for n in range(450)}},
        ),
    ),
    Attack(
        "SQL: texts joined",
        _query("SELECT string_agg(text, ',') AS t FROM big"),
        engine="postgresql",
    ),
    Attack(
        "SQL: group_concat",
        _query("SELECT group_concat(text) AS t FROM big, big b"),
        engine="sqlite",
    ),
    Attack(
        "SQL: printf", _query("SELECT printf('%900000000d', n) AS t FROM many"), engine="sqlite"
    ),
    Attack(
        "SQL: rpad",
        _query("SELECT rpad('a', 200000000, 'b') AS t FROM many LIMIT 5"),
        engine="postgresql",
    ),
    Attack(
        "SQL: array_agg",
        _query("SELECT array_agg(a.text) AS t FROM many a, many b"),
        engine="postgresql",
    ),
    Attack(
        "SQL: text in place of each letter",
        _query("SELECT replace(text, 'a', text) AS t FROM big"),
    ),
    Attack(
        "SQL: one text 200 times",
        _query("SELECT " + " || ".join(["text"] * 200) + " AS t FROM big"),
    ),
    Attack(
        "SQL: a text that doubles",
        _query(
            "WITH RECURSIVE r(t) AS (SELECT 'abcdefgh' UNION ALL SELECT t || t FROM r) "
            "SELECT max(length(t)) AS n FROM r"
        ),
    ),
    Attack("SQL: hex of hex", _query("SELECT hex(hex(hex(text))) AS t FROM big"), engine="sqlite"),
    Attack(
        "SQL: 90 long columns",
        _query("SELECT " + ", ".join(f"text || 'a' AS c{n}" for n in range(90)) + " FROM big"),
    ),
    # -- writes ------------------------------------------------------------------------------
    Attack(
        "update of every row",
        _same("row.{}.update", {"table": "many", "all": True, "operations": {"n": {"$inc": 1}}}),
        at_once=8,
    ),
    Attack(
        "update beside a pattern",
        _same(
            "row.{}.update",
            {"table": "big", "filters": {"text": {"$like": f"%{_LONG}b%"}}, "data": {"n": 1}},
        ),
        at_once=8,
    ),
    Attack(
        "update of all long rows",
        _same(
            "row.{}.update", {"table": "big", "all": True, "data": {"n": 1}, "returning": ["text"]}
        ),
        at_once=8,
    ),
    Attack(
        "$push on long arrays",
        _same(
            "row.{}.update",
            {"table": "arrays", "all": True, "operations": {"tags": {"$addToSet": -1}}},
        ),
        at_once=8,
    ),
    Attack(
        "$pull from one long array",
        _same("row.{}.update", {"table": "arrays", "id": 1, "operations": {"tags": {"$pull": -1}}}),
    ),
    Attack(
        "delete of nothing",
        _same("row.{}.delete", {"table": "many", "filters": _nested(2)}),
        at_once=8,
    ),
    Attack("one counter", _same("kv.{}.incr", {"key": "n"}), at_once=250),
    Attack(
        "one row",
        _same("row.{}.update", {"table": "many", "id": 7, "operations": {"n": {"$inc": 1}}}),
        at_once=250,
    ),
    Attack(
        "upserts of one key",
        _same("row.{}.upsert", {"table": "many", "data": {"id": 7, "n": 1}, "on": ["id"]}),
        at_once=250,
    ),
    Attack("one row beside all rows", _one_row_and_all, at_once=250),
    Attack("inserts of 80 KB", _each("row.{}.insert", _words)),
    Attack(
        "batches of 1,000 rows",
        _same(
            "row.{}.insert_batch",
            {"table": "notes", "rows": [{"text": "x" * 500, "n": n} for n in range(1_000)]},
        ),
        at_once=8,
    ),
    Attack(
        "400,000 integers",
        _same("row.{}.insert", f'{{"table":"notes","data":{{"tags":{_INTEGERS}}}}}'.encode()),
    ),
    Attack("deep JSON", _same("kv.{}.set", f'{{"key":"k","value":{_DEEP}}}'.encode()), at_once=64),
    Attack(
        "keys of 64 KB",
        _each("kv.{}.set", lambda n: {"key": f"{n % 50}", "value": "v" * 65_000}),
        at_once=64,
    ),
    Attack(
        "compare and set of 64 KB",
        _each(
            "kv.{}.set", lambda n: {"key": "cas", "value": "v" * 60_000, "if_value": "w" * 60_000}
        ),
        at_once=64,
    ),
    Attack(
        "idempotency keys",
        _each(
            "kv.{}.set", lambda n: {"key": f"{n % 50}", "value": n, "idempotency_key": f"{n:0200}"}
        ),
        at_once=64,
    ),
    # -- other families ----------------------------------------------------------------------
    Attack("lists of keys", _same("kv.{}.list", {})),
    Attack(
        "register again",
        _same("row.{}.schema.register", {"table": "many", "schema": {"fields": FIELDS}}),
    ),
    Attack("register and drop", _registered_and_dropped, at_once=64),
    Attack(
        "search index over long texts",
        _same("row.{}.schema.register", {"table": "big", "schema": {"fields": SEARCHED}}),
        at_once=8,
    ),
    Attack("unknown tables", _each("row.{}.select", lambda n: {"table": f"t{n}"}), at_once=250),
    Attack(
        "a plugin a request",
        lambda: (_sent("kv.{}.get", {"key": "k"}, f"evil-{n}") for n in count()),
        at_once=250,
    ),
    Attack(
        "tables of 200 columns",
        _each(
            "row.{}.schema.register",
            lambda n: {
                "table": f"wide{n % 300}",
                "schema": {"fields": [{"name": f"c{k}", "type": "text"} for k in range(200)]},
            },
        ),
        at_once=64,
    ),
    Attack(
        "a new plugin a request",
        lambda: (_sent("kv.{}.set", {"key": "k", "value": n}, f"new-{n}") for n in count()),
        at_once=250,
    ),
    Attack("describe a table", _same("row.{}.schema.describe", {"table": "many"})),
    Attack("describe the namespace", _same("namespace.{}.describe", {})),
    Attack("export", _same("namespace.{}.export", {})),
    Attack("migration status", _same("migrate.{}.status", {})),
    Attack("verification", lambda: repeat(_sent("migrate.{}.verify", {}, "quote-db")), at_once=250),
    Attack("info", _same("info", {}), at_once=64),
    Attack("gets", _select("many", {"id": 5}), at_once=200),
    # -- what is no request ------------------------------------------------------------------
    Attack("900 KB of brackets", _same("row.{}.insert", b"[" * 900_000)),
    Attack("900 KB of open quotes", _same("row.{}.insert", b'{"a":"' + b'\\"' * 440_000)),
    Attack(
        "80,000 unknown fields",
        _same("row.{}.select", b"{" + b",".join(b'"f%d":1' % n for n in range(80_000)) + b"}"),
    ),
    Attack(
        "a query of 10,000 characters",
        _query("SELECT " + "(" * 300 + "1" + ")" * 300 + " + 1" * 2_000 + " AS n"),
    ),
    Attack("900 KB of nothing known", _each("nothing.{}.at-all", lambda n: {"x": "y" * BIG})),
)


def chosen(names: str, engine: str) -> list[Attack]:
    """Return the attacks whose name contains one of some words, separated by commas."""
    words = [word.strip() for word in names.split(",") if word.strip()]
    return [
        attack
        for attack in ATTACKS
        if attack.engine in ("", engine)
        and (not words or any(word in attack.name for word in words))
    ]

"""A reproducible stream of requests: every operation, filter, update and way to be wrong.

The generator knows the tables that it made, and nothing of the engines: a request is a subject and
a payload. What it cannot know, it learns from the replies (`OperationStream.learn`).
"""

from __future__ import annotations

import base64
import json
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.dbservice.storage.typed_stream import TypedRows

Json = dict[str, Any]
Draw = Callable[[random.Random], Any]

PLUGIN = "stream"
BROKEN, GAPPED, SEALED, EDITED, PORTER = "broken", "gapped", "sealed", "edited", "porter-a"


@dataclass(frozen=True)
class Call:
    """One request of the stream.

    Attributes:
        what: the operation, or the way in which the request is wrong.
        labels: the operators that it uses; they count if it succeeds.
        compare: how replies are compared: `exactly`, or what a contract leaves open.
        before: something to do first, on the disk or to the clock.
        table: whose generated ids a failure may leave a gap in.
        heard: takes the reply of the first engine.
    """

    subject: str
    payload: bytes
    what: str
    labels: tuple[str, ...] = ()
    compare: str = "exactly"
    before: Callable[[], None] | None = None
    table: str = ""
    heard: Callable[[Json], None] | None = None


# --- values --------------------------------------------------------------------------------------

LETTERS = [*"aAbBéÉ%_\\*?[]^-'\" ßẞİıΣσςǅﬁ漢😀\n\t", "\uffee", "\u200b", "e\u0301"]
# ruff: noqa: RUF001 - letters that look alike are what comparisons are tried with
POOL = ["", "a", "A", "ab", "AB", "aB", "b", "é", "É", "ß", "Σ", "σ", "ς", "a%b", "a_b", "\\", "漢"]
BOUNDARIES = [2**31 - 1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, -(2**63), -(2**63) + 1]
WILD = [0.0, -0.0, 0.1, 1e16, -1e300, 1.7976931348623157e308, -1.7976931348623157e308]
WILD += [5e-324, 2.2250738585072014e-308, 3.14, 1e-7, 123456789.125]
MOMENTS = [
    "2026-01-01",
    "2026-01-01T00:00:00Z",
    "2026-01-01T02:00:00+02:00",
    "2026-01-01 00:00:00",
    "1999-12-31T23:59:59.9",
    "2026-02-28T12:30:00.123456-05:30",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
    "1969-12-31T23:59:59.999999Z",
    "2024-02-29T00:00:00",
]
KEYS = ["a", "ab", "a%", "a_", "b", "é", "漢", "😀", "\uffee", "n1", "n2", "n3"]


def text(rng: random.Random) -> str:
    if rng.random() < 0.6:
        return rng.choice(POOL)
    if rng.random() < 0.02:
        return rng.choice(LETTERS) * rng.randint(100, 3000)
    return "".join(rng.choices(LETTERS, k=rng.randint(0, 5)))


def integer(rng: random.Random) -> int:
    if rng.random() < 0.2:
        return rng.choice(BOUNDARIES)
    return rng.randint(-5, 9)


def tame(rng: random.Random) -> float | int:
    """Return a number whose sums are exact in any order: SPEC leaves the last bit open."""
    return rng.choice([rng.randint(-80, 80) / 8, rng.randint(-5, 5)])


def wild(rng: random.Random) -> float:
    return rng.choice(WILD) if rng.random() < 0.6 else rng.uniform(-1000, 1000)


def document(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(9 if depth < 3 else 6)
    if kind < 6:
        scalars = [None, rng.random() < 0.5, integer(rng), wild(rng), text(rng), rng.choice([0, 1])]
        return scalars[kind]
    if kind < 8:
        return [document(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    return {rng.choice(["a", "b", "é", "", "%"]): document(rng, depth + 1) for _ in range(2)}


def array(rng: random.Random) -> list[Any]:
    return [
        rng.choice([1, 1.0, "a", True, None, [1], integer(rng)]) for _ in range(rng.randint(0, 4))
    ]


def moment(rng: random.Random) -> str:
    if rng.random() < 0.7:
        return rng.choice(MOMENTS)
    day = f"{rng.randint(1900, 2100):04}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    time = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}"
    return f"{day}T{time}{rng.choice(['', 'Z', '+01:00', '-11:30', '.5', '.000001Z'])}"


VALUES: dict[str, Draw] = {
    "text": text,
    "integer": integer,
    "float": tame,
    "wild": wild,
    "boolean": lambda rng: rng.random() < 0.5,
    "datetime": moment,
    "json": document,
    "array": array,
}
TYPE_OF = {"wild": "float", "array": "json"}
WRONG: dict[str, list[Any]] = {
    "text": [1, True, ["a"], {"a": 1}, "nul\0"],
    "integer": ["1", 1.5, True, [1], 2**63, -(2**63) - 1],
    "float": ["1.5", True, [1.5], 2**53 + 1, 10**400],
    "boolean": [1, 0, "true", []],
    "datetime": ["yesterday", 1, "2026-13-01", "0001-01-01T00:00:00+05:00", True, ""],
    "json": [{"a": 2**63}, ["nul\0"], -(10**30)],
}


@dataclass(frozen=True)
class Column:
    """A column that is written; `draw` gives its values."""

    name: str
    kind: str
    draw: Draw
    required: bool = False

    @property
    def type(self) -> str:
        return TYPE_OF.get(self.kind, self.kind)


@dataclass
class Table:
    """A table of the stream.

    Attributes:
        key: the columns of the primary key.
        generated: whether the engine gives ids.
        uniques: sets of columns to upsert on.
        gapped: whether a write failed since ids were last given; the engines' next ids differ.
    """

    name: str
    columns: list[Column]
    key: tuple[str, ...] = ("id",)
    generated: bool = True
    uniques: list[list[str]] = field(default_factory=list)
    plugin: str = PLUGIN
    gapped: bool = False
    highest: int = 100

    def column(self, rng: random.Random, *types: str) -> Column | None:
        found = [column for column in self.columns if not types or column.type in types]
        return rng.choice(found) if found else None


def _of(name: str, kind: str, draw: Draw | None = None, *, required: bool = False) -> Column:
    return Column(name, kind, draw or VALUES[kind], required)


def _from(*values: Any) -> Draw:
    return lambda rng: rng.choice(values)


def _small(rng: random.Random) -> int:
    return rng.randint(-2, 40) if rng.random() < 0.95 else rng.choice([151, -1])


ID = _of("id", "integer", lambda rng: rng.randint(1, 40))
NAMES = _from(*(f"n{number}" for number in range(20)), "é", "É", "漢")
STAMPS = [_of("created_at", "datetime"), _of("updated_at", "datetime")]


def tables() -> dict[str, Table]:
    """Return the tables of the stream."""
    made = [
        Table(
            "things",
            [
                ID,
                _of("title", "text", NAMES, required=True),
                _of("body", "text"),
                _of("score", "integer"),
                _of("ratio", "float"),
                _of("wild", "wild"),
                _of("active", "boolean"),
                _of("seen", "datetime"),
                _of("tags", "array"),
                _of("extra", "json"),
                *STAMPS,
            ],
            uniques=[["title"], ["id"]],
        ),
        Table(
            "people",
            [
                ID,
                _of("name", "text", NAMES, required=True),
                _of("age", "integer", _small),
                _of(
                    "note", "text", _from("x", "short", "é" * 12, "é" * 13, "much too long a note")
                ),
                _of("rating", "float", tame),
                _of("joined", "datetime"),
                _of("active", "boolean", required=True),
                _of("extra", "json"),
            ],
            uniques=[["name"], ["id"]],
        ),
        Table(
            "pairs",
            [
                _of("kind", "text", _from("a", "A", "é", "b")),
                _of("number", "integer", _from(1, 2, 3, 4, 5)),
                _of("value", "integer"),
                _of("tags", "array"),
            ],
            key=("kind", "number"),
            generated=False,
            uniques=[["kind", "number"], ["number", "kind"]],
        ),
        Table(
            "visits",
            [
                ID,
                _of("person", "integer", lambda rng: rng.randint(1, 45)),
                _of("score", "integer", _small),
                _of("at", "datetime"),
            ],
            uniques=[["id"]],
        ),
        Table(
            "codes",
            [
                _of("code", "text", _from("x", "X", "y", "é", "É", "z%", "w_", "v")),
                _of("batch", "integer", _from(1, 2, 3)),
                _of("place", "integer", _from(1, 2, 3)),
                _of("weight", "float", tame),
            ],
            key=("code",),
            generated=False,
            uniques=[["code"], ["batch", "place"]],
        ),
    ]
    return {table.name: table for table in made}


REGISTERED: Json = {
    "fields": [
        {"name": "title", "type": "string", "required": True, "unique": True, "max_length": 30},
        {"name": "body", "type": "text", "default": "it's"},
        {"name": "score", "type": "integer", "default": 0},
        {"name": "ratio", "type": "float", "default": 1.5},
        {"name": "wild", "type": "float"},
        {"name": "active", "type": "boolean", "default": True},
        {"name": "seen", "type": "datetime", "default": "2026-01-01T00:00:00+01:00"},
        {"name": "tags", "type": "json", "default": []},
        {"name": "extra", "type": "json"},
    ]
}

_TABLES_SQL = """
CREATE TABLE people (
    {id},
    name TEXT NOT NULL UNIQUE,
    age BIGINT CHECK (age >= 0 AND age <= 150),
    note VARCHAR(12) DEFAULT 'none',
    rating DOUBLE PRECISION,
    joined {datetime},
    active BOOLEAN NOT NULL DEFAULT TRUE,
    extra {json},
    CONSTRAINT sane CHECK (rating IS NULL OR rating > -1000)
);
CREATE TABLE pairs (
    kind TEXT NOT NULL, number BIGINT NOT NULL, value BIGINT DEFAULT -1, tags {json},
    PRIMARY KEY (kind, number)
);
CREATE TABLE visits (
    {id},
    person BIGINT REFERENCES people (id) ON DELETE CASCADE,
    score BIGINT DEFAULT 0,
    at {datetime}
);
CREATE TABLE codes (
    code TEXT PRIMARY KEY NOT NULL,
    batch BIGINT NOT NULL DEFAULT 1,
    place BIGINT NOT NULL,
    weight NUMERIC
);
CREATE UNIQUE INDEX codes_places ON codes (batch, place);
CREATE TABLE links (
    {id},
    code TEXT NOT NULL REFERENCES codes (code)
);
"""
_SQLITE = {
    "id": "id INTEGER PRIMARY KEY AUTOINCREMENT",
    "datetime": "DATETIME",
    "json": "JSON TEXT",
}
_POSTGRESQL = {
    "id": "id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
    "datetime": "TIMESTAMPTZ",
    "json": "JSONB",
}
_DROPS = "".join(f"DROP TABLE {t};\n" for t in ("links", "codes", "visits", "pairs", "people"))
_SMALL = (
    "-- UP (sqlite)\nCREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT);\n"
    "-- UP (postgresql)\n"
    "CREATE TABLE t (id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v TEXT);\n"
)


def write_migrations(root: Path) -> None:
    """Write the migration files of all plugins of the stream."""
    up = (
        f"-- UP (sqlite)\n{_TABLES_SQL.format(**_SQLITE)}"
        f"-- UP (postgresql)\n{_TABLES_SQL.format(**_POSTGRESQL)}"
    )
    files = {
        f"{PLUGIN}/001_tables.sql": f"{up}-- DOWN\n{_DROPS}",
        f"{BROKEN}/001_first.sql": f"{_SMALL}-- DOWN\nDROP TABLE t;\n",
        f"{BROKEN}/002_fails.sql": "-- UP\nINSERT INTO t (id) VALUES (1);\n"
        "INSERT INTO t (id) VALUES (1);\n-- DOWN\nDELETE FROM t WHERE id = 1;\n",
        f"{GAPPED}/001_first.sql": f"{_SMALL}-- DOWN\nDROP TABLE t;\n",
        f"{GAPPED}/003_third.sql": "-- UP\nDELETE FROM t;\n-- DOWN\nDELETE FROM t;\n",
        f"{SEALED}/001_first.sql": f"{_SMALL}-- IRREVERSIBLE: what was there is gone\n",
        f"{EDITED}/001_first.sql": f"{_SMALL}-- DOWN\nDROP TABLE t;\n",
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, "utf-8")


# --- the stream ----------------------------------------------------------------------------------


class OperationStream:
    """Makes one request after the other.

    Args:
        seed: the same seed gives the same stream, as long as the replies are the same.
        root: the folder with the migrations, of which one is edited now and then.
        advance: moves the clock of all engines by some seconds.
    """

    def __init__(self, seed: int, root: Path, advance: Callable[[float], None]) -> None:
        self.rng = random.Random(seed)
        self.tables = tables()
        self._root = root
        self._advance = advance
        self._next: deque[Call] = deque(self._set_up())
        self._answered: deque[Call] = deque(maxlen=40)
        self._labels: list[str] = []
        self._number = 0
        self._cursors: deque[tuple[str, Json, tuple[str, ...]]] = deque(maxlen=8)
        self._exported = ""
        self._typed = TypedRows(self.rng, root, self.send)
        rows = [
            (self.insert, 12),
            (self.insert_batch, 4),
            (self.select, 14),
            (self.search, 9),
            (self.follow, 4),
            (self.update, 22),
            (self.upsert, 7),
            (self.delete, 5),
            (self.count, 7),
            (self.aggregate, 9),
            (self.random_rows, 2),
        ]
        others = [
            (self.kv, 14),
            (self.repeat, 5),
            (self.wrong, 24),
            (self.schema, 4),
            (self.query, 2.5),
            (self.migrations, 23),
            (self.service, 3.5),
            (self.transfer, 1.4),
            (self.exhausted, 0.8),
            (self.rare, 0.12),
            (self._typed.draw, 28),
        ]
        self._makers = [maker for maker, _ in rows + others]
        self._weights = [weight for _, weight in rows + others]

    def __iter__(self) -> Iterator[Call]:
        while True:
            if not self._next:
                maker = self.rng.choices(self._makers, self._weights)[0]
                self._labels = []
                maker()
            yield self._next.popleft()

    def learn(self, call: Call, reply: Json) -> None:
        """Take note of a reply that all engines agree on."""
        table = self.tables.get(call.table)
        if table is not None and not reply["success"]:
            table.gapped = True
        if call.heard is not None and reply["success"]:
            call.heard(reply)

    # --- requests --------------------------------------------------------------------------------

    def send(self, family: str, operation: str, body: Any, **more: Any) -> None:
        """Put a request on the stream."""
        plugin = more.pop("plugin", PLUGIN)
        subject = more.pop("subject", f"rosey.db.{family}.{plugin}.{operation}")
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        more.setdefault("what", f"{family}.{operation}")
        more.setdefault("labels", tuple(self._labels))
        call = Call(subject, payload, **more)
        self._next.append(call)

    def row(self, operation: str, body: Json, **more: Any) -> None:
        """Put a row request on the stream, sometimes with an idempotency key."""
        writes = operation in ("insert", "insert_batch", "update", "upsert", "delete")
        if writes:
            more.setdefault("table", body["table"])
            if self.rng.random() < 0.12:
                self.number_key(body)
        self.send("row", operation, body, **more)
        if "idempotency_key" in body:
            self._answered.append(self._next[-1])

    def number_key(self, body: Json) -> None:
        self._number += 1
        body["idempotency_key"] = f"key {self._number}"

    def _set_up(self) -> list[Call]:
        def call(family: str, operation: str, body: Json) -> Call:
            payload = json.dumps(body).encode()
            subject = f"rosey.db.{family}.{PLUGIN}.{operation}"
            return Call(subject, payload, f"{family}.{operation}")

        things = {"table": "things", "schema": REGISTERED}
        return [
            call("migrate", "apply", {}),
            call("row", "schema.register", things),
            *(call("row", "schema.describe", {"table": name}) for name in self.tables),
        ]

    # --- rows ------------------------------------------------------------------------------------

    def some_table(self) -> Table:
        names = ["things"] * 5 + ["people"] * 3 + ["pairs", "visits", "codes"]
        return self.tables[self.rng.choice(names)]

    def value(self, column: Column, *, wrong: float = 0.004) -> Any:
        if self.rng.random() < wrong:
            return self.rng.choice(WRONG[column.type])
        return column.draw(self.rng)

    def new_row(self, table: Table) -> Json:
        row: Json = {}
        for column in table.columns:
            if column.name == "id" or column in STAMPS:
                continue
            if column.required or column.name in table.key or self.rng.random() < 0.8:
                null = self.rng.random() < (0.01 if column.required else 0.1)
                row[column.name] = None if null else self.value(column)
        if table.generated:
            self.give_id(table, row)
        return row

    def give_id(self, table: Table, row: Json) -> None:
        """Give a row an id, except where every engine would generate the same one."""
        if self.rng.random() < 0.5 or table.gapped:
            row["id"] = self.rng.randint(1, 40)
        elif self.rng.random() < 0.1:
            row["id"] = None

    def align(self, table: Table) -> None:
        """Insert a row with a new highest id: the next generated one comes after it everywhere."""
        table.highest += 1000
        row: Json = {"id": table.highest}
        if table.name == "people":
            row |= {"name": f"aligned {table.highest}"}
        if table.name == "things":
            row |= {"title": f"aligned {table.highest}"}

        def aligned(_: Json) -> None:
            table.gapped = False

        self.row("insert", {"table": table.name, "data": row}, heard=aligned)

    def insert(self) -> None:
        table = self.some_table()
        if table.gapped and table.generated and self.rng.random() < 0.5:
            self.align(table)
            return
        body: Json = {"table": table.name, "data": self.new_row(table)}
        if self.rng.random() < 0.15:
            body["data"] = [self.new_row(table) for _ in range(self.rng.randint(1, 3))]
        self.row("insert", self.with_counters(body))

    def insert_batch(self) -> None:
        table = self.some_table()
        rows = [self.new_row(table) for _ in range(self.rng.randint(1, 5))]
        self.row("insert_batch", self.with_counters({"table": table.name, "rows": rows}))

    def with_counters(self, body: Json) -> Json:
        if self.rng.random() < 0.15:
            self._labels.append("counters")
            body["counters"] = {self.rng.choice(["n1", "n2"]): self.rng.choice([1, -1, 2])}
        return body

    def select(self, operation: str = "select") -> None:
        table = self.some_table()
        body: Json = {"table": table.name}
        chance = self.rng.random()
        if table.generated and chance < 0.15:
            body["id"] = self.rng.randint(1, 45)
        elif chance < 0.85:
            body["filters"] = self.filters(table)
        if self.rng.random() < 0.4:
            names = [column.name for column in table.columns]
            body["columns"] = self.rng.sample(names, self.rng.randint(1, len(names)))
        if self.rng.random() < 0.6:
            body["sort"] = self.sort([c.name for c in table.columns if c.type != "json"])
        if self.rng.random() < 0.6:
            body["limit"] = self.rng.choice([1, 2, 3, 5, 100, 1000, 5000])
        if self.rng.random() < 0.2:
            body["offset"] = self.rng.choice([0, 1, 2, 50, 2**53])
        self.row(operation, body, heard=self.paging(operation, body))

    def search(self) -> None:
        self.select("search")

    def sort(self, names: list[str]) -> Any:
        keys: list[Json] = []
        for name in self.rng.sample(names, min(len(names), self.rng.randint(1, 3))):
            key: Json = {"field": name}
            if self.rng.random() < 0.7:
                key["order"] = self.rng.choice(["asc", "desc"])
            keys.append(key)
            self._labels.append(f"sort {key.get('order', 'asc')}")
        return keys[0] if len(keys) == 1 and self.rng.random() < 0.5 else keys

    def paging(self, operation: str, body: Json) -> Callable[[Json], None]:
        labels = (*self._labels, "after")

        def heard(reply: Json) -> None:
            if "next" in reply:
                following = {name: value for name, value in body.items() if name != "offset"}
                self._cursors.append((operation, {**following, "after": reply["next"]}, labels))

        return heard

    def follow(self) -> None:
        """Ask for the page behind one that was read earlier."""
        if not self._cursors:
            return self.select()
        operation, body, self._labels = *self._cursors.pop()[:2], []
        self._labels = ["after"]
        return self.row(operation, body, heard=self.paging(operation, body))

    def random_rows(self) -> None:
        table = self.some_table()
        self._labels = ["sort $random"]
        body: Json = {"table": table.name, "sort": "$random", "limit": self.rng.choice([1, 3, 999])}
        if self.rng.random() < 0.5:
            body["filters"] = self.filters(table)
        self.row(self.rng.choice(["select", "search"]), body, compare="as a sample")

    def update(self) -> None:
        table = self.some_table()
        body: Json = {"table": table.name}
        self.aim(table, body)
        operations, data = self.changes(table)
        if operations:
            body["operations"] = operations
        if data:
            body["data"] = data
        if self.rng.random() < 0.3:
            body["returning"] = [column.name for column in table.columns]
            self._labels.append("returning")
        self.row("update", body, compare="in any order")

    def aim(self, table: Table, body: Json) -> None:
        chance = self.rng.random()
        if table.generated and chance < 0.6:
            body["id"] = self.rng.randint(1, 45)
        elif chance < 0.62:
            body["all"] = True
        elif chance < 0.8 and table.generated:
            body["filters"] = {"id": {"$in": self.rng.sample(range(1, 45), 3)}}
        else:
            body["filters"] = self.filters(table)

    def changes(self, table: Table) -> tuple[Json, Json]:
        """Return operations and data; at most one of them can fail for its value.

        A request over several rows that can fail in several ways names one of them, and SPEC does
        not say which.
        """
        operations: Json = {}
        data: Json = {}
        writable = [
            column
            for column in table.columns
            if column.name not in (*table.key, "created_at", "name", "title", "person")
        ]
        if self.rng.random() < 0.05:
            writable += [column for column in table.columns if column.name in ("name", "title")]
            writable = writable[-1:]
        is_constrained = table.name in ("people", "visits", "codes")
        count = 1 if is_constrained or self.rng.random() < 0.6 else 2
        if count > 1:
            writable = [column for column in writable if column.name != "updated_at"]
        for column in self.rng.sample(writable, min(count, len(writable))):
            if self.rng.random() < 0.15:
                data[column.name] = None if self.rng.random() < 0.2 else self.value(column)
            else:
                operator, operand = self.change(column)
                operations[column.name] = {operator: operand}
                self._labels.append(f"update {operator}")
        return operations, data

    def change(self, column: Column) -> tuple[str, Any]:
        choices = ["$set", "$unset"]
        if column.name in ("batch", "place"):
            # Both engines check a unique key row by row, and go through the rows as they like:
            # whether `$inc` meets a value that is about to move is not told by SPEC.
            choices += ["$max", "$min"]
        elif column.type in ("integer", "float"):
            choices += ["$inc", "$dec", "$mul", "$max", "$min"]
        elif column.type == "datetime":
            choices += ["$max", "$min", "$max", "$min"]
        elif column.type == "json":
            choices += ["$push", "$pull", "$addToSet"] * 3
        operator = self.rng.choice(choices)
        if operator == "$unset":
            return operator, True
        if operator in ("$push", "$pull", "$addToSet"):
            return operator, self.rng.choice([1, 1.0, "a", True, None, [1], document(self.rng)])
        if operator == "$mul" and column.kind == "float":
            return operator, self.rng.choice([0, 1, -1, 2, 0.5])
        if operator == "$set" and self.rng.random() < 0.1:
            return operator, None
        return operator, self.value(column)

    def upsert(self) -> None:
        table = self.some_table()
        row = self.new_row(table)
        on = self.rng.choice(table.uniques)
        for name in on:
            column = next(column for column in table.columns if column.name == name)
            row[name] = self.value(column)
        if table.gapped and "id" not in row and table.generated:
            row["id"] = self.rng.randint(1, 40)
        if table.generated and row.get("id", 0) is None:
            row["id"] = self.rng.randint(1, 40)
        body: Json = {"table": table.name, "data": row, "on": on}
        if self.rng.random() < 0.5:
            body["operations"], data = self.changes(table)
            body["operations"] |= {name: {"$set": value} for name, value in data.items()}
            self._labels.append("upsert operations")
        self.row("upsert", body)

    def delete(self) -> None:
        table = self.some_table()
        body: Json = {"table": table.name}
        chance = self.rng.random()
        if table.generated and chance < 0.3:
            body["id"] = self.rng.randint(1, 45)
        elif table.generated and chance < 0.55:
            body["filters"] = {"id": {"$gt": self.rng.randint(5, 40)}}
            self._labels.append("filter $gt")
        elif chance < 0.62:
            body["all"] = True
        else:
            body["filters"] = {"$and": [self.filters(table), self.filters(table)]}
            self._labels.append("filter $and")
        self.row("delete", self.with_counters(body))

    def count(self) -> None:
        table = self.some_table()
        self.row("count", {"table": table.name, "filters": self.filters(table)})

    def aggregate(self) -> None:
        table = self.some_table()
        body: Json = {"table": table.name, "compute": {}}
        if self.rng.random() < 0.6:
            body["filters"] = self.filters(table)
        groups: list[Column] = []
        if self.rng.random() < 0.6:
            candidates = [column for column in table.columns if column.type != "json"]
            groups = self.rng.sample(candidates, self.rng.randint(1, 2))
            body["group_by"] = [column.name for column in groups]
            self._labels.append("group_by")
        results = list(groups)
        for number in range(self.rng.randint(1, 3)):
            function, column = self.computation(table)
            alias = f"c{number}"
            body["compute"][alias] = {function: column.name if column else "*"}
            self._labels.append(f"aggregate {function}")
            results.append(self.result(alias, function, column))
        if self.rng.random() < 0.4:
            self._labels.append("having")
            body["having"] = self.filters(Table("", results))
        if self.rng.random() < 0.4:
            body["sort"] = self.sort([column.name for column in results])
        if self.rng.random() < 0.3:
            body["limit"] = self.rng.choice([1, 2, 100])
        self.row("aggregate", body)

    def computation(self, table: Table) -> tuple[str, Column | None]:
        function = self.rng.choice(["$count", "$sum", "$avg", "$min", "$max"])
        if function == "$count":
            return function, table.column(self.rng) if self.rng.random() < 0.5 else None
        if function in ("$min", "$max"):
            kinds = ("integer", "float", "text", "datetime")
            return function, table.column(self.rng, *kinds)
        exact = [c for c in table.columns if c.type in ("integer", "float") and c.kind != "wild"]
        return function, self.rng.choice(exact)

    def result(self, alias: str, function: str, column: Column | None) -> Column:
        if column is None or function == "$count":
            return _of(alias, "integer", lambda rng: rng.randint(0, 4))
        if function == "$avg":
            return _of(alias, "float")
        return Column(alias, column.kind, column.draw)

    # --- filters ---------------------------------------------------------------------------------

    def filters(self, table: Table, depth: int = 0) -> Json:
        if depth == 0 and self.rng.random() < 0.06:
            return {}
        chance = self.rng.random()
        if depth < 4 and chance < 0.3:
            name = self.rng.choice(["$and", "$or", "$nor", "$not"])
            self._labels.append(f"filter {name}")
            if name == "$not":
                return {name: self.filters(table, depth + 1)}
            count = self.rng.randint(1, 3)
            return {name: [self.filters(table, depth + 1) for _ in range(count)]}
        if depth < 4 and chance < 0.4:
            return {**self.filters(table, depth + 1), **self.filters(table, depth + 1)}
        column = self.rng.choice(table.columns)
        if self.rng.random() < 0.15:
            return {column.name: self.plain(column)}
        return {column.name: self.operators(column)}

    def plain(self, column: Column) -> Any:
        value = None if self.rng.random() < 0.15 else self.value(column)
        if isinstance(value, dict) and any(name.startswith("$") for name in value):
            return None
        self._labels.append("filter plain")
        return value

    def operators(self, column: Column, depth: int = 0) -> Json:
        if depth < 2 and self.rng.random() < 0.1:
            self._labels.append("filter $not (column)")
            return {"$not": self.operators(column, depth + 1)}
        choices = ["$eq", "$ne", "$exists", "$null"]
        if column.type == "json":
            choices += ["$contains"] * 3
        else:
            choices += ["$in", "$nin"]
        if column.type not in ("json", "boolean"):
            choices += ["$gt", "$gte", "$lt", "$lte", "$between"]
        if column.type == "text":
            choices += ["$like", "$ilike"] * 2
        names = self.rng.sample(sorted(set(choices)), 2 if self.rng.random() < 0.2 else 1)
        if len(names) == 1:
            names = [self.rng.choice(choices)]
        self._labels += [f"filter {name}" for name in names]
        return {name: self.operand(name, column) for name in names}

    def operand(self, operator: str, column: Column) -> Any:
        match operator:
            case "$exists" | "$null":
                return self.rng.random() < 0.5
            case "$in" | "$nin":
                # PostgreSQL computes no group, not even a sum that fails, for `$in: []`.
                sizes = [1, 2, 40] if "having" in self._labels else [0, 1, 2, 3, 3, 40]
                size = self.rng.choice(sizes)
                return [
                    None if self.rng.random() < 0.1 else self.value(column, wrong=0.001)
                    for _ in range(size)
                ]
            case "$between":
                return [self.value(column), self.value(column)]
            case "$like" | "$ilike":
                return self.pattern()
            case "$contains":
                return self.rng.choice([1, 1.0, "a", True, None, [1], document(self.rng)])
            case "$eq" | "$ne" if self.rng.random() < 0.1:
                return None
        return self.value(column)

    def pattern(self) -> str:
        pieces = ["%", "_", "\\%", "\\_", "\\\\", "\\a", "n", "N", "1"]
        pieces += [letter for letter in LETTERS if letter != "\\"]
        shape = self.rng.choice(["{}", "%{}%", "{}%", "_{}"])
        return shape.format("".join(self.rng.choices(pieces, k=self.rng.randint(0, 3))))

    # --- keys ------------------------------------------------------------------------------------

    def kv(self) -> None:
        operation = self.rng.choice(["set", "set", "get", "delete", "list", "incr", "incr"])
        body: Json = {} if operation == "list" else {"key": self.rng.choice(KEYS)}
        if operation == "set":
            self.kv_value(body)
        if operation == "incr":
            body["by"] = self.rng.choice([1, 1, -1, 2, integer(self.rng)])
            if self.rng.random() < 0.7:
                body["key"] = self.rng.choice(["n1", "n2", "n3"])
        if operation in ("set", "incr") and self.rng.random() < 0.4:
            name = self.rng.choice(["ttl", "ttl_seconds"])
            body[name] = self.rng.choice([None, 1, 5, 60, 3600])
            self._labels.append("ttl")
        if operation == "list":
            body["prefix"] = self.rng.choice(["", "a", "a%", "n", "é", "\U0010ffff"])
            body["limit"] = self.rng.choice([1, 2, 5, 1000])
            if self.rng.random() < 0.4:
                body["after"] = self.rng.choice(KEYS)
        if operation != "list" and operation != "get" and self.rng.random() < 0.05:
            self.number_key(body)
        seconds = self.rng.choice([0, 0, 0, 0.5, 1, 4])
        self.kv_send(operation, body, before=lambda: self._advance(seconds))
        if "idempotency_key" in body:
            self._answered.append(self._next[-1])

    def kv_value(self, body: Json) -> None:
        body["value"] = document(self.rng) if self.rng.random() < 0.5 else integer(self.rng)
        if self.rng.random() < 0.3:
            body["if_absent"] = True
            self._labels.append("if_absent")
        elif self.rng.random() < 0.4:
            body["if_value"] = self.rng.choice([document(self.rng), integer(self.rng), 1, 1.0])
            self._labels.append("if_value")

    def kv_send(self, operation: str, body: Json, **more: Any) -> None:
        chance = self.rng.random()
        if chance < 0.15 and operation != "incr":
            body["plugin_name"] = PLUGIN
            self._labels.append("global kv")
            more["subject"] = f"rosey.db.kv.{operation}"
        elif chance < 0.2:
            body["plugin_name"] = PLUGIN
        self.send("kv", operation, body, **more)

    # --- schemas and everything else -------------------------------------------------------------

    def schema(self) -> None:
        name = self.rng.choice(["scratch", "things", "people", "absent"])
        operation = self.rng.choice(["register", "register", "describe", "drop"])
        body: Json = {"table": name}
        if operation == "register":
            body["schema"] = REGISTERED if name == "things" else {"fields": self.fields()}
        if operation == "drop":
            body["table"] = self.rng.choice(["scratch", "absent"])
        self.send("row", f"schema.{operation}", body)

    def fields(self) -> list[Json]:
        types = ["string", "text", "integer", "float", "boolean", "datetime", "json"]
        fields: list[Json] = []
        for number in range(self.rng.randint(1, 4)):
            of_type = self.rng.choice(types)
            field: Json = {"name": f"f{number}", "type": of_type}
            if self.rng.random() < 0.4:
                kind = "text" if of_type == "string" else of_type
                field["default"] = self.rng.choice([None, VALUES[kind](self.rng)])
                if of_type == "json":
                    field["default"] = self.rng.choice([[], {"a": 1}, {"b": [1, "x"], "a": None}])
            if of_type == "string" and self.rng.random() < 0.5:
                field["max_length"] = self.rng.choice([1, 30, 4000])
            if of_type in ("string", "integer") and self.rng.random() < 0.3:
                field["unique"] = True
            if self.rng.random() < 0.2:
                field["required"] = True
            fields.append(field)
        return fields

    def repeat(self) -> None:
        """Repeat a write with its idempotency key, or use its key for another one."""
        if not self._answered:
            return self.kv()
        call = self.rng.choice(self._answered)
        if self.rng.random() < 0.6:
            table = self.tables.get(call.table)
            if table is not None and table.gapped and table.generated:
                self.align(table)  # what failed before may succeed now, with generated ids
            self._next.append(replace(call, labels=(), heard=None))
            return None
        body = json.loads(call.payload)
        other = {"key": "n3", "by": 2, "idempotency_key": body["idempotency_key"]}
        return self.send("kv", "incr", other, what="idempotency conflict")

    def query(self) -> None:
        queries = [
            ("SELECT id, title, score FROM things WHERE score > $1 ORDER BY id", [3]),
            ("SELECT COUNT(*) AS n FROM people WHERE name LIKE $1", ["n%"]),
            (
                "SELECT score, person FROM visits WHERE id IN (SELECT id FROM people) ORDER BY id",
                [],
            ),
            ("SELECT title FROM other_plugins", []),
            ("DELETE FROM things", []),
            ("SELECT kind, MAX(number) AS top FROM pairs GROUP BY kind ORDER BY kind", []),
            ("SELECT absent FROM things", []),
            ("SELECT title FROM things WHERE", []),
            ("SELECT load_extension('x') FROM things", []),
        ]
        query, parameters = self.rng.choice(queries)
        body = {"query": query, "params": parameters, "limit": self.rng.choice([1, 5, 1000])}
        self.send("sql", "execute", body, compare="as sql")

    def migrations(self) -> None:
        """Send one of the migration requests; each has its own plugin to fail or succeed with."""
        edited = self._root / EDITED / "001_first.sql"

        def edit(remark: str) -> Callable[[], None]:
            base = f"{_SMALL}-- DOWN\nDROP TABLE t;\n"
            return lambda: edited.write_text(f"{base}{remark}", "utf-8")

        remark = f"-- edited {self.rng.randrange(10**6)}\n"
        choices: list[tuple[str, str, Json, Callable[[], None] | None]] = [
            (BROKEN, "apply", {}, None),
            (BROKEN, "apply", {"version": 1, "dry_run": self.rng.random() < 0.5}, None),
            (BROKEN, "rollback", {"all": True}, None),
            (GAPPED, self.rng.choice(["apply", "status"]), {}, None),
            (SEALED, "apply", {"applied_by": "stream"}, None),
            (SEALED, "rollback", {}, None),
            (EDITED, "apply", {}, None),
            (EDITED, "apply", {}, edit(remark)),
            (EDITED, "repair", {}, None),
            (EDITED, "status", {}, None),
            (EDITED, "rollback", {"to": 0}, None),
            (BROKEN, "apply", {"version": self.rng.choice(["007", "nonsense", 99])}, None),
            (BROKEN, "status", {}, None),
            (PLUGIN, "status", {}, None),
            (self.rng.choice([SEALED, SEALED, BROKEN, EDITED]), "verify", {}, None),
            (self.rng.choice([SEALED, GAPPED]), "verify", {}, None),
        ]
        plugin, operation, body, before = self.rng.choice(choices)
        self.send("migrate", operation, body, plugin=plugin, before=before)

    def service(self) -> None:
        """Ask the service about itself."""
        operation = self.rng.choice(["ping", "info"])
        body = {"verbose": True} if self.rng.random() < 0.05 else {}
        subject = f"rosey.db.{operation}"
        self.send("service", operation, body, subject=subject)

    def transfer(self) -> None:
        """Fill a small namespace, write it out, clear it, read it in again."""
        rng = self.rng
        schema = {"fields": [{"name": "v", "type": "json"}, {"name": "n", "type": "integer"}]}
        rows = [{"id": number, "v": document(rng), "n": integer(rng)} for number in range(1, 4)]
        self.send("row", "schema.register", {"table": "t", "schema": schema}, plugin=PORTER)
        self.send("row", "insert_batch", {"table": "t", "rows": rows}, plugin=PORTER)
        self.send("kv", "set", {"key": "k", "value": document(rng), "ttl": 9}, plugin=PORTER)
        self.send("namespace", "describe", {}, plugin=PORTER)
        self.send(
            "namespace", "export", {}, plugin=PORTER, compare="as lines", heard=self.import_it
        )

    def import_it(self, reply: Json) -> None:
        body = {"session": "s", "part": 0, "text": reply["text"], "finish": True}
        labels: tuple[str, ...] = ()
        if self.rng.random() < 0.9:
            self.send("namespace", "clear", {}, plugin=PORTER, labels=labels)
        self.send("namespace", "import", body, plugin=PORTER, labels=labels)
        self.send("row", "select", {"table": "t"}, plugin=PORTER, labels=labels)
        self.send("namespace", "clear", {}, plugin=PORTER, labels=labels)
        wrong = {"table": "t", "data": {}}
        spelled_otherwise = PORTER.replace("-", "_")
        self.send("kv", "set", {"key": "k", "value": 1}, plugin=PORTER, labels=labels)
        self.send("row", "insert", wrong, plugin=spelled_otherwise, what="conflict", labels=labels)

    def exhausted(self) -> None:
        """Use up all generated ids of a table, and ask for one more."""
        schema = {"fields": [{"name": "n", "type": "integer"}]}
        last = {"table": "ends", "data": {"id": 2**63 - 1, "n": 1}}
        self.send("row", "schema.register", {"table": "ends", "schema": schema}, plugin=PORTER)
        self.send("row", "insert", last, plugin=PORTER)
        self.send("row", "insert", {"table": "ends", "data": {"n": 2}}, plugin=PORTER)
        self.send("row", "insert", {"table": "ends", "data": {"n": 3}}, plugin=PORTER)
        self.send("row", "schema.drop", {"table": "ends"}, plugin=PORTER)

    def rare(self) -> None:
        """Clear everything and begin anew."""
        self.send("namespace", "clear", {})
        self._answered.clear()
        self._cursors.clear()

        def forgotten() -> None:
            for table in self.tables.values():
                table.gapped, table.highest = False, 100

        forgotten()
        self._next.extend(self._set_up())

    # --- bad requests ----------------------------------------------------------------------------

    def wrong(self) -> None:
        maker = self.rng.choice(
            [self.bad_json, self.bad_subject, self.missing, self.forbidden, self.too_large]
            + [self.bad_field] * 10
            + [self.refused_by_constraint] * 2
            + [self.claimed_otherwise]
        )
        maker()
        self._next[-1] = _renamed(self._next[-1], maker.__name__)

    def bad_json(self) -> None:
        table = b'"table": "things"'
        payloads = [
            b"{",
            b"[]",
            b"7",
            b"\xff",
            b'{"table": "things", "filters": {"score": NaN}}',
            b"{" + table + b', "filters": {"score": Infinity}}',
            b'{"table": "\\ud800"}',
            b'{"table": "things", "filters": {"extra": ' + b"[" * 70 + b"]" * 70 + b"}}",
            b'{"table": "things",}',
            b"null",
        ]
        self.send("row", self.rng.choice(["select", "count"]), self.rng.choice(payloads))

    def bad_subject(self) -> None:
        subjects = [
            "rosey.db.row.stream.explode",
            "rosey.db.rwo.stream.select",
            "rosey.db.row.Stream.select",
            "rosey.db.row.-x.select",
            "rosey.db.kv.incr",
            "rosey.db.row.stream",
            "rosey.db.row.a__b.select",
        ]
        self.send("", "", {"table": "things"}, subject=self.rng.choice(subjects))

    def missing(self) -> None:
        bodies = [
            ("row", "select", {}),
            ("row", "insert", {"table": "things"}),
            ("row", "insert", {"table": ""}),
            ("kv", "get", {}),
            ("kv", "get", {"key": ""}),
            ("kv", "set", {"key": "a"}),
            ("row", "upsert", {"table": "things", "data": {}}),
            ("row", "schema.register", {"table": "x", "schema": {"fields": [{"name": "a"}]}}),
            ("row", "aggregate", {"table": "things"}),
        ]
        family, operation, body = self.rng.choice(bodies)
        self.send(family, operation, body)

    def forbidden(self) -> None:
        body = {"plugin_name": "another", "key": "a"}
        self.send("kv", self.rng.choice(["get", "delete"]), body)

    def claimed_otherwise(self) -> None:
        self.send("kv", "set", {"key": "a", "value": 1}, plugin="conflict-a")
        self.send("kv", "set", {"key": "a", "value": 1}, plugin="conflict_a")

    def too_large(self) -> None:
        if self.rng.random() < 0.05:
            data = {"title": "large", "body": "é" * 524_289}
            self.row("insert", {"table": "things", "data": data})
        else:
            self.send("kv", "set", {"key": "a", "value": "x" * self.rng.randint(65_535, 65_540)})

    def refused_by_constraint(self) -> None:
        missing_person = {"person": 10**6}
        choices: list[tuple[str, Json]] = [
            ("insert", {"table": "visits", "data": {"id": 50, **missing_person}}),
            ("insert", {"table": "people", "data": {"id": 51, "name": None}}),
            ("insert", {"table": "people", "data": {"id": 51}}),
            ("insert", {"table": "people", "data": {"id": 51, "name": "q", "age": -1}}),
            ("insert", {"table": "people", "data": {"id": 51, "name": "q", "rating": -2000}}),
            ("insert", {"table": "codes", "data": {"code": None, "place": 1}}),
            ("insert_batch", {"table": "pairs", "rows": [{"kind": "z", "number": 9}] * 2}),
            ("update", {"table": "people", "data": {"active": None}, "all": True}),
            ("upsert", {"table": "people", "on": ["id"], "data": {"id": 52, "name": None}}),
        ]
        operation, body = self.rng.choice(choices)
        self.row(operation, body, compare="in any order")

    def bad_field(self) -> None:
        operation, body = self.rng.choice(_bad_requests())
        self.row(operation, body)


def _renamed(call: Call, what: str) -> Call:
    return replace(call, what=what.replace("_", " "))


def _bad_requests() -> list[tuple[str, Json]]:
    things = {"table": "things"}

    def where(**filters: Any) -> tuple[str, Json]:
        return ("count", {**things, "filters": filters})

    nested: Json = {"score": 1}
    for _ in range(9):
        nested = {"$not": nested}
    too_many = {"$or": [{"score": number} for number in range(201)]}
    cursors = ["", "!", "bnVsbA==", base64.b64encode(b"[1, 2, 3, 4, 5]").decode(), "é"]
    register = [
        [{"name": "id", "type": "integer"}],
        [{"name": "a", "type": "integer"}, {"name": "a", "type": "text"}],
        [{"name": "a__b", "type": "integer"}],
        [{"name": "a", "type": "number"}],
        [{"name": "a", "type": "integer", "max_length": 3}],
        [{"name": "a", "type": "integer", "default": "x"}],
        [{"name": "a" * 50, "type": "string", "unique": True}],
        [],
    ]
    return [
        *[where(scroe=1)] * 3,
        where(score="1"),
        *[where(score={"$gtt": 1})] * 4,
        where(score={"$like": "a"}),
        where(active={"$gt": True}),
        where(extra={"$in": [1]}),
        where(score={"$contains": 1}),
        where(body={"$like": "a\\"}),
        where(score={"$in": [1] * 1001}),
        where(score={"$between": [1]}),
        where(score={"$gt": None}),
        where(score={"$exists": 1}),
        where(**{"$or": []}),
        where(**{"$xor": [{}]}),
        where(**nested),
        where(**too_many),
        where(score=2**63),
        where(limit=3),
        ("select", {**things, "id": 1, "filters": {"score": 1}}),
        ("select", {**things, "id": "one"}),
        ("select", {**things, "limit": 0}),
        ("select", {**things, "offset": -1}),
        ("select", {**things, "limit": "3"}),
        *[("select", {**things, "colums": ["id"]})] * 5,
        *[("count", {**things, "filter": {}})] * 3,
        ("select", {**things, "columns": ["id", "id"]}),
        ("select", {**things, "columns": ["idd"]}),
        ("select", {**things, "sort": {"field": "extra"}}),
        ("select", {**things, "sort": {"field": "score", "order": "up"}}),
        ("select", {**things, "sort": "$random", "offset": 1}),
        *(("select", {**things, "after": cursor}) for cursor in cursors),
        *[("select", {"table": "thigns"})] * 4,
        ("select", {"table": "Things; --"}),
        ("select", {"table": "t" * 60}),
        ("select", {"table": "pairs", "id": 1}),
        ("update", {**things, "data": {"score": 1}}),
        ("update", {**things, "id": 1}),
        *[("update", {**things, "id": 1, "data": {"id": 2}})] * 5,
        *[("update", {**things, "id": 1, "data": {"created_at": "2026-01-01"}})] * 4,
        ("update", {**things, "id": 1, "data": {"score": 1}, "operations": {"score": {"$inc": 1}}}),
        ("update", {**things, "id": 1, "operations": {"score": {"$inc": 1, "$dec": 1}}}),
        ("update", {**things, "id": 1, "operations": {"score": {"$increment": 1}}}),
        ("update", {**things, "id": 1, "operations": {"$inc": {"score": 1}}}),
        ("update", {**things, "id": 1, "operations": {"body": {"$inc": 1}}}),
        ("update", {**things, "id": 1, "operations": {"body": {"$max": "a"}}}),
        ("update", {**things, "id": 1, "operations": {"body": {"$push": "a"}}}),
        ("update", {**things, "id": 1, "operations": {"score": {"$inc": 1.5}}}),
        ("delete", things),
        ("upsert", {**things, "data": {"score": 1}, "on": ["score"]}),
        ("upsert", {**things, "data": {"score": 1}, "on": ["title"]}),
        ("insert", {**things, "data": []}),
        ("insert", {**things, "data": {"title": "x", "nonsense": 1}}),
        ("insert", {**things, "data": {"title": "x" * 31}}),
        ("insert", {**things, "data": {"title": "x"}, "counters": {"": 1}}),
        ("insert", {**things, "data": {"title": "x"}, "counters": {"a": 2**63}}),
        ("insert_batch", {**things, "rows": []}),
        ("aggregate", {**things, "compute": {}}),
        ("aggregate", {**things, "compute": {"a": {"$median": "score"}}}),
        ("aggregate", {**things, "compute": {"a": {"$sum": "body"}}}),
        ("aggregate", {**things, "compute": {"a": {"$max": "extra"}}}),
        ("aggregate", {**things, "compute": {"a": {"$count": "*"}}, "group_by": ["extra"]}),
        ("aggregate", {**things, "compute": {"a": {"$count": "*"}}, "having": {"b": 1}}),
        *(("schema.register", {"table": "x", "schema": {"fields": f}}) for f in register),
        ("schema.describe", {"table": "absent"}),
    ]

"""The part of the stream about values: every column type, written by SQL and by requests alike.

One plugin has a table with a column of each type, a generated column, defaults, a search index and
a view. Rows come by migrations, in whatever spelling SQL allows, and by requests; they are looked
at through rows, view, SQL tier and export.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

Json = dict[str, Any]
Send = Callable[..., None]

PLUGIN = "typed"
_FILES_AT_MOST = 8
_IDS = 12


class Drawn(NamedTuple):
    """A value, as a request writes it and as each engine's SQL may."""

    value: Any
    sqlite: str
    postgresql: str


@dataclass(frozen=True)
class Kind:
    """A column of the table; `orders` says whether it can be sorted by."""

    name: str
    sqlite: str
    postgresql: str
    draw: Callable[[random.Random], Drawn]
    orders: bool = True
    is_text: bool = False


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _same(value: Any, literal: str) -> Drawn:
    return Drawn(value, literal, literal)


_WORDS = ["a%b", "a_b", "it's", "漢字漢"]


def _text(rng: random.Random) -> Drawn:

    value = rng.choice(["", "a", "A", "ab c", "Éa", "éA", "straße", "ΣΑΣ", "σας", *_WORDS])
    return _same(value, _quoted(value))


def _char(rng: random.Random) -> Drawn:
    value = rng.choice(["ab", "AB", "é", "a b", "x"])
    return _same(value, _quoted(value + " " * rng.randint(0, 3)))


def _integer(rng: random.Random) -> Drawn:
    value = rng.choice([0, 1, -3, 7, 2**40])
    return _same(value, rng.choice([str(value), f"'{value}'"]))


def _float(rng: random.Random) -> Drawn:
    value = rng.randint(-40, 40) / 8
    return _same(value, rng.choice([repr(value), f"'{value}'"]))


def _decimal(rng: random.Random) -> Drawn:
    value = rng.randint(-400, 400) / 4
    return _same(value, f"{value:.2f}")


def _boolean(rng: random.Random) -> Drawn:
    value = rng.random() < 0.5
    plain = str(value).upper()
    word = rng.choice(["yes", "t", "1", "on"] if value else ["no", "f", "0", "off"])
    return rng.choice([_same(value, plain), _same(value, f"'{word}'")])


def _datetime(rng: random.Random) -> Drawn:
    day, hour = rng.randint(1, 28), rng.randint(0, 23)
    value = f"2026-02-{day:02}T{hour:02}:00:00.000000Z"
    spelled = [f"2026-02-{day:02} {hour:02}:00:00", f"2026-02-{day:02}T{hour:02}:00:00Z", value]
    spelled += [f"2026-02-{day:02} {hour:02}:00:00+00:00"]
    return _same(value, _quoted(rng.choice(spelled)))


def _date(rng: random.Random) -> Drawn:
    value = f"2026-0{rng.randint(1, 9)}-{rng.randint(1, 28):02}"
    return _same(value, _quoted(value))


def _time(rng: random.Random) -> Drawn:
    value = f"{rng.randint(0, 23):02}:30:00" + rng.choice(["", ".5", ".25"])
    return _same(value, _quoted(value + ("0" if "." in value else "")))


def _uuid(rng: random.Random) -> Drawn:
    value = f"6f2c1c1e-4b7f-4f0e-9d0c-3f1d0e7a9b{rng.randint(10, 20)}"
    return _same(value, _quoted(rng.choice([value, value.upper(), value.replace("-", "")])))


def _document(rng: random.Random) -> Drawn:
    value = rng.choice([{"a": [1, None, "é"]}, [1, 2], [], "text", True, 1.5, {"b": {"a": 1}}])
    return _same(value, _quoted(f" {json.dumps(value, indent=1, ensure_ascii=False)} "))


def _binary(rng: random.Random) -> Drawn:
    value, digits = rng.choice([("AP8Q", "00ff10"), ("", ""), ("YQ==", "61")])
    return Drawn(value, f"X'{digits}'", f"'\\x{digits}'")


KINDS = [
    Kind("t", "TEXT DEFAULT 'dflt'", "TEXT DEFAULT 'dflt'", _text, is_text=True),
    Kind("c", "CHAR(6)", "CHAR(6)", _char, is_text=True),
    Kind("n", "BIGINT DEFAULT 5", "BIGINT DEFAULT 5", _integer),
    Kind("f", "DOUBLE PRECISION", "DOUBLE PRECISION", _float),
    Kind("d", "NUMERIC(8, 2) DEFAULT 1.5", "NUMERIC(8, 2) DEFAULT 1.5", _decimal),
    Kind("b", "BOOLEAN DEFAULT 'yes'", "BOOLEAN DEFAULT 'yes'", _boolean, orders=False),
    Kind(
        "at",
        "DATETIME DEFAULT '2026-01-02 10:00:00'",
        "TIMESTAMPTZ DEFAULT '2026-01-02 10:00:00'",
        _datetime,
    ),
    Kind("day", "DATE", "DATE", _date, is_text=True),
    Kind("clock", "TIME", "TIME", _time, is_text=True),
    Kind("u", "UUID", "UUID", _uuid, is_text=True),
    Kind("j", "JSON TEXT DEFAULT ' [1] '", "JSONB DEFAULT ' [1] '", _document, orders=False),
    Kind("raw", "BLOB", "BYTEA", _binary, orders=False),
]
_GENERATED = "twice BIGINT GENERATED ALWAYS AS (n * 2) STORED"
_NAMES = ["id", *(kind.name for kind in KINDS), "twice"]
_VIEW = "CREATE VIEW seen AS SELECT id, t, n, b, at, d FROM kinds WHERE n > 0;"


def _tables(engine: str) -> str:
    key = "INTEGER" if engine == "sqlite" else "BIGINT"
    columns = ", ".join(f"{kind.name} {getattr(kind, engine)}" for kind in KINDS)
    index = "CREATE INDEX kinds_search ON kinds USING trigram (t);"
    table = f"CREATE TABLE kinds (id {key} PRIMARY KEY, {columns}, {_GENERATED});"
    return f"-- UP ({engine})\n{table}\n{index}\n{_VIEW}\n"


LABELS = [
    "rows by SQL",
    "changes by SQL",
    "view",
    "generated column",
    "defaults",
    "search index",
    "sql tier",
    "typed export",
    *(f"type {kind.name}" for kind in KINDS),
]
REFUSED = ["foreign cursor", "written view", "written generated column"]


class TypedRows:
    """Makes requests about the typed table.

    Args:
        rng: draws.
        root: the folder with the migrations.
        send: puts a request on the stream.
    """

    def __init__(self, rng: random.Random, root: Path, send: Send) -> None:
        self.rng = rng
        self._folder = root / PLUGIN
        self._send = send
        self._files = _FILES_AT_MOST

    def draw(self) -> None:
        """Put something about the typed table on the stream."""
        if self._files >= _FILES_AT_MOST:
            self.begin_anew()
        makers = [
            (self.filter, 30),
            (self.rows_by_sql, 5),
            (self.change_by_sql, 5),
            (self.insert, 5),
            (self.update, 3),
            (self.view, 5),
            (self.generated, 5),
            (self.refused, 5),
            (self.search, 5),
            (self.query, 5),
            (self.export, 5),
            (self.foreign_cursor, 5),
            (self.delete, 1),
        ]
        self.rng.choices([make for make, _ in makers], [weight for _, weight in makers])[0]()

    def row(self, operation: str, body: Json, *labels: str, **more: Any) -> None:
        body.setdefault("table", "kinds")
        self._send("row", operation, body, plugin=PLUGIN, labels=labels, **more)

    def begin_anew(self) -> None:
        """Clear everything, and make the tables again."""

        def emptied() -> None:
            self._folder.mkdir(exist_ok=True)
            for file in self._folder.iterdir():
                file.unlink()
            first = _tables("sqlite") + _tables("postgresql") + "-- IRREVERSIBLE: a stream\n"
            (self._folder / "001_tables.sql").write_text(first, "utf-8")

        self._files = 1
        self._send("namespace", "clear", {}, plugin=PLUGIN)
        self._send("migrate", "apply", {}, plugin=PLUGIN, before=emptied)
        self.row("schema.describe", {})

    def _migrate(self, statements: dict[str, str], label: str) -> None:
        self._files += 1
        path = self._folder / f"{self._files:03}_rows.sql"
        text = "".join(f"-- UP ({engine})\n{sql};\n" for engine, sql in statements.items())

        def written() -> None:
            path.write_text(f"{text}-- IRREVERSIBLE: a stream\n", "utf-8")

        self._send("migrate", "apply", {}, plugin=PLUGIN, labels=(label,), before=written)
        self.row("select", {"limit": 100, "sort": {"field": "id"}})

    def rows_by_sql(self) -> None:
        ids = self.rng.sample(range(1, _IDS), 3)
        kinds = self.rng.sample(KINDS, self.rng.randint(3, len(KINDS)))
        rows = [[kind.draw(self.rng) for kind in kinds] for _ in ids]
        names = ", ".join(["id", *(kind.name for kind in kinds)])
        statements = {}
        for engine in ("sqlite", "postgresql"):
            listed = ", ".join(
                f"({number}, {', '.join(getattr(value, engine) for value in row)})"
                for number, row in zip(ids, rows, strict=True)
            )
            gone = f"DELETE FROM kinds WHERE id IN ({', '.join(map(str, ids))})"
            statements[engine] = f"{gone};\nINSERT INTO kinds ({names}) VALUES {listed}"
        self._migrate(statements, "rows by SQL")

    def change_by_sql(self) -> None:
        kind = self.rng.choice(KINDS)
        drawn, where = kind.draw(self.rng), f"WHERE id >= {self.rng.randint(1, _IDS)}"
        statements = {
            engine: f"UPDATE kinds SET {kind.name} = {getattr(drawn, engine)} {where}"
            for engine in ("sqlite", "postgresql")
        }
        self._migrate(statements, "changes by SQL")

    def _some(self) -> Json:
        kinds = self.rng.sample(KINDS, self.rng.randint(0, len(KINDS)))
        return {kind.name: kind.draw(self.rng).value for kind in kinds}

    def insert(self) -> None:
        data = {"id": self.rng.randint(1, _IDS), **self._some()}
        self.row("delete", {"id": data["id"]})
        self.row("insert", {"data": data}, "defaults")
        self.row("select", {"id": data["id"]})

    def update(self) -> None:
        where = {"id": self.rng.randint(1, _IDS)}
        data = self._some() or {"n": 1}
        self.row("update", {**where, "data": data, "returning": _NAMES}, compare="in any order")

    def delete(self) -> None:
        self.row("delete", {"filters": {"id": {"$gt": self.rng.randint(4, _IDS)}}})

    def filter(self) -> None:
        for kind in self.rng.sample(KINDS, 2):
            self._filter(kind)

    def _filter(self, kind: Kind) -> None:
        operators = ["$eq", "$ne"]
        if kind.name != "j":
            operators += ["$in", "$nin"]
        if kind.orders:
            operators += ["$gt", "$gte", "$lt", "$lte"] * 2
        if kind.is_text:
            operators += ["$like", "$ilike"] * 2
        operator = self.rng.choice(operators)
        operand: Any = kind.draw(self.rng).value
        if operator in ("$in", "$nin"):
            operand = [operand, kind.draw(self.rng).value]
        if operator in ("$like", "$ilike"):
            operand = self._pattern(operand)
        body: Json = {"filters": {kind.name: {operator: operand}}, "sort": {"field": "id"}}
        if kind.orders and self.rng.random() < 0.5:
            body["sort"] = {"field": kind.name, "order": self.rng.choice(["asc", "desc"])}
        self.row("search", body, f"type {kind.name}")
        if self.rng.random() < 0.7:
            return
        if kind.orders:
            compute = {"low": {"$min": kind.name}, "high": {"$max": kind.name}}
            self.row("aggregate", {"compute": compute, "filters": body["filters"]})
        if kind.name != "j":
            groups = {"compute": {"n": {"$count": "*"}}, "group_by": [kind.name]}
            self.row("aggregate", groups, compare="in any order")

    def _pattern(self, text: str) -> str:
        literal = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return self.rng.choice(["{}", "%{}%", "{}%", "%{}"]).replace("{}", literal[1:] or literal)

    def search(self) -> None:
        like = {self.rng.choice(["$like", "$ilike"]): self._pattern(_text(self.rng).value)}
        filters: Json = self.rng.choice(
            [{"t": like}, {"$not": {"t": like}}, {"$or": [{"t": like}, {"n": 7}]}]
        )
        self.row("search", {"filters": filters, "sort": {"field": "id"}}, "search index")

    def view(self) -> None:
        filters = {"n": {"$gte": self.rng.choice([1, 7])}}
        body = {"table": "seen", "filters": filters, "sort": [{"field": "at"}, {"field": "id"}]}
        self.row("search", body, "view")

    def generated(self) -> None:
        body = {"filters": {"twice": {"$gt": self.rng.choice([0, 2])}}, "sort": {"field": "twice"}}
        self.row("search", body, "generated column")

    def refused(self) -> None:
        body: Json = {"table": "seen", "filters": {"n": 7}}
        operation = self.rng.choice(["update", "delete"])
        if operation == "update":
            body["data"] = {"n": 3}
        self.row(operation, body, what="written view")
        data = {"id": 50, "twice": 4}
        self.row("insert", {"data": data}, what="written generated column")

    def query(self) -> None:
        names = ", ".join(_NAMES)
        query = f"SELECT {names} FROM kinds WHERE id <= $1 ORDER BY id"
        body = {"query": query, "params": [self.rng.randint(3, _IDS)]}
        self._send("sql", "execute", body, plugin=PLUGIN, labels=("sql tier",), compare="as sql")

    def export(self) -> None:
        self._send(
            *("namespace", "export", {}),
            plugin=PLUGIN,
            labels=("typed export",),
            compare="as typed lines",
        )

    def foreign_cursor(self) -> None:
        """Read a page, and go on with its cursor in another query."""
        asked: Json = {"filters": {"id": {"$gt": 0}}, "sort": {"field": "id"}, "limit": 1}

        def heard(reply: Json) -> None:
            if "next" not in reply:
                return
            others: list[Json] = [
                {"sort": {"field": "id", "order": "desc"}},
                {"filters": {"id": {"$gt": 1}}},
                {"sort": {"field": "at"}},
                {"filters": {}},
            ]
            other = {**asked, **self.rng.choice(others), "after": reply["next"]}
            self.row("select", {**asked, "after": reply["next"]})
            self.row("select", other, what="foreign cursor")

        self.row("select", dict(asked), heard=heard)

"""What a call has changed: rows and keys before and after, as a multiset of differences."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from dbservice.engine.sqlite import SqliteEngine

if TYPE_CHECKING:
    from pytest_rosey.service.under_test import ServiceUnderTest


class Row(NamedTuple):
    """A row, without a generated id.

    Attributes:
        table: its bare name.
        values: columns and values, in the order of the columns.
    """

    table: str
    values: tuple[tuple[str, Any], ...]


class Key(NamedTuple):
    """A key and its value; of a number only the key, since its units are counted.

    Attributes:
        name: of the key.
        value: as JSON; None for a number.
    """

    name: str
    value: str | None


Effect = Counter[Row | Key]
"""How many more of each there are: rows, keys with a value, units of a number."""


@dataclass(frozen=True, slots=True)
class State:
    """What is in a database.

    Attributes:
        rows: how often each row is there.
        keys: the values of the keys that have not expired.
        expiring: the keys that will expire, and when, in Unix seconds.
        moment: when that was, in Unix seconds.
    """

    rows: Counter[Row]
    keys: dict[str, Any]
    expiring: dict[str, float]
    moment: float


def state_of(service: ServiceUnderTest) -> State:
    """Return what plugins have stored in a service's database in memory."""
    moment = service.clock.time()
    engine = service.database.engine
    assert isinstance(engine, SqliteEngine)  # a database in memory, or the test is not explored
    pages = engine.snapshot()
    rows: Counter[Row] = Counter()
    keys: dict[str, Any] = {}
    expiring: dict[str, float] = {}
    if pages:
        with closing(sqlite3.connect(":memory:")) as copy:
            copy.deserialize(pages)
            for prefix, table in _tables(copy):
                rows.update(_rows(copy, prefix, table))
            for name, value, expires_at in copy.execute("SELECT key, value, expires_at FROM _kv"):
                if expires_at is None or expires_at > moment:
                    keys[name] = json.loads(value)
                if expires_at is not None:
                    expiring[name] = expires_at
    return State(rows, keys, expiring, moment)


def _tables(copy: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return the prefixes and names of the plugins' tables, without those of search indexes."""
    prefixes = [prefix for (prefix,) in copy.execute("SELECT prefix FROM _namespaces")]
    names = copy.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' ORDER BY name"
    )
    return [(p, name) for (name,) in names for p in prefixes if name.startswith(p)]


def _rows(copy: sqlite3.Connection, prefix: str, table: str) -> Iterator[Row]:
    quoted = '"' + table.replace('"', '""') + '"'
    columns = copy.execute(f"PRAGMA table_info({quoted})").fetchall()
    keys = [name for _, name, *_, part in columns if part]
    generated = {
        name for _, name, kind, *_, part in columns if part and keys == [name] and kind == "INTEGER"
    }
    names = [name for _, name, *_ in columns]
    for values in copy.execute(f"SELECT * FROM {quoted}"):  # noqa: S608 - a name of the database's
        yield Row(
            table.removeprefix(prefix),
            tuple(
                (name, value)
                for name, value in zip(names, values, strict=True)
                if name not in generated
            ),
        )


def effect_of(before: State, after: State) -> Effect:
    """Return what has changed between two moments; a key that has expired has not."""
    effect: Effect = Counter(after.rows)
    effect.subtract(before.rows)
    for name in sorted({*before.keys, *after.keys}):
        had, has = before.keys.get(name), after.keys.get(name)
        if name not in after.keys and before.expiring.get(name, after.moment + 1) <= after.moment:
            continue
        if _is_number(had, has):
            effect[Key(name, None)] += (has or 0) - (had or 0)
            continue
        if name in before.keys:
            effect[Key(name, json.dumps(had, sort_keys=True))] -= 1
        if name in after.keys:
            effect[Key(name, json.dumps(has, sort_keys=True))] += 1
    return Counter({what: count for what, count in effect.items() if count})


def _is_number(had: object, has: object) -> bool:
    numbers = [value for value in (had, has) if value is not None]
    return bool(numbers) and all(type(value) in (int, float) for value in numbers)


def without(effect: Effect, patterns: tuple[str, ...]) -> Effect:
    """Return an effect without the keys (`kv:NAME`) and tables (`row:NAME`) of some patterns."""
    return Counter(
        {
            what: count
            for what, count in effect.items()
            if not any(fnmatchcase(_address(what), pattern) for pattern in patterns)
        }
    )


def _address(what: Row | Key) -> str:
    return f"kv:{what.name}" if isinstance(what, Key) else f"row:{what.table}"


def described(effect: Effect) -> str:
    """Return an effect for a reader: `+1 row in questions {"text": "…"}, total +1`."""
    return ", ".join(sorted(_described(what, count) for what, count in effect.items())) or "nothing"


def _described(what: Row | Key, count: float) -> str:
    if isinstance(what, Row):
        rows = "row" if abs(count) == 1 else "rows"
        values = json.dumps(dict(what.values), default=str, ensure_ascii=False)
        return f"{count:+g} {rows} in {what.table} {_cut(values)}"
    if what.value is None:
        return f"{what.name} {count:+g}"
    return f"{what.name} {'=' if count > 0 else 'no longer'} {_cut(what.value)}"


_LONGEST = 80


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"

"""An example for each row of the type map, on each engine: what the documentation shows.

The tests write each value, look at it in the database, read it and search for it, on both engines,
so that no cell of the table is a claim.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from dbservice.engine.type_map import (
    BINARY,
    CHAR,
    DATE,
    DECIMAL,
    OTHER,
    REAL,
    TIME,
    UNTYPED,
    UUID,
)
from dbservice.protocol.rows import ColumnType


class Cell(NamedTuple):
    """One type on one engine.

    Attributes:
        declared: as a migration writes it.
        stored: what is in the database, as the engine prints it.
    """

    declared: str
    stored: str


class Example(NamedTuple):
    """One row of the map.

    Attributes:
        rule: its name.
        sqlite: None where this engine has no such type.
        postgresql: likewise.
        written: a value of a request.
        shown: how it comes back, and what it is compared as.
        refused: values that a request may not write.
        note: what else is to be said.
    """

    rule: str
    sqlite: Cell | None
    postgresql: Cell | None
    written: Any
    shown: Any
    refused: tuple[Any, ...]
    note: str = ""


_NOON = "2026-11-21T12:00:00.000000Z"
_ID = "6f2c1c1e-4b7f-4f0e-9d0c-3f1d0e7a9b10"

EXAMPLES: tuple[Example, ...] = (
    Example(
        ColumnType.TEXT, Cell("TEXT", "naïve"), Cell("TEXT", "naïve"), "naïve", "naïve", (1, ["a"])
    ),
    Example(
        ColumnType.STRING,
        Cell("VARCHAR(5)", "naïve"),
        Cell("VARCHAR(5)", "naïve"),
        "naïve",
        "naïve",
        ("longer", 1),
    ),
    Example(
        CHAR,
        Cell("CHAR(5)", "ab"),
        Cell("CHAR(5)", "ab"),
        "ab",
        "ab",
        ("ab ", 1),
        "blanks at the end are no part of the value",
    ),
    Example(
        ColumnType.INTEGER,
        Cell("INTEGER", "9007199254740993"),
        Cell("BIGINT", "9007199254740993"),
        9007199254740993,
        9007199254740993,
        ("1", 1.5, True, 2**63),
        "PostgreSQL's SMALLINT and INTEGER have 16 and 32 bits, SQLite's always 64",
    ),
    Example(
        ColumnType.FLOAT,
        Cell("DOUBLE PRECISION", "0.1"),
        Cell("DOUBLE PRECISION", "0.1"),
        0.1,
        0.1,
        ("1", True, 2**53 + 1),
        "infinities and NaN refuse the migration that writes them",
    ),
    Example(
        REAL,
        None,
        Cell("REAL", "0.1"),
        0.1,
        0.1,
        (0.123456789, 1e39),
        "4 bytes on PostgreSQL; on SQLite it is DOUBLE PRECISION",
    ),
    Example(
        DECIMAL,
        Cell("NUMERIC(6,2)", "12.5"),
        Cell("NUMERIC(6,2)", "12.50"),
        12.5,
        12.5,
        (1.005, 10000, "1"),
        "compared as a float",
    ),
    Example(
        ColumnType.BOOLEAN,
        Cell("BOOLEAN", "1"),
        Cell("BOOLEAN", "true"),
        True,
        True,
        (1, "true"),
        "words in SQL are rewritten with a warning",
    ),
    Example(
        ColumnType.DATETIME,
        Cell("DATETIME", _NOON),
        Cell("TIMESTAMPTZ", "2026-11-21 12:00:00+00"),
        "2026-11-21T14:00:00+02:00",
        _NOON,
        ("noon", 1),
        "UTC; what SQL spells otherwise is rewritten; TIMESTAMP(0) takes whole seconds",
    ),
    Example(
        DATE,
        Cell("DATE", "2026-11-21"),
        Cell("DATE", "2026-11-21"),
        "2026-11-21",
        "2026-11-21",
        ("2026-13-01", 1),
    ),
    Example(
        TIME,
        Cell("TIME", "18:30:00.5"),
        Cell("TIME", "18:30:00.5"),
        "18:30:00.50",
        "18:30:00.5",
        ("25:00", 1),
    ),
    Example(UUID, Cell("UUID", _ID), Cell("UUID", _ID), _ID.upper(), _ID, ("6f2c", 1)),
    Example(
        ColumnType.JSON,
        Cell("JSON TEXT", '{"a":[1,null]}'),
        Cell("JSONB", '{"a": [1, null]}'),
        {"a": [1, None]},
        {"a": [1, None]},
        ({"a": 2**63},),
        "null is no document; not sorted by, grouped by or compared in order",
    ),
    Example(
        BINARY,
        Cell("BLOB", "X'00FF10'"),
        Cell("BYTEA", "\\x00ff10"),
        "AP8Q",
        "AP8Q",
        ("no base64!", 1),
        "as base64; not sorted by or compared in order",
    ),
    Example(
        UNTYPED,
        Cell("", "007"),
        None,
        "007",
        "007",
        (True, [1]),
        "SQLite keeps any value; warned of",
    ),
    Example(
        OTHER,
        Cell("INET", "10.0.0.1/32"),
        Cell("INET", "10.0.0.1/32"),
        "10.0.0.1/32",
        "10.0.0.1/32",
        (1,),
        "every type that is not above: shown, compared and sorted as its text; warned of",
    ),
)

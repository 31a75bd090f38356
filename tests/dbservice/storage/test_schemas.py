"""Registering, describing and dropping tables; constraints; aggregation (SPEC 2.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dbservice.engine.engine import Engine
from dbservice.runtime.clock import ManualClock
from dbservice.storage import schemas
from dbservice.storage.database import Database
from tests.dbservice.storage.caller import ONLY_ON_SQLITE, Caller, no_migrations

Migrate = Callable[..., Any]

EVERY_TYPE = [
    {"name": "a_string", "type": "string", "max_length": 10},
    {"name": "a_text", "type": "text"},
    {"name": "an_integer", "type": "integer"},
    {"name": "a_float", "type": "float"},
    {"name": "a_boolean", "type": "boolean"},
    {"name": "a_datetime", "type": "datetime"},
    {"name": "a_json", "type": "json"},
]
ADDED = ["id", "created_at", "updated_at"]


async def test_register_creates_a_table_with_key_and_stamps(plugin: Caller) -> None:
    body = {"table": "things", "schema": {"fields": EVERY_TYPE}}
    assert await plugin.row("schema.register", **body) == {"table": "things", "created": True}
    assert await plugin.row("schema.register", **body) == {"table": "things", "created": False}
    described = await plugin.row("schema.describe", table="things")
    columns = {column["name"]: column for column in described["columns"]}
    assert list(columns) == ["id", *(field["name"] for field in EVERY_TYPE), *ADDED[1:]]
    assert [columns[field["name"]]["type"] for field in EVERY_TYPE] == [
        field["type"] for field in EVERY_TYPE
    ]
    assert [name for name, column in columns.items() if column["primary_key"]] == ["id"]
    assert [name for name, column in columns.items() if not column["nullable"]] == ADDED
    assert described["row_count"] == 0
    await plugin.row("insert", table="things", data=[{}, {}])
    assert (await plugin.row("schema.describe", table="things"))["row_count"] == 2


async def test_a_plugin_registers_so_many_tables_and_no_more(
    plugin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemas, "MAX_TABLES", 2)
    body = {"schema": {"fields": EVERY_TYPE}}
    for name in ("one", "two"):
        await plugin.row("schema.register", table=name, **body)
    error = await plugin.refused_row("schema.register", table="three", **body)
    assert error["details"]["reason"] == "LIMIT"
    assert not (await plugin.row("schema.register", table="two", **body))["created"]
    await plugin.row("schema.drop", table="one")
    assert (await plugin.row("schema.register", table="three", **body))["created"]


@pytest.mark.parametrize(
    ("of_type", "default"),
    [
        ("string", 'it\'s; -- "x" é😀\n'),
        ("text", ""),
        ("integer", -5),
        ("integer", 2**63 - 1),
        ("integer", -(2**63)),
        ("float", 0.1),
        ("float", -1e300),
        ("float", 3),
        ("boolean", True),
        ("boolean", False),
        ("datetime", "2026-01-01T00:00:00.000000Z"),
        ("json", []),
        ("json", {"a": ["it's", None, 1.5]}),
        ("integer", None),
    ],
)
async def test_a_default_is_what_it_says(plugin: Caller, of_type: str, default: Any) -> None:
    schema = {"fields": [{"name": "a", "type": of_type, "default": default}]}
    await plugin.row("schema.register", table="things", schema=schema)
    await plugin.row("insert", table="things", data={})
    stored = (await plugin.one(1, "a", table="things"))["a"]
    assert stored == default
    assert isinstance(stored, bool) == isinstance(default, bool)


async def test_required_and_unique_hold(plugin: Caller) -> None:
    fields = [
        {"name": "name", "type": "text", "required": True},
        {"name": "code", "type": "integer", "unique": True},
    ]
    await plugin.row("schema.register", table="things", schema={"fields": fields})
    await plugin.row("insert", table="things", data=[{"name": "a", "code": 1}, {"name": "b"}])
    await plugin.row("insert", table="things", data={"name": "two nulls are not the same value"})
    for data, constraint, column, message in (
        ({}, "not null", "name", "A value on name is required and may not be null."),
        ({"name": None}, "not null", "name", "A value on name is required and may not be null."),
        (
            {"name": "c", "code": 1},
            "unique",
            "code",
            "A row with the same value on code exists already.",
        ),
        (
            {"id": 1, "name": "c"},
            "unique",
            "id",
            "A row with the same value on id exists already.",
        ),
    ):
        error = await plugin.refused_row("insert", table="things", data=data)
        assert error["code"] == "CONSTRAINT_VIOLATION"
        assert error["message"] == message
        assert error["details"] == {"constraint": constraint, "columns": [column]}
    described = await plugin.row("schema.describe", table="things")
    assert [(index["columns"], index["unique"]) for index in described["indexes"]] == [
        (["code"], True)
    ]


async def test_a_unique_key_of_two_columns_names_both(plugin: Caller, migrate: Migrate) -> None:
    await migrate(
        "CREATE TABLE quote_db__votes (id INTEGER PRIMARY KEY, who TEXT, quote INTEGER, "
        "UNIQUE (who, quote))"
    )
    await plugin.row("insert", table="votes", data={"who": "ann", "quote": 1})
    error = await plugin.refused_row("insert", table="votes", data={"who": "ann", "quote": 1})
    assert error["message"] == "A row with the same value on who, quote exists already."
    assert error["details"]["columns"] == ["who", "quote"]


async def test_a_foreign_key_holds_in_both_directions(plugin: Caller, migrate: Migrate) -> None:
    await migrate(
        "CREATE TABLE quote_db__people (id INTEGER PRIMARY KEY, name TEXT)",
        "CREATE TABLE quote_db__votes (id INTEGER PRIMARY KEY, "
        "person INTEGER REFERENCES quote_db__people (id))",
    )
    await plugin.row("insert", table="people", data={"name": "ann"})
    await plugin.row("insert", table="votes", data={"person": 1})
    for operation, more, told in (
        ("insert", {"table": "votes", "data": {"person": 2}}, "refers to is not there"),
        ("delete", {"table": "people", "id": 1}, "Other rows still refer to this row"),
    ):
        error = await plugin.refused_row(operation, **more)
        assert error["code"] == "CONSTRAINT_VIOLATION"
        assert told in error["message"]
    error = await plugin.refused_row("schema.drop", table="people")
    assert error["code"] == "CONSTRAINT_VIOLATION"
    assert (await plugin.one(1, table="people"))["name"] == "ann"


@ONLY_ON_SQLITE
@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("score BETWEEN -100 AND 100", ["score"]),
        ('score > -101 AND length("author") < 5', ["score", "author"]),
        ("author NOT IN ('score', 'x AND y')", ["author"]),
        ("CASE WHEN author IS NULL THEN score > 0 ELSE TRUE END", ["author", "score"]),
        ("CAST(score AS INTEGER) < 100", ["score"]),
    ],
)
async def test_a_check_names_its_columns_and_nothing_else(
    plugin: Caller, migrate: Migrate, expression: str, names: list[str]
) -> None:
    await migrate(
        "CREATE TABLE quote_db__t (id INTEGER PRIMARY KEY, score INTEGER, author TEXT, "
        f"CHECK ({expression}))"
    )
    values = {"score": -1000 if "CASE" in expression else 1000, "author": "score"}
    if "CASE" in expression:
        values["author"] = None
    error = await plugin.refused_row("insert", table="t", data=values)
    assert error["details"] == {"constraint": "check", "columns": names}


@pytest.mark.parametrize(
    ("fields", "difference", "told"),
    [
        (
            [{"name": "text", "type": "text"}, {"name": "more", "type": "json"}],
            {
                "missing": ["more"],
                "unexpected": ["active", "author", "rating", "score", "seen", "tags"],
                "type": [],
            },
            "missing: more; unexpected: active, author, rating, score, seen, tags",
        ),
        (
            [
                {"name": "text", "type": "integer"},
                {"name": "author", "type": "string"},
                {"name": "score", "type": "float"},
                {"name": "rating", "type": "float"},
                {"name": "active", "type": "boolean"},
                {"name": "seen", "type": "datetime"},
                {"name": "tags", "type": "text"},
            ],
            {"missing": [], "unexpected": [], "type": ["score", "tags", "text"]},
            "type: score, tags, text",
        ),
    ],
)
async def test_another_shape_is_refused_with_the_difference(
    quotes: Caller, fields: list[dict[str, Any]], difference: dict[str, Any], told: str
) -> None:
    error = await quotes.refused_row("schema.register", table="quotes", schema={"fields": fields})
    assert error["code"] == "VALIDATION_ERROR"
    assert error["message"] == (
        f"Table 'quotes' is there with other columns ({told}). Change it with a migration."
    )
    assert error["details"]["difference"] == difference


@ONLY_ON_SQLITE
async def test_a_table_that_a_migration_made_counts_as_registered(
    plugin: Caller, migrate: Migrate
) -> None:
    await migrate(
        "CREATE TABLE quote_db__t (id INTEGER PRIMARY KEY, s VARCHAR(20), n BIGINT, f DOUBLE "
        "PRECISION, b BOOLEAN, d TIMESTAMP, j JSON TEXT, k TEXT CHECK (json_valid(k)), "
        "c TEXT CHECK (json_valid(k) OR c IS NULL))"
    )
    described = await plugin.row("schema.describe", table="t")
    assert {column["name"]: column["type"] for column in described["columns"]} == {
        "id": "integer",
        "s": "string",
        "n": "integer",
        "f": "float",
        "b": "boolean",
        "d": "datetime",
        "j": "json",
        "k": "json",
        "c": "text",
    }
    fields = [
        {"name": name, "type": of_type}
        for name, of_type in zip(
            "snfbdjkc",
            ("text", "integer", "float", "boolean", "datetime", "json", "json", "string"),
            strict=True,
        )
    ]
    registered = await plugin.row("schema.register", table="t", schema={"fields": fields})
    assert registered == {"table": "t", "created": False}
    error = await plugin.refused_row("insert", table="t", data={"s": "x" * 21})
    assert error["message"] == "The text at 'data.s' has 21 characters; column 's' takes 20."


async def test_a_schema_change_is_seen_by_the_next_request(
    plugin: Caller, migrate: Migrate
) -> None:
    await migrate("CREATE TABLE quote_db__t (id INTEGER PRIMARY KEY, a TEXT)")
    await plugin.row("insert", table="t", data={"a": "x"})
    await migrate("ALTER TABLE quote_db__t ADD COLUMN b INTEGER DEFAULT 7")
    assert await plugin.one(1, table="t") == {"id": 1, "a": "x", "b": 7}
    await plugin.row("insert", table="t", data={"b": 8})
    await migrate("ALTER TABLE quote_db__t DROP COLUMN b")
    error = await plugin.refused_row("insert", table="t", data={"b": 9})
    assert error["details"]["reason"] == "UNKNOWN_COLUMN"


async def test_a_schema_change_that_failed_is_not_remembered(
    plugin: Caller, migrate: Migrate
) -> None:
    await migrate("CREATE TABLE quote_db__t (id INTEGER PRIMARY KEY, a TEXT)")
    await plugin.row("count", table="t")
    with pytest.raises(Exception, match="syntax error"):
        await migrate("ALTER TABLE quote_db__t ADD COLUMN b INTEGER", "THIS IS NOT SQL")
    await migrate("ALTER TABLE quote_db__t ADD COLUMN c INTEGER")
    await plugin.row("insert", table="t", data={"c": 1})
    assert await plugin.one(1, table="t") == {"id": 1, "a": None, "c": 1}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            [{"name": "id", "type": "integer"}],
            "'id' is added to every table by the service. Leave it out of 'fields'.",
        ),
        (
            [{"name": "updated_at", "type": "datetime"}],
            "'updated_at' is added to every table by the service. Leave it out of 'fields'.",
        ),
        (
            [{"name": "a", "type": "text"}, {"name": "a", "type": "json"}],
            "'a' stands twice in 'fields'.",
        ),
        (
            [{"name": "a", "type": "text", "max_length": 5}],
            "'max_length' goes with type 'string'; 'a' is text.",
        ),
        (
            [{"name": "a", "type": "integer", "default": "0"}],
            "Column 'a' is integer: expected an integer at 'schema.fields[0].default', got string.",
        ),
        (
            [{"name": "a", "type": "string", "max_length": 2, "default": "abc"}],
            "The text at 'schema.fields[0].default' has 3 characters; column 'a' takes 2.",
        ),
        (
            [{"name": 'a" TEXT); --', "type": "text"}],
            (
                "'a\" TEXT); --' is not a valid name: expected lower-case letters, digits "
                "and single "
                "underscores, starting with a letter, without '__', at most 63 characters."
            ),
        ),
        ([], "Field 'schema.fields': expected array of length >= 1."),
        (
            [{"name": f"c{number}", "type": "text"} for number in range(501)],
            "Field 'schema.fields': expected array of length <= 500.",
        ),
        (
            [{"name": "c" * 40, "type": "text", "unique": True}],
            (
                f"The name of the unique index over '{'c' * 40}' would have 66 characters; "
                f"the limit "
                "is 63. Shorten the table's or the column's name."
            ),
        ),
    ],
)
async def test_a_malformed_description_is_refused_and_leaves_nothing(
    plugin: Caller, fields: list[dict[str, Any]], message: str
) -> None:
    error = await plugin.refused_row("schema.register", table="things", schema={"fields": fields})
    assert error["code"] == "VALIDATION_ERROR"
    assert error["message"] == message
    assert await plugin.row("schema.drop", table="things") == {"dropped": False}


async def test_names_that_sql_means_something_else_by_are_fine(plugin: Caller) -> None:
    words = ["select", "order", "group", "table", "values", "null", "rowid", "primary", "key"]
    fields = [{"name": word, "type": "integer"} for word in words]
    await plugin.row("schema.register", table="where", schema={"fields": fields})
    data = {word: number for number, word in enumerate(words)}
    await plugin.row("insert", table="where", data=data)
    assert await plugin.one(1, *words, table="where") == data
    assert await plugin.ids(dict(data.items()), table="where") == [1]
    body = {
        "group_by": ["order"],
        "compute": {"select": {"$sum": "group"}},
        "sort": {"field": "select"},
    }
    aggregated = await plugin.row("aggregate", table="where", **body)
    assert aggregated["rows"] == [{"order": 1, "select": 2}]


async def test_unique_indexes_of_alike_names_do_not_clash(plugin: Caller) -> None:
    for table, column in (("a", "b_c"), ("a_b", "c"), ("a_b_c_unique", "d")):
        fields = [{"name": column, "type": "text", "unique": True}]
        answer = await plugin.row("schema.register", table=table, schema={"fields": fields})
        assert answer["created"]


async def test_drop_removes_a_table_once(quotes: Caller) -> None:
    await quotes.row("insert", table="quotes", data={"text": "a"})
    assert await quotes.row("schema.drop", table="quotes") == {"dropped": True}
    assert await quotes.row("schema.drop", table="quotes") == {"dropped": False}
    error = await quotes.refused_row("count", table="quotes")
    assert error["details"]["reason"] == "TABLE_NOT_REGISTERED"


async def test_registering_what_is_there_changes_no_schema(plugin: Caller) -> None:
    """Every change makes all plugins look their tables up again."""
    body = {"table": "things", "schema": {"fields": EVERY_TYPE}}
    await plugin.row("schema.register", **body)
    changes = []
    engine = plugin.database.engine
    exclusive = engine.exclusive

    async def noted(*args: Any, **kwargs: Any) -> Any:
        changes.append(kwargs)
        return await exclusive(*args, **kwargs)

    engine.exclusive = noted  # type: ignore[method-assign]
    assert await plugin.row("schema.register", **body) == {"table": "things", "created": False}
    assert not changes
    await plugin.row("schema.drop", table="things")
    assert await plugin.row("schema.register", **body) == {"table": "things", "created": True}
    assert [change["plugin"] for change in changes] == [plugin.plugin] * 2


async def test_a_registration_survives_a_restart(tmp_path: Any, clock: ManualClock) -> None:
    from dbservice.engine.sqlite import SqliteEngine

    def database() -> Database:
        engine: Engine = SqliteEngine(f"sqlite+aiosqlite:///{tmp_path / 'rosey.db'}")
        return Database(engine, clock, forget_migrations=no_migrations)

    first = database()
    await first.open()
    body = {"table": "things", "schema": {"fields": EVERY_TYPE}}
    await Caller(first).row("schema.register", **body)
    await Caller(first).row("insert", table="things", data={"a_text": "kept"})
    await Caller(first).kv("set", key="a", value=1, ttl=5)
    await first.close()
    second = database()
    await second.open()
    assert (await Caller(second).one(1, "a_text", table="things"))["a_text"] == "kept"
    assert (await Caller(second).row("schema.register", **body))["created"] is False
    assert (await Caller(second).kv("get", key="a"))["exists"]
    assert await second.plugins() == ["quote-db"]
    await second.close()


# --- aggregation ---------------------------------------------------------------------------------


@pytest.fixture
async def scored(quotes: Caller) -> Caller:
    rows = [
        {"text": "a", "author": "ann", "score": 1, "rating": 0.5, "active": True},
        {"text": "b", "author": "ann", "score": 3, "rating": None, "active": True},
        {"text": "c", "author": "bob", "score": 5, "rating": 2.0, "active": False},
        {"text": "d", "author": None, "score": None, "rating": 1.5, "seen": "2026-01-01"},
    ]
    await quotes.row("insert", table="quotes", data=rows)
    return quotes


async def aggregated(quotes: Caller, **body: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await quotes.row("aggregate", table="quotes", **body))["rows"]
    return rows


async def test_every_function_computes(scored: Caller) -> None:
    compute = {
        "rows": {"$count": "*"},
        "scored": {"$count": "score"},
        "sum": {"$sum": "score"},
        "mean": {"$avg": "score"},
        "low": {"$min": "score"},
        "high": {"$max": "rating"},
        "first": {"$min": "text"},
        "seen": {"$max": "seen"},
    }
    row = {
        "rows": 4,
        "scored": 3,
        "sum": 9,
        "mean": 3.0,
        "low": 1,
        "high": 2.0,
        "first": "a",
        "seen": "2026-01-01T00:00:00.000000Z",
    }
    assert await aggregated(scored, compute=compute) == [row]
    nothing = dict.fromkeys(row) | {"rows": 0, "scored": 0, "sum": 0}
    assert await aggregated(scored, compute=compute, filters={"text": "z"}) == [nothing]


async def test_groups_have_filters_order_and_limit(scored: Caller) -> None:
    body: dict[str, Any] = {
        "group_by": ["author"],
        "compute": {"n": {"$count": "*"}, "score": {"$sum": "score"}},
    }
    assert await aggregated(scored, **body) == [
        {"author": None, "n": 1, "score": 0},
        {"author": "ann", "n": 2, "score": 4},
        {"author": "bob", "n": 1, "score": 5},
    ]
    by_score = {"sort": [{"field": "score", "order": "desc"}]}
    top = await aggregated(scored, **body, **by_score, limit=1)
    assert top == [{"author": "bob", "n": 1, "score": 5}]
    some = await aggregated(scored, **body, having={"n": {"$gt": 1}})
    assert some == [{"author": "ann", "n": 2, "score": 4}]
    some = await aggregated(
        scored, **body, having={"author": {"$ne": "ann"}}, filters={"score": {"$gt": 1}}
    )
    assert some == [{"author": "bob", "n": 1, "score": 5}]
    both = await aggregated(scored, group_by=["author", "active"], compute={"n": {"$count": "*"}})
    assert {"author": None, "active": None, "n": 1} in both
    assert {"author": "bob", "active": False, "n": 1} in both


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"compute": {"n": {"$stddev": "score"}}},
            (
                "'$stddev' is not a function of 'compute': expected one of $count, $sum, "
                "$avg, $min, "
                "$max."
            ),
        ),
        (
            {"compute": {"n": {"$sum": "text"}}},
            "'$sum' requires a numeric type; column 'text' is string.",
        ),
        (
            {"compute": {"n": {"$avg": "active"}}},
            "'$avg' requires a numeric type; column 'active' is boolean.",
        ),
        (
            {"compute": {"n": {"$max": "tags"}}},
            "'$max' requires a numeric or datetime type, or text; column 'tags' is json.",
        ),
        (
            {"compute": {"n": "score"}},
            'Expected one function at \'compute.n\', for example {"$sum": "score"}.',
        ),
        (
            {"compute": {"n": {"$sum": "score", "$avg": "score"}}},
            'Expected one function at \'compute.n\', for example {"$sum": "score"}.',
        ),
        ({"compute": {"n": {"$sum": 5}}}, "Expected a column name at 'compute.n.$sum'."),
        (
            {"compute": {'n" FROM x --': {"$count": "*"}}},
            (
                "'n\" FROM x --' is not a valid name: expected lower-case letters, digits "
                "and single "
                "underscores, starting with a letter, without '__', at most 63 characters."
            ),
        ),
        (
            {"compute": {"author": {"$count": "*"}}, "group_by": ["author"]},
            "The alias 'author' is also a column of 'group_by'.",
        ),
        (
            {"compute": {"n": {"$count": "*"}}, "having": {"m": 1}},
            "Column 'm' is not in schema of table 'quotes': it has n.",
        ),
        (
            {"compute": {"n": {"$count": "*"}}, "having": {"n": "1"}},
            "Column 'n' is integer: expected an integer at 'having.n', got string.",
        ),
        (
            {"compute": {"n": {"$count": "*"}}, "sort": {"field": "score"}},
            "Column 'score' is not in schema of table 'quotes': it has n.",
        ),
        (
            {"compute": {f"n{number}": {"$count": "*"} for number in range(501)}},
            "Field 'compute': expected object of length <= 500.",
        ),
    ],
)
async def test_a_mistake_in_an_aggregation_is_told(
    quotes: Caller, body: dict[str, Any], message: str
) -> None:
    error = await quotes.refused_row("aggregate", table="quotes", **body)
    assert error["code"] == "VALIDATION_ERROR"
    assert error["message"] == message


async def test_a_sum_that_leaves_64_bits_is_an_error(quotes: Caller) -> None:
    rows = [{"text": "a", "score": 2**63 - 1}, {"text": "b", "score": 1}]
    await quotes.row("insert", table="quotes", data=rows)
    error = await quotes.refused_row(
        "aggregate", table="quotes", compute={"sum": {"$sum": "score"}}
    )
    assert error["code"] == "VALIDATION_ERROR"
    assert error["details"] == {"reason": "LIMIT"}

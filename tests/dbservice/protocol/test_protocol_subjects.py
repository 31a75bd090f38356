"""Subjects and names: what is built is parsed back, and nothing else gets through (SPEC 2.1)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbservice.protocol import (
    OPERATIONS,
    Address,
    ErrorCode,
    Family,
    RequestError,
    find,
    namespace,
    parse,
    subject_for,
)
from dbservice.protocol.names import identifier
from dbservice.protocol.subjects import (
    command_subject,
    is_event,
    is_storage_subject,
    plugin_event_subject,
    schema_changed_subject,
)

FAMILIES = ", ".join(family for family in Family if family is not Family.SERVICE)
OF_NAMESPACE = ", ".join(name for family, name in OPERATIONS if family is Family.NAMESPACE)
plugin_names = st.from_regex(r"[a-z][a-z0-9]{0,9}([-_][a-z0-9]{1,9}){0,4}", fullmatch=True)
operations = st.sampled_from(list(OPERATIONS.values()))


@given(plugin_names, operations)
def test_a_subject_says_what_it_was_built_from(plugin: str, operation) -> None:
    subject = subject_for(operation.family, operation.name, plugin)
    address = parse(subject)
    is_for_all = operation.family is Family.SERVICE
    expected = None if is_for_all else namespace(plugin)
    assert address == Address(operation.family, operation.name, expected)
    assert find(subject) == (address, operation)


@given(st.text(max_size=80))
def test_no_name_becomes_a_namespace_unless_it_keeps_the_rule(name: str) -> None:
    keeps_the_rule = len(name) <= 64 and re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", name)
    if keeps_the_rule:
        assert namespace(name).prefix == name.replace("-", "_") + "__"
        return
    with pytest.raises(RequestError) as caught:
        namespace(name)
    assert caught.value.code is ErrorCode.INVALID_SUBJECT


@given(st.text(alphabet="rosey.dbkvqu*> -", max_size=40))
def test_a_random_subject_is_refused(text: str) -> None:
    subject = f"rosey.db.{text}"
    if subject in {"rosey.db.ping", "rosey.db.info"}:
        assert find(subject)[1].family is Family.SERVICE
        return
    with pytest.raises(RequestError) as caught:
        find(subject)
    assert caught.value.code is ErrorCode.INVALID_SUBJECT


HOSTILE_PLUGINS = [
    "",
    "Quote",
    "quote db",
    "quote.db",
    "quote--db",
    "quote__db",
    "quote-_db",
    "-quote",
    "quote-",
    "_quote",
    "1quote",
    "quote\n",
    "quote\0",
    "quöte",
    "\N{FULLWIDTH LATIN SMALL LETTER Q}uote",
    "q\N{ARABIC-INDIC DIGIT ONE}",
    "*",
    ">",
    "quote'; DROP TABLE x; --",
    "../etc",
    "q" * 65,
]


@pytest.mark.parametrize("name", HOSTILE_PLUGINS)
def test_a_hostile_plugin_name_is_refused_everywhere(name: str) -> None:
    with pytest.raises(RequestError) as caught:
        namespace(name)
    assert caught.value.code is ErrorCode.INVALID_SUBJECT
    assert caught.value.message == (
        f"'{name[:80]}' is not a plugin name: expected lower-case letters and digits, starting "
        "with a letter, in words joined by single '-' or '_', at most 64 characters."
    )
    for build in (schema_changed_subject, command_subject):
        with pytest.raises(RequestError):
            build(name)
    with pytest.raises(RequestError):
        plugin_event_subject(name, "added")
    with pytest.raises(RequestError):
        find(f"rosey.db.row.{name}.insert")


@pytest.mark.parametrize("name", ["q", "q1", "quote-db", "quote_db", "a1-2b_3", "q" * 64])
def test_a_proper_plugin_name_is_taken(name: str) -> None:
    assert namespace(name).plugin == name


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "rosey",
        "rosey.db",
        "rosey.db.",
        "rosey.db..",
        "rosey.db.row",
        "rosey.db.row.",
        "rosey.db.row.quote-db",
        "rosey.db.row.quote-db.",
        "rosey.db.row..insert",
        "rosey.db.row.quote-db.schema.",
        "rosey.db.row.quote-db..register",
        "rosey.dbx.row.quote-db.insert",
        "ROSEY.db.row.quote-db.insert",
        " rosey.db.row.quote-db.insert",
        "rosey.db.row.quote-db.insert.",
        "rosey.db.Row.quote-db.insert",
        "rosey.db.service.quote-db.ping",
        "rosey.db.event.quote-db.schema_changed",
        "rosey.db.row.quote-db.Insert",
        "rosey.db.row.quote-db.insert.more",
        "rosey.db.row.quote-db.schema",
        "rosey.db.row.quote-db.*",
        "rosey.db.row.quote-db.>",
        "rosey.db.kv.quote-db.select",
        "rosey.db.kv.incr",
        "rosey.db.kv.quote-db",
        "rosey.db.pong",
        "rosey.db.ping.quote-db",
        "rosey.db.ping.quote-db.now",
    ],
)
def test_a_malformed_subject_is_refused(subject: str) -> None:
    with pytest.raises(RequestError) as caught:
        find(subject)
    assert caught.value.code is ErrorCode.INVALID_SUBJECT


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (
            "rosey.db.row",
            "'row' is not an operation of 'service': expected one of ping, info.",
        ),
        (
            "rosey.db.row.quote-db",
            (
                "'rosey.db.row.quote-db' is not a request subject: expected "
                "'rosey.db.<family>.<plugin>.<operation>'."
            ),
        ),
        (
            "rosey.db.rows.quote-db.insert",
            (
                f"'rows' is not a family of operations: expected one of {FAMILIES}. "
                "Did you mean 'row'?"
            ),
        ),
        (
            "rosey.db.kv.incr",
            "'incr' is not an operation of 'kv': expected one of set, get, delete, list.",
        ),
        (
            "rosey.db.kv.quote-db.put",
            "'put' is not an operation of 'kv': expected one of set, get, delete, list, incr.",
        ),
        (
            "rosey.db.namespace.quote-db.cleer",
            (
                f"'cleer' is not an operation of 'namespace': expected one of {OF_NAMESPACE}. "
                "Did you mean 'clear'?"
            ),
        ),
    ],
)
def test_the_error_says_what_would_have_been_right(subject: str, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        find(subject)
    assert caught.value.message == message


@pytest.mark.parametrize("name", ["set", "get", "delete", "list"])
def test_the_global_kv_form_has_no_plugin(name: str) -> None:
    address, operation = find(f"rosey.db.kv.{name}")
    assert address.is_global_kv
    assert operation is OPERATIONS[Family.KV, name]
    assert not parse(f"rosey.db.kv.quote-db.{name}").is_global_kv


def test_a_plugin_may_be_called_like_an_operation() -> None:
    address, operation = find("rosey.db.kv.get.set")
    assert address == Address(Family.KV, "set", namespace("get"))
    assert operation.name == "set"


def test_other_subjects_are_told_apart() -> None:
    assert schema_changed_subject("quote-db") == "rosey.db.event.quote-db.schema_changed"
    assert is_event(schema_changed_subject("quote-db"))
    assert not is_event("rosey.db.row.quote-db.insert")
    assert command_subject("quote-db") == "rosey.command.quote-db.*"
    assert command_subject("quote-db", "add") == "rosey.command.quote-db.add"
    assert plugin_event_subject("quote-db", "added") == "rosey.event.quote-db.added"
    assert is_storage_subject("rosey.db.ping")
    assert not is_storage_subject("rosey.database.ping")


# --- tables and columns --------------------------------------------------------------------------

HOSTILE_IDENTIFIERS = [
    "",
    "Quotes",
    "quo tes",
    "quotes;",
    'quo"tes',
    "quo`tes",
    "quo'tes",
    "quo__tes",
    "_quotes",
    "1quotes",
    "quotes\n",
    "quotes\0",
    "quötes",
    "main.quotes",
    "q" * 64,
    "$eq",
]


@pytest.mark.parametrize("name", HOSTILE_IDENTIFIERS)
def test_a_hostile_table_or_column_name_is_refused(name: str) -> None:
    with pytest.raises(RequestError) as caught:
        identifier(name, field="columns[0]")
    assert caught.value.code is ErrorCode.VALIDATION_ERROR
    assert caught.value.message == (
        f"'{name[:80]}' is not a valid name: expected lower-case letters, digits and single "
        "underscores, starting with a letter, without '__', at most 63 characters."
    )
    assert caught.value.details["field"] == "columns[0]"


@pytest.mark.parametrize("name", ["q", "select", "quote_text", "a1_b2", "q_", "q" * 63])
def test_a_proper_identifier_is_taken(name: str) -> None:
    assert identifier(name, field="table") == name


def test_the_whole_name_of_a_table_fits_both_engines() -> None:
    space = namespace("quote-db")
    longest = "t" * (63 - len("quote_db__"))
    assert space.table(longest) == f"quote_db__{longest}"
    with pytest.raises(RequestError) as caught:
        space.table(longest + "t")
    assert caught.value.message == (
        f"The table name '{longest}t' is too long: with the plugin's prefix it has 64 characters, "
        "and the limit is 63."
    )
    assert caught.value.details["reason"] == "LIMIT"


@pytest.mark.parametrize("plugin", ["sqlite", "sqlite-stat1", "sqlite_x"])
def test_a_name_that_sqlite_keeps_to_itself_is_refused_with_the_way_out(plugin: str) -> None:
    with pytest.raises(RequestError) as caught:
        namespace(plugin).table("t")
    assert caught.value.message == (
        f"The plugin '{plugin}' cannot have tables: SQLite keeps every name that begins with "
        "'sqlite_' to itself. Rename the plugin."
    )


@given(plugin_names, plugin_names)
def test_two_plugins_share_a_prefix_only_if_they_are_spellings_of_one_name(
    one: str, other: str
) -> None:
    same_name = one.replace("-", "_") == other.replace("-", "_")
    first, second = namespace(one).prefix, namespace(other).prefix
    assert (first == second) == same_name
    assert first.startswith(second) == same_name

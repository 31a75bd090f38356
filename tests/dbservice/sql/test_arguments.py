"""What PostgreSQL's functions may be given in a query, because nothing stops one call."""

from __future__ import annotations

import pytest

from dbservice.protocol.errors import RequestError
from dbservice.sql.arguments import check_arguments
from dbservice.sqltext.dialects import Dialect
from dbservice.sqltext.lexer import tokens

LONG = "a" * 500


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("SELECT rpad(text, 20) FROM t", ()),
        ("SELECT rpad(text, $1, 'x') FROM t", (20,)),
        ("SELECT strpos(text, 'a') FROM t", ()),
        ("SELECT strpos(concat(text, 'b'), $2) FROM t WHERE n = $1", (1, "a")),
        ("SELECT position('a' IN text) FROM t", ()),
        ("SELECT n FROM t WHERE text LIKE '%a%' OR text ILIKE $1", ("b",)),
        ("SELECT n FROM t WHERE text LIKE $1", (None,)),
        ("SELECT format('%s of %10s', n, text) FROM t", ()),
        ("SELECT replace(text, 'a', 'b') FROM t", ()),
        ("SELECT regexp_replace(text, $1, $2, 'g') FROM t", ("a+", "b")),
        ("SELECT array_to_string(array_agg(text), ', ') FROM t", ()),
        ("SELECT replace FROM t", ()),
        ("SELECT n FROM t WHERE tags @> '[1]'::jsonb AND tags ? 'a' AND tags ?| $1", ("{a}",)),
        (
            "SELECT trim(text), trim(both ' ' from text), trim(from text), rtrim(text, $1) FROM t",
            ("/",),
        ),
        ("SELECT trim(leading from text, 'x'), translate(text, 'ab', $1) FROM t", (None,)),
        ("SELECT " + " || ".join(["text"] * 17) + " FROM t", ()),
    ],
)
def test_what_is_short_and_written_out_is_taken(query: str, params: tuple[object, ...]) -> None:
    check_arguments(list(tokens(query, Dialect.POSTGRESQL)), params)


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("SELECT rpad(text, 200000000) FROM t", ()),
        ("SELECT RPAD (text, $1) FROM t", (200_000_000,)),
        ("SELECT lpad(text, n * 1000) FROM t", ()),
        ("SELECT lpad(text, (9)) FROM t", ()),
        ('SELECT "lpad"(text, n) FROM t', ()),
        ("SELECT strpos(a.text, b.text) FROM t a, t b", ()),
        ("SELECT strpos(text, $1) FROM t", (LONG,)),
        (f"SELECT position('{LONG}' IN text) FROM t", ()),
        ("SELECT position(substr(text, 9) IN text) FROM t", ()),
        (f"SELECT n FROM t WHERE text LIKE '{LONG}'", ()),
        ("SELECT n FROM t a, t b WHERE a.text NOT ILIKE b.text", ()),
        ("SELECT n FROM t WHERE text ~~ (text || 'a')", ()),
        ("SELECT n FROM t WHERE text LIKE ANY (ARRAY['a'])", ()),
        ("SELECT format('%900000000s', n) FROM t", ()),
        ("SELECT format('%*s', n, n) FROM t", ()),
        ("SELECT split_part(text, text, 2), replace(text, text, text) FROM t", ()),
        ("SELECT replace(text, 'a', text) FROM t", ()),
        ("SELECT regexp_replace(text, 'a', $1, 'g') FROM t", (LONG,)),
        ("SELECT translate(text, $1, '') FROM t", (LONG,)),
        ("SELECT format($1, text) FROM t", ("%1$s" * 1_000,)),
        ("SELECT " + "encode(" * 5 + "text::bytea" + ", 'hex')::bytea" * 5 + " FROM t", ()),
        ("SELECT a.tags @> b.tags FROM t a, t b", ()),
        ("SELECT n FROM t WHERE tags @> $1::jsonb", ("[" + "1," * 900 + "1]",)),
        ("SELECT a.tags <@ b.tags FROM t a, t b", ()),
        ("SELECT string_to_array(text, 'a') && string_to_array(text, 'b') FROM t", ()),
        ("SELECT tags ?| string_to_array(text, 'a') FROM t", ()),
        ("SELECT translate(a.text, b.text, 'x') FROM t a, t b", ()),
        ("SELECT ltrim(a.text, b.text) FROM t a, t b", ()),
        ("SELECT btrim(text, $1) FROM t", (LONG,)),
        ("SELECT TRIM (BOTH $1 FROM text) FROM t", (LONG,)),
        ("SELECT trim(trailing from a.text, b.text) FROM t a, t b", ()),
        ("SELECT trim(a.text, b.text) FROM t a, t b", ()),
        ("SELECT array_to_string(array_agg(text), text) FROM t", ()),
        ("SELECT " + " || ".join(["text"] * 18) + " FROM t", ()),
    ],
)
def test_what_may_take_long_in_one_call_is_refused(query: str, params: tuple[object, ...]) -> None:
    with pytest.raises(RequestError) as refused:
        check_arguments(list(tokens(query, Dialect.POSTGRESQL)), params)
    assert refused.value.details["reason"] == "LIMIT"

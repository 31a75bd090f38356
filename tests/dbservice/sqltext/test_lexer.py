"""Where commands end, compared with tables of nasty SQL and with SQLite's own opinion."""

from __future__ import annotations

import random
import sqlite3

import pytest

from dbservice.sqltext.dialects import Dialect
from dbservice.sqltext.lexer import Kind, SqlError, commands, tokens

TRIGGER = (
    "CREATE TRIGGER t AFTER UPDATE ON a BEGIN "
    "UPDATE a SET x = CASE WHEN 1 THEN 2 END; SELECT ';'; END"
)

SQLITE = [
    ("", []),
    (";;;", []),
    ("-- only a comment", []),
    ("/* only ; a comment */", []),
    ("SELECT 1", ["SELECT 1"]),
    ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
    ("SELECT ';';SELECT 2", ["SELECT ';'", "SELECT 2"]),
    ("SELECT 'it''s; fine'; SELECT 2", ["SELECT 'it''s; fine'", "SELECT 2"]),
    ("SELECT '\\'; SELECT 2", ["SELECT '\\'", "SELECT 2"]),
    ('SELECT "a;b"; SELECT 2', ['SELECT "a;b"', "SELECT 2"]),
    ('SELECT "a"";b"; SELECT 2', ['SELECT "a"";b"', "SELECT 2"]),
    ("SELECT [a;b]; SELECT 2", ["SELECT [a;b]", "SELECT 2"]),
    ("SELECT `a;``b`; SELECT 2", ["SELECT `a;``b`", "SELECT 2"]),
    ("SELECT 1 -- no ; end\n; SELECT 2", ["SELECT 1", "SELECT 2"]),
    ("SELECT 1 /* ; */ + 1; SELECT 2", ["SELECT 1 /* ; */ + 1", "SELECT 2"]),
    ("SELECT /* a /* b */ 1; SELECT 2", ["SELECT /* a /* b */ 1", "SELECT 2"]),
    ("SELECT /*/ ; */ 1; SELECT 2", ["SELECT /*/ ; */ 1", "SELECT 2"]),
    ("SELECT /* ' */ 1; SELECT ' /* '", ["SELECT /* ' */ 1", "SELECT ' /* '"]),
    ("SELECT x'00'; SELECT 2", ["SELECT x'00'", "SELECT 2"]),
    ("SELECT 1-- ';\n, 2; SELECT 3", ["SELECT 1-- ';\n, 2", "SELECT 3"]),
    ("SELECT $$; SELECT $$", ["SELECT $$", "SELECT $$"]),
    (f"{TRIGGER}; SELECT 2", [TRIGGER, "SELECT 2"]),
    (
        "create temp trigger t after insert on a begin select 1; end; select 2",
        ["create temp trigger t after insert on a begin select 1; end", "select 2"],
    ),
    (
        "CREATE TRIGGER t AFTER UPDATE OF end ON a BEGIN SELECT end FROM a; END; SELECT 2",
        ["CREATE TRIGGER t AFTER UPDATE OF end ON a BEGIN SELECT end FROM a; END", "SELECT 2"],
    ),
    ("SELECT trigger, begin FROM a; SELECT 2", ["SELECT trigger, begin FROM a", "SELECT 2"]),
    ("SELECT 'é\u00a0;'; SELECT é\u00a0", ["SELECT 'é\u00a0;'", "SELECT é\u00a0"]),
]

POSTGRESQL = [
    ("SELECT E'it\\'s; fine'; SELECT 2", ["SELECT E'it\\'s; fine'", "SELECT 2"]),
    ("SELECT e'\\\\'; SELECT 2", ["SELECT e'\\\\'", "SELECT 2"]),
    ("SELECT '\\'; SELECT 2", ["SELECT '\\'", "SELECT 2"]),
    ("SELECT $$a;b$$; SELECT 2", ["SELECT $$a;b$$", "SELECT 2"]),
    ("SELECT $x$a;$$;b$x$; SELECT 2", ["SELECT $x$a;$$;b$x$", "SELECT 2"]),
    ("SELECT a$b$c; SELECT d$b$e", ["SELECT a$b$c", "SELECT d$b$e"]),
    ("SELECT /* a /* ; */ b; */ 1; SELECT 2", ["SELECT /* a /* ; */ b; */ 1", "SELECT 2"]),
    ("SELECT tags ? 'a', tags[1]; SELECT 2", ["SELECT tags ? 'a', tags[1]", "SELECT 2"]),
    ("SELECT U&'d\\0061;t'; SELECT 2", ["SELECT U&'d\\0061;t'", "SELECT 2"]),
    (
        "CREATE RULE r AS ON INSERT TO a DO (SELECT 1; SELECT 2); SELECT 3",
        ["CREATE RULE r AS ON INSERT TO a DO (SELECT 1; SELECT 2)", "SELECT 3"],
    ),
    (
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN 1=1 THEN 2 END; END; "
            "SELECT 3"
        ),
        [
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN 1=1 THEN 2 END; END",
            "SELECT 3",
        ],
    ),
]


@pytest.mark.parametrize(("source", "expected"), SQLITE)
def test_sqlite_commands(source: str, expected: list[str]) -> None:
    assert [command.text for command in commands(source, Dialect.SQLITE)] == expected


@pytest.mark.parametrize(("source", "expected"), POSTGRESQL)
def test_postgresql_commands(source: str, expected: list[str]) -> None:
    assert [command.text for command in commands(source, Dialect.POSTGRESQL)] == expected


def split_by_sqlite(source: str) -> list[list[str]]:
    """Cut at each semicolon after which SQLite calls the text complete."""
    found, piece = [], ""
    for character in source:
        piece += character
        if character == ";" and sqlite3.complete_statement(piece):
            found.append(piece)
            piece = ""
    found.append(piece)
    cut = [[t.text for t in tokens(part, Dialect.SQLITE)] for part in found]
    return [part[:-1] if part[-1:] == [";"] else part for part in cut if part not in ([], [";"])]


def split_by_us(source: str) -> list[list[str]]:
    return [[t.text for t in command.tokens] for command in commands(source, Dialect.SQLITE)]


@pytest.mark.parametrize("source", [source for source, _ in SQLITE])
def test_sqlite_agrees_on_the_table(source: str) -> None:
    assert split_by_us(source) == split_by_sqlite(source)


def test_sqlite_agrees_on_random_scripts() -> None:
    pieces = ["SELECT 1", "';'", '"a;""b"', "[;]", "`;`", "-- ;'\n", "/* ; ' */", ";", ";", "x",
              "CASE WHEN a THEN b END", "\n", "''", "--\n", "/**/"]  # fmt: skip
    body = "CREATE TRIGGER t AFTER INSERT ON a BEGIN {} ; END ;"
    source_of_chance = random.Random(20261121)
    for _ in range(1_000):
        script = [source_of_chance.choice(pieces) for _ in range(source_of_chance.randint(1, 12))]
        if source_of_chance.random() < 0.4:
            script.insert(0, body.format(" ".join(script)))
        source = " ".join(script)
        assert split_by_us(source) == split_by_sqlite(source), source


@pytest.mark.parametrize(
    ("dialect", "source", "line", "message"),
    [
        (
            Dialect.SQLITE,
            "SELECT 1;\nSELECT 'a\n",
            2,
            "the quote ' that opens here is never closed",
        ),
        (Dialect.SQLITE, 'SELECT "a', 1, 'the quote " that opens here is never closed'),
        (Dialect.SQLITE, "SELECT [a", 1, "the quote [ that opens here is never closed"),
        (Dialect.SQLITE, "\n\n/* a", 3, "the comment /* that opens here is never closed"),
        (
            Dialect.SQLITE,
            "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1;",
            1,
            "the trigger that starts here is never closed: expected '; END;'",
        ),
        (Dialect.SQLITE, "SELECT \x01", 1, "the character '\\x01' has no place in SQL"),
        (Dialect.POSTGRESQL, "SELECT E'a\\'", 1, "the quote E' that opens here is never closed"),
        (Dialect.POSTGRESQL, "SELECT\n$a$ $b$", 2, "the $a$ that opens here is never closed"),
        (Dialect.POSTGRESQL, "/* /* */", 1, "the comment /* that opens here is never closed"),
        (
            Dialect.POSTGRESQL,
            "SELECT (1; SELECT 2",
            1,
            "a parenthesis of this command is never closed: expected ')'",
        ),
        (
            Dialect.POSTGRESQL,
            'SELECT U&"\\0061"',
            1,
            'names written U&"..." are refused: write the name itself',
        ),
    ],
)
def test_unclosed(dialect: Dialect, source: str, line: int, message: str) -> None:
    with pytest.raises(SqlError) as caught:
        commands(source, dialect)
    assert (caught.value.line, caught.value.message) == (line, message)


def test_lines_are_counted_through_strings_and_comments() -> None:
    source = "SELECT 'a\nb' /* c\nd */ -- e\n, 1;\n\nSELECT 2"
    found = commands(source, Dialect.SQLITE, first_line=10)
    assert [command.line for command in found] == [10, 15]
    assert [token.line for token in found[0].tokens] == [10, 10, 13, 13]


def test_names_are_read_as_the_engine_reads_them() -> None:
    found = list(tokens('Quotes "A""b" [c d] `e` É', Dialect.SQLITE))
    assert [token.name for token in found] == ["quotes", 'A"b', "c d", "e", "É"]
    assert [token.kind is Kind.WORD for token in found] == [True, False, False, False, True]

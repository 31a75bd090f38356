"""Everything that reads bytes of strangers, as functions that a fuzzer can call.

Each takes any bytes, and raises what is a finding: any exception but the documented ones, or two
answers that contradict each other.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from nats.aio.subscription import Subscription

from dbservice.bus import wire
from dbservice.bus.connection import SurvivingClient
from dbservice.embedded import Broker
from dbservice.engine.columns import Column
from dbservice.engine.dialect import dialect_of
from dbservice.engine.tables import Table
from dbservice.migrate import files, script
from dbservice.protocol import OPERATIONS, RequestError
from dbservice.protocol.codec import decode_request, encode_request
from dbservice.protocol.filters import parse_filters
from dbservice.protocol.names import namespace
from dbservice.protocol.rows import ColumnType
from dbservice.protocol.subjects import Address
from dbservice.server.incoming import read
from dbservice.sql.query import Query
from dbservice.sqltext.dialects import Dialect
from dbservice.sqltext.keywords import words
from dbservice.sqltext.lexer import SqlError, commands, tokens
from dbservice.sqltext.qualify import qualify
from dbservice.storage.where import Where
from reference_plugin_quote_db.chat import parser
from reference_plugin_quote_db.errors import ValidationError
from tests.attack import fuzz as hostile

PLUGIN = namespace("quote-db")


@dataclass(frozen=True)
class Reader:
    """Something that reads bytes of strangers.

    Attributes:
        name: of what reads.
        reads: reads them.
        longest: bytes that it can be sent at the most.
        words: what a fuzzer would not find by itself within its time.
        examples: what is read well, to begin with.
    """

    name: str
    reads: Callable[[bytes], None]
    longest: int
    words: Sequence[str]
    examples: Sequence[bytes]


# --- requests ------------------------------------------------------------------------------------

_OPERATIONS = [(Address(at[0], at[1], PLUGIN), each) for at, each in OPERATIONS.items()]


def read_payload(data: bytes) -> None:
    """A payload is a request, the same one when it is sent again, or refused with a code."""
    address, operation = _OPERATIONS[data[0] % len(_OPERATIONS) if data else 0]
    try:
        request = decode_request(operation, address, data[1:])
        again = encode_request(request)
    except RequestError:
        return
    repeated = decode_request(operation, address, again)
    assert repeated == request, (request, repeated)


def read_subject(data: bytes) -> None:
    """Subject, headers and deadline of whatever comes are read, or refused with a code."""
    subject, _, rest = data.decode("utf-8", "surrogateescape").partition("\n")
    headers = dict(line.partition(":")[::2] for line in rest.split("\n"))
    incoming = read(subject, b"{}", taken_at=0.0, sent=headers)
    assert incoming.request_id.isascii()
    assert incoming.is_late in (True, False)
    try:
        incoming.decoded().namespace()
    except RequestError:
        return


# --- filters -------------------------------------------------------------------------------------

_TYPES = {
    "text": ColumnType.TEXT,
    "n": ColumnType.INTEGER,
    "x": ColumnType.FLOAT,
    "b": ColumnType.BOOLEAN,
    "at": ColumnType.DATETIME,
    "tags": ColumnType.JSON,
}
_COLUMNS = {"id": Column("id", ColumnType.INTEGER, primary_key=True)}
_COLUMNS |= {name: Column(name, kind) for name, kind in _TYPES.items()}
_TABLES = [Table("t", "quote_db__t", _COLUMNS, dialect_of(dialect)) for dialect in Dialect]


def read_filters(data: bytes) -> None:
    """A filter is SQL with a parameter for each placeholder, or refused with a code."""
    try:
        sent = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    for table in _TABLES:
        where = Where(table)
        try:
            sql = where.render(parse_filters(sent))
        except RequestError:
            continue
        assert _placeholders(sql, table) == len(where.parameters), (sql, where.parameters)


def _placeholders(sql: str, table: Table) -> int:
    """Return how many there are outside of texts and names; both engines' dialects write `?`."""
    kinds = tokens(sql, Dialect.SQLITE)
    return sum(token.text == "?" for token in kinds)


# --- SQL -----------------------------------------------------------------------------------------


def read_migration(data: bytes) -> None:
    """A migration file is statements on the plugin's own tables, or refused with a code."""
    try:
        migration = files.parse("001_fuzzed.sql", data)
    except RequestError:
        return
    for dialect in Dialect:
        for direction in files.Direction:
            try:
                script.prepare(migration, direction, PLUGIN, dialect)
            except RequestError:
                continue


def read_statements(data: bytes) -> None:
    """What a lexer cuts is the text; what the policy lets through, it lets through again."""
    text = data.decode(errors="replace").replace("\0", " ")
    for dialect in Dialect:
        try:
            for command in commands(text, dialect):
                qualified = qualify(command, PLUGIN, dialect)
                again = commands(qualified, dialect)
                assert [qualify(each, PLUGIN, dialect) for each in again] == [qualified], qualified
        except SqlError:
            continue


def read_query(data: bytes) -> None:
    """A query of the SQL tier is one SELECT, or refused with a code."""
    text = data.decode(errors="replace")
    for dialect in Dialect:
        try:
            query = Query(text, dialect)
            table = _TABLES[list(Dialect).index(dialect)]
            query.checked(dict.fromkeys(query.tables, table), [1, "a"])
        except RequestError:
            continue


# --- chat ----------------------------------------------------------------------------------------


def read_chat(data: bytes) -> None:
    """A line of chat is a command; words that were joined are found again."""
    text = data.decode(errors="replace")
    command = parser.parse(text)
    parser.number(text)
    parser.number_and_word(command.arguments)
    assert isinstance(parser.unquoted(text), str)
    try:
        parser.text_and_author(command.arguments)
    except ValidationError:
        return
    assert parser.unquoted(parser.join([f" {text} "])) == f" {text} "


# --- the bus -------------------------------------------------------------------------------------


def read_frames(data: bytes) -> None:
    """Frames are the same ones in whatever chunks they come, or no frames of the protocol."""
    size = max(7, len(data) // 100)
    whole, cut = _frames([data]), _frames([data[at:][:size] for at in range(0, len(data), size)])
    assert whole == cut, (whole, cut)


def _frames(chunks: Sequence[bytes]) -> list[tuple[Any, ...]] | None:
    frames, found = wire.Frames(), []
    try:
        for chunk in chunks:
            found += [
                (frame.verb, frame.head, frame.header_block, frame.payload)
                for frame in frames.feed(chunk)
            ]
    except wire.MalformedError:
        return None
    return found


class _Link:
    """A client that hears and says nothing."""

    def feed(self, data: bytes) -> None:
        assert data.endswith(wire.CRLF)

    def feed_eof(self) -> None:
        pass


def read_connection(data: bytes) -> None:
    """The in-process broker answers whatever a client writes, or hangs up."""
    connection = Broker(seed=1).accept(_Link())
    connection.receive(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')
    connection.receive(data)
    connection.close()


def read_delivery(data: bytes) -> None:
    """The service's client drops what a server delivers and nobody can read, and reads on."""
    _loop().run_until_complete(_delivered(data))


_loop = cache(asyncio.new_event_loop)


async def _delivered(data: bytes) -> None:
    client = SurvivingClient()
    subscription = Subscription(client, 1, "a")
    client._subs[1] = subscription
    block = wire.message(b"a", b"1", b"", data, min(len(data), data[0] if data else 0))
    await client._ps.parse(block + wire.message(b"a", b"1", b"", b"next"))
    heard = [subscription._pending_queue.get_nowait() for _ in range(subscription.pending_msgs)]
    assert heard[-1].data == b"next", client.dropped


# --- the list ------------------------------------------------------------------------------------

_JSON_WORDS = ["true", "false", "null", "{}", "[]", '":', '",', "\\u0000", "\\ud800", "1e400"]
_FIELDS = sorted({name for _, each in _OPERATIONS for name in each.request.__struct_fields__})
_FILTER_WORDS = [*hostile._OPERATORS, *_TYPES, "2023-11-14T22:13:20Z", str(2**63)]
_SQL_WORDS = [
    *sorted(
        words(
            "SELECT FROM WHERE WITH RECURSIVE AS INSERT INTO VALUES UPDATE SET DELETE CREATE TABLE "
            "INDEX TRIGGER VIEW BEGIN END DROP ALTER ADD COLUMN RENAME TO UNIQUE CHECK DEFAULT ON "
            "REFERENCES PRIMARY KEY CASE WHEN THEN ELSE UNION ALL ORDER BY GROUP HAVING LIMIT IN "
            "CONFLICT DO NOTHING USING trigram JOIN LEFT LATERAL EXISTS NOT NULL IS LIKE"
        )
    ),
    *("-- UP\n", "-- DOWN\n", "-- UP (sqlite)\n", "-- IRREVERSIBLE: no\n", "/*", "*/", "--", "$$"),
    *("$a$", "E'", "U&'", "X'", "''", '""', "[a]", "`a`", "::", "->>", "||", "?", "$1", ":a", "@a"),
    *("quotes", "quote_db__quotes", "other__t", "sqlite_sequence", "json_each", "pg_catalog."),
]
_BUS_WORDS = [
    *(
        "PUB",
        "HPUB",
        "MSG",
        "HMSG",
        "SUB",
        "UNSUB",
        "PING",
        "PONG",
        "INFO",
        "CONNECT",
        "+OK",
        "-ERR",
    ),
    *("\r\n", "NATS/1.0", "NATS/1.0 503", " ", "\t", "_INBOX.", "rosey.db.", ">", "*"),
]


def _sent(rows: Sequence[tuple[str, Any]]) -> list[bytes]:
    names = [f"{address.family}.{address.operation}" for address, _ in _OPERATIONS]
    return [bytes([names.index(name)]) + json.dumps(body).encode() for name, body in rows]


_PAYLOADS = _sent(
    [
        ("kv.set", {"key": "k", "value": {"a": [1, 2.5, None, "é"]}, "ttl_seconds": 5}),
        ("row.select", {"table": "t", "filters": {"n": {"$gt": 1}}, "sort": {"field": "n"}}),
        ("row.insert", {"table": "t", "data": [{"n": 1}], "counters": {"c": 1}}),
        ("row.update", {"table": "t", "id": 1, "operations": {"n": {"$inc": 1}}}),
        ("row.aggregate", {"table": "t", "compute": {"s": {"$sum": "n"}}, "group_by": ["b"]}),
        (
            "row.schema.register",
            {"table": "t", "schema": {"fields": [{"name": "a", "type": "text"}]}},
        ),
        ("migrate.apply", {"version": "003", "dry_run": True}),
        ("sql.execute", {"query": "SELECT 1", "params": [1]}),
    ]
)
_FILTERS: list[Mapping[str, Any]] = [
    {"text": {"$like": "%a\\%_", "$ne": None}},
    {"$or": [{"n": {"$in": [1, None]}}, {"$not": {"x": {"$between": [0.5, 2]}}}]},
    {"at": {"$gte": "2023-11-14T22:13:20Z"}, "tags": {"$contains": [1]}, "b": True},
]
_MIGRATION = b"""-- Description: a table
-- UP
CREATE TABLE quotes (id INTEGER PRIMARY KEY, text TEXT NOT NULL CHECK (text <> ';'));
CREATE TRIGGER t AFTER INSERT ON quotes BEGIN UPDATE quotes SET text = 'a''b'; END;
-- UP (postgresql)
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$;
-- DOWN
DROP TABLE quotes;
"""
_STATEMENTS = [
    b"INSERT INTO quotes (text) SELECT q.text FROM quotes q WHERE q.id IN (1, 2);",
    b"WITH a AS (SELECT 1 AS n) SELECT n FROM a JOIN quotes ON quotes.id = a.n ORDER BY 1 LIMIT 5",
    b"ALTER TABLE quotes ADD COLUMN tags TEXT DEFAULT '[]' CHECK (json_valid(tags))",
    b"CREATE UNIQUE INDEX IF NOT EXISTS i ON quotes (lower(text)) WHERE id > 5",
]
_QUERIES = [
    b"SELECT text, n FROM quotes WHERE n = $1 AND text LIKE $2 ORDER BY n LIMIT 5",
    b"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) AS c FROM c",
    b"SELECT q.text, e.value FROM quotes q, json_each(q.tags) e",
]
_FRAMES = [
    b"PUB a.b 2\r\nhi\r\nPING\r\n",
    b"HPUB a _INBOX.x 12 14\r\nNATS/1.0\r\n\r\nhi\r\nSUB a.* q 1\r\n",
    b"MSG a 1 2\r\nhi\r\nHMSG a 1 b 22 24\r\nNATS/1.0\r\nA: bcdefg\r\n\r\nhi\r\n",
]
_SUBJECTS = [
    b"rosey.db.row.quote-db.schema.register\nRosey-Deadline:99\nRosey-Request-Id:a",
    b"rosey.db.kv.get\nNats-Msg-Id:1\ntraceparent:00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
]
_CHAT = [b'!quote add "a \\"b\\" c" Ada', b"add text -- Ada", "!quote add “a” b".encode(), b"#42"]

MESSAGE, COMMAND_LINE, FILE = 1024 * 1024, 4096, 256 * 1024

READERS = [
    Reader("payload", read_payload, MESSAGE, [*_JSON_WORDS, *_FIELDS, *_FILTER_WORDS], _PAYLOADS),
    Reader("subject", read_subject, COMMAND_LINE, ["rosey.db.", "kv", "row", "$SRV"], _SUBJECTS),
    Reader(
        "filters",
        read_filters,
        MESSAGE,
        [*_JSON_WORDS, *_FILTER_WORDS],
        [json.dumps(each).encode() for each in _FILTERS],
    ),
    Reader("migration", read_migration, FILE, _SQL_WORDS, [_MIGRATION]),
    Reader("statements", read_statements, FILE, _SQL_WORDS, _STATEMENTS),
    Reader("query", read_query, 10_000, _SQL_WORDS, _QUERIES),
    Reader("chat", read_chat, FILE, ["!quote", '"', '\\"', "--", "“", "”", "#"], _CHAT),
    Reader("frames", read_frames, MESSAGE, _BUS_WORDS, _FRAMES),
    Reader("connection", read_connection, MESSAGE, _BUS_WORDS, _FRAMES),
    Reader("delivery", read_delivery, MESSAGE, _BUS_WORDS, [b"\x0cNATS/1.0\r\n\r\nhi"]),
]

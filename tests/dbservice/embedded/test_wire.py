"""Bytes that must be answered with the same bytes as by a real nats-server.

nats-py never sends most of these; a broker that parses protocol must still know them.
"""

from __future__ import annotations

import asyncio
import re

import pytest
from nats.aio.transport import Transport

from tests.dbservice.embedded.worlds import PATIENCE, RealWorlds, World, embedded_world


def connect(**options: object) -> bytes:
    """Return a CONNECT line as nats-py sends it, with `options` set or (None) left out."""
    usual = {
        "verbose": "false",
        "pedantic": "false",
        "headers": "true",
        "no_responders": "true",
        "protocol": "1",
        "echo": "true",
    }
    fields = {**usual, **options}
    body = ",".join(f'"{name}":{value}' for name, value in fields.items() if value is not None)
    return f"CONNECT {{{body}}}\r\n".encode()


CONNECT = connect()
VERBOSE = connect(verbose="true")
PEDANTIC = connect(pedantic="true")
BARE = b'CONNECT {"verbose":false,"pedantic":false}\r\n'
NO_ECHO = connect(echo="false")

INBOXES = (b"i.*.*", b"i.*.b", b"i.a.b", b"*.a.*", b"i.a.*", b"i.>", b"i.a.>", b"i.*.>")

TALKS: dict[str, tuple[bytes, bytes]] = {
    # name: (what introduces the client, what it then sends)
    "nothing": (CONNECT, b""),
    "before connect": (b"", b"PUB a 0\r\n\r\nSUB a 1\r\nPUB a 2\r\nhi\r\n"),
    "connect twice": (CONNECT, CONNECT),
    "empty connect": (b"CONNECT {}\r\n", b"SUB a 1\r\nPUB a..b 0\r\n\r\n"),
    "no headers": (BARE, b"HPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n"),
    "no responders without headers": (connect(headers=None), b""),
    "connect with broken JSON": (b"CONNECT {bad\r\n", b""),
    "connect with a list": (b"CONNECT []\r\n", b""),
    "connect with nothing": (b"CONNECT\r\n", b""),
    "connect with wrong types": (b'CONNECT {"verbose":"yes"}\r\n', b""),
    "verbose": (
        VERBOSE,
        b"SUB a 1\r\nPUB a 2\r\nhi\r\nUNSUB 1\r\nUNSUB 9\r\nPUB a.* 0\r\n\r\nPONG\r\n",
    ),
    "verbose errors": (VERBOSE, b"SUB a..b 1\r\nPUB a 2000000\r\n"),
    "pedantic subject": (
        PEDANTIC,
        b"SUB > 1\r\nPUB a..b 0\r\n\r\nPUB a.* 0\r\n\r\nPUB a 0\r\n\r\n",
    ),
    "pedantic SUB": (PEDANTIC, b"SUB a..b 1\r\nUNSUB 7\r\n"),
    "unknown": (CONNECT, b"FOO\r\n"),
    "HTTP": (CONNECT, b"GET / HTTP/1.1\r\n\r\n"),
    "nearly PING": (CONNECT, b"PIX\r\n"),
    "more than PING": (CONNECT, b"PINGX\r\nPING and more\r\nPONGO\r\n"),
    "empty line": (CONNECT, b"\r\n"),
    "lower case": (
        CONNECT,
        b"sub a 1\r\npub a 2\r\nhi\r\nping\r\nhpub a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    ),
    "bare line feeds": (CONNECT, b"SUB a 1\nPUB a 2\nhi\r\nPONG\n"),
    "server operations": (CONNECT, b"+OK\r\nINFO {}\r\n"),
    "client error": (CONNECT, b"-ERR 'x'\r\n"),
    "MSG": (CONNECT, b"MSG a 1 0\r\n\r\n"),
    "blanks and tabs": (
        CONNECT,
        b"SUB  a   1 \r\nPUB  a   2 \r\nhi\r\nPUB a\tb\t2\r\nhi\r\nSUB\tb\t2\r\nPUB b 0\r\n\r\n",
    ),
    "SUB alone": (CONNECT, b"SUB\r\n"),
    "SUB blank": (CONNECT, b"SUB \r\n"),
    "SUB without id": (CONNECT, b"SUB a\r\n"),
    "SUB with too much": (CONNECT, b"SUB a b c d\r\n"),
    "SUB with bad subjects": (CONNECT, b"SUB a..b 1\r\nSUB a.>.b 2\r\nSUB .a 3\r\nSUB a. 4\r\n"),
    "SUB with inner wildcards": (
        CONNECT,
        b"SUB a.b> 1\r\nSUB a*b 3\r\nPUB a*b 0\r\n\r\nPUB a.b> 0\r\n\r\nPUB axb 0\r\n\r\n",
    ),
    "SUB with the same id": (CONNECT, b"SUB a 1\r\nSUB b 1\r\nPUB a 0\r\n\r\nPUB b 0\r\n\r\n"),
    "SUB with a textual id": (CONNECT, b"SUB a x1\r\nPUB a 2\r\nhi\r\n"),
    "SUB too long": (CONNECT, b"SUB " + b"a" * 5000 + b" 1\r\n"),
    "PUB alone": (CONNECT, b"PUB\r\n"),
    "PUB without size": (CONNECT, b"PUB a\r\n"),
    "PUB with a negative size": (CONNECT, b"PUB a -1\r\n"),
    "PUB with a textual size": (CONNECT, b"PUB a x\r\n"),
    "PUB with too much": (CONNECT, b"PUB a b c 1\r\nx\r\n"),
    "PUB longer than said": (CONNECT, b"PUB a 3\r\nhello\r\n"),
    "PUB shorter than said": (CONNECT, b"SUB a 1\r\nPUB a 2\r\nhi\nPING\r\n"),
    "PUB too big": (CONNECT, b"PUB a 2000000\r\n"),
    "PUB at the limit": (CONNECT, b"SUB a 1\r\nPUB a 1048576\r\n" + b"x" * 1048576 + b"\r\n"),
    "PUB far too big": (CONNECT, b"PUB a 99999999999\r\n"),
    "PUB too long": (CONNECT, b"PUB " + b"a" * 5000 + b" 0\r\n\r\n"),
    "PUB line at its limit": (CONNECT, b"PUB " + b"a" * 4094 + b" 0\r\n\r\n"),
    "PUB line over its limit": (CONNECT, b"PUB " + b"a" * 4095 + b" 0\r\n\r\n"),
    "PUB to bad subjects": (
        CONNECT,
        b"SUB > 1\r\nPUB a..b 0\r\n\r\nPUB .a 0\r\n\r\nPUB a. 0\r\n\r\nPUB a.* 0\r\n\r\n",
    ),
    "PUB with reply": (CONNECT, b"SUB a 1\r\nPUB a r 2\r\nhi\r\nPUB a r..x 2\r\nhi\r\n"),
    "PUB of protocol": (CONNECT, b"SUB a 1\r\nPUB a 10\r\nPUB b 1\r\nx\r\n\r\n"),
    "HPUB": (
        CONNECT,
        b"SUB a 1\r\nHPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\nHPUB a r 12 12\r\nNATS/1.0\r\n\r\n\r\n",
    ),
    "HPUB not checked": (
        CONNECT,
        b"SUB a 1\r\nHPUB a 10 10\r\n0123456789\r\nHPUB a 5 10\r\n0123456789\r\n",
    ),
    "HPUB with bad sizes": (CONNECT, b"HPUB a 10 5\r\n"),
    "HPUB with one size": (CONNECT, b"HPUB a 5\r\n"),
    "HPUB with a textual size": (CONNECT, b"HPUB a x 5\r\n"),
    "HPUB too big": (CONNECT, b"HPUB a 12 1048577\r\n"),
    "UNSUB alone": (CONNECT, b"UNSUB\r\n"),
    "UNSUB unknown": (CONNECT, b"UNSUB 99\r\n"),
    "UNSUB with too much": (CONNECT, b"UNSUB 1 2 3\r\n"),
    "UNSUB at once": (CONNECT, b"SUB a 1\r\nUNSUB 1\r\nPUB a 0\r\n\r\n"),
    "UNSUB after zero": (CONNECT, b"SUB a 1\r\nUNSUB 1 0\r\nPUB a 0\r\n\r\n"),
    "UNSUB after less than zero": (CONNECT, b"SUB a 1\r\nUNSUB 1 -2\r\nPUB a 0\r\n\r\n"),
    "UNSUB after text": (CONNECT, b"SUB a 1\r\nUNSUB 1 x\r\nPUB a 0\r\n\r\n"),
    "UNSUB after what came": (
        CONNECT,
        b"SUB a 1\r\nPUB a 0\r\n\r\nPUB a 0\r\n\r\nUNSUB 1 2\r\nPUB a 0\r\n\r\n",
    ),
    "UNSUB after more": (
        CONNECT,
        b"SUB a 1\r\nPUB a 0\r\n\r\nUNSUB 1 3\r\n" + b"PUB a 0\r\n\r\n" * 3,
    ),
    "UNSUB changed": (CONNECT, b"SUB a 1\r\nUNSUB 1 1\r\nUNSUB 1 3\r\n" + b"PUB a 0\r\n\r\n" * 4),
    "503": (
        CONNECT,
        b"SUB _I.* 9\r\nPUB no _I.x 2\r\nhi\r\nHPUB no _I.x 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    ),
    "503 and limits": (
        CONNECT,
        (
            b"SUB _I 9\r\nUNSUB 9 1\r\nPUB no _I 0\r\n\r\nPUB no _I 0\r\n\r\n"
            b"PUB _I 0\r\n\r\nPUB no _I 0\r\n\r\n"
        ),
    ),
    "503 to one of many inboxes": (
        CONNECT,
        b"".join(b"SUB %b %d\r\n" % (inbox, sid) for sid, inbox in enumerate(INBOXES))
        + b"".join(b"PUB no i.a.b 0\r\n\r\nUNSUB %d\r\n" % sid for sid in (3, 5, 7, 1, 0, 2, 6, 4)),
    ),
    "no 503 to groups": (CONNECT, b"SUB _I.* q 9\r\nPUB no _I.x 2\r\nhi\r\n"),
    "no 503 unasked": (BARE, b"SUB _I.* 9\r\nPUB no _I.x 2\r\nhi\r\n"),
    "no echo": (NO_ECHO, b"SUB a 1\r\nSUB a q 2\r\nPUB a 2\r\nhi\r\n"),
    "503 without echo": (NO_ECHO, b"SUB _I 2\r\nSUB a 1\r\nPUB a _I 2\r\nhi\r\n"),
    "one of a group": (CONNECT, b"SUB a g 1\r\nUNSUB 1\r\nSUB a g 2\r\nPUB a 0\r\n\r\n"),
    "not UTF-8": (CONNECT, b"SUB \xff.> 1\r\nPUB \xff.\xfe 1\r\n\xfd\r\n"),
}

PERMITTED: dict[str, tuple[bytes, bytes]] = {
    "no login": (b"", b"SUB a 1\r\n"),
    "login without user": (connect(), b""),
    "wrong password": (connect(user='"all"', **{"pass": '"x"'}), b""),
    "violations": (
        connect(user='"quote-db"', verbose="true", **{"pass": '"p"'}),
        (
            b"SUB rosey.> 1\r\nSUB rosey.> grp 2\r\nPUB Rosey.Row.x 3\r\nabc\r\n"
            b"UNSUB 1\r\nPUB rosey.db.x.quote-db.y 0\r\n\r\n"
        ),
    ),
    "denied names no responders": (
        connect(user='"quote-db"', **{"pass": '"p"'}),
        (
            b"SUB _INBOX_quote-db.> 1\r\nPUB no _INBOX_quote-db.1 0\r\n\r\n"
            b"PUB rosey.db.x.quote-db.y _INBOX_quote-db.1 0\r\n\r\n"
        ),
    ),
    "pedantic violation": (
        connect(user='"quote-db"', pedantic="true", **{"pass": '"p"'}),
        b"PUB a..b 0\r\n\r\nSUB a..b 1\r\n",
    ),
}

_INFO = re.compile(rb"INFO \{[^\n]*\r\n")


async def converse(transport: Transport, introduction: bytes, talk: bytes) -> bytes:
    """Send both parts, each followed by PING, and return all that comes back up to PONG or EOF."""
    await transport.readline()
    heard = b""
    for part in (introduction, talk):
        try:
            transport.writelines([part + b"PING\r\n"])
            await transport.drain()
        except ConnectionError:
            break
        heard += await _hear(transport)
    transport.close()
    return _INFO.sub(b"", heard)


async def _hear(transport: Transport) -> bytes:
    heard = b""
    while not heard.endswith(b"PONG\r\n"):
        try:
            data = await asyncio.wait_for(transport.read(65536), PATIENCE)
        except ConnectionError:
            return heard + b"<end>"
        if not data:
            return heard + b"<end>"
        # The INFO that follows the first PONG may hide it, and is the server's own business.
        heard = _INFO.sub(b"", heard + data)
    return heard


async def compare(name: str, ours: World, theirs: World, talk: tuple[bytes, bytes]) -> None:
    expected = await converse(await theirs.dial(), *talk)
    assert await converse(await ours.dial(), *talk) == expected, name


async def test_same_bytes_as_a_real_server(real_world: RealWorlds) -> None:
    for name, talk in TALKS.items():
        await compare(name, embedded_world("plain"), real_world("plain"), talk)


async def test_same_bytes_with_permissions(real_world: RealWorlds) -> None:
    for name, talk in PERMITTED.items():
        await compare(name, embedded_world("users"), real_world("users"), talk)


@pytest.mark.parametrize("name", ["verbose", "503", "HPUB", "PUB of protocol", "lower case"])
async def test_chunks_do_not_matter(name: str) -> None:
    """Commands may arrive cut anywhere: byte by byte must give what all at once gives."""
    introduction, talk = TALKS[name]
    at_once = await converse(await embedded_world("plain").dial(), introduction, talk)
    transport = await embedded_world("plain").dial()
    await transport.readline()
    heard = b""
    for part in (introduction, talk):
        for byte in part + b"PING\r\n":
            transport.write(bytes([byte]))
        heard += await _hear(transport)
    assert heard == at_once

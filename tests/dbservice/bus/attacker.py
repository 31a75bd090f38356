"""Whoever may publish, and writes to the server what no client library would."""

from __future__ import annotations

import random
from collections.abc import Mapping
from urllib.parse import urlparse

from nats.aio.transport import TcpTransport, Transport

from dbservice.bus import wire
from dbservice.embedded import Broker
from dbservice.embedded.client import MemoryTransport

CONNECT = wire.connect({"verbose": False, "pedantic": False, "headers": True, "protocol": 1})
ODD_BYTES = (0xFF, 0xC3, 0x80, 0x0B, 0x0C, 0x0D, 0x00, 0x1B, 0x7F, 0x85, 0xA0)


def _headed(subject: bytes, header_block: bytes, payload: bytes = b"{}") -> bytes:
    return wire.publication(subject, b"", header_block + payload, len(header_block))


HOSTILE: Mapping[str, bytes] = {
    "subject that is no UTF-8": wire.publication(b"rosey.db.\xff", b"", b"{}"),
    "reply that is no UTF-8": wire.publication(b"rosey.db.ping", b"_INBOX.\xff", b"{}"),
    "subject with a vertical tab": wire.publication(b"rosey.db.a\x0bb", b"", b"{}"),
    "subject with a form feed, large": wire.publication(b"rosey.db.a\x0cb", b"", b"x" * 9000),
    "subject with a carriage return": wire.publication(b"rosey.db.a\rb", b"", b"{}"),
    "subject with a NUL": wire.publication(b"rosey.db.a\x00b", b"", b"{}"),
    "reply with a vertical tab": wire.publication(b"rosey.db.ping", b"_INBOX.a\x0bb", b"{}"),
    "header block of one letter": _headed(b"rosey.db.ping", b"N"),
    "header block of one line end": _headed(b"rosey.db.ping", b"\r\n"),
    "header block without its end": _headed(b"rosey.db.ping", b"NATS/1.0\r\nA"),
    "header block of another protocol": _headed(b"rosey.db.ping", b"HTTP/1.1 200 OK\r\n\r\n"),
    "status line of garbage": _headed(b"rosey.db.ping", b"NATS/1.0 503 \xff\xfe\xfa\r\n\r\n"),
    "status that is no number": _headed(b"rosey.db.ping", b"NATS/1.0 \xff\xfe\xfa\r\n\r\n"),
    "header value beyond ASCII": _headed(b"rosey.db.ping", b"NATS/1.0\r\nA: \xc3\xa9\xff\r\n\r\n"),
    "header name beyond ASCII": _headed(b"rosey.db.ping", b"NATS/1.0\r\n\xff\xfe: b\r\n\r\n"),
    "header line without a colon": _headed(b"rosey.db.ping", b"NATS/1.0\r\nnothing\r\n\r\n"),
    "header block of many lines": _headed(
        b"rosey.db.ping", b"NATS/1.0\r\n" + b"".join(b"%x:\r\n" % n for n in range(5000)) + b"\r\n"
    ),
    "header block of one long line": _headed(
        b"rosey.db.ping", b"NATS/1.0\r\nA: " + b"a" * 20_000 + b"\r\n\r\n"
    ),
    "request id that is no UTF-8": _headed(
        b"rosey.db.ping", b"NATS/1.0\r\nRosey-Request-Id: \xff\r\n\r\n"
    ),
}
"""Publications that a server hands on as they are."""


async def dial(bus: str | Broker) -> Transport:
    """Return a connection of one's own, greeted and introduced."""
    transport: Transport
    if isinstance(bus, Broker):
        transport = MemoryTransport(bus)
        await transport.connect(urlparse(bus.url), 32768, 2)
    else:
        transport = TcpTransport()
        await transport.connect(urlparse(bus), 32768, 2)
    await transport.readline()
    transport.write(CONNECT)
    return transport


async def is_taken(transport: Transport) -> bool:
    """Return whether the server has read everything and has not hung up."""
    transport.write(wire.PING)
    heard = b""
    while not heard.endswith(wire.PONG):
        try:
            line = await transport.readline()
        except OSError:
            return False
        if not line:
            return False
        heard += line
    return True


def malformed(dice: random.Random) -> bytes:
    """Return a protocol block that is wrong in some way, or a right one with wrong contents."""
    subject = b"rosey.db." + _bytes(dice, 12)
    reply = dice.choice([b"", b"_INBOX." + _bytes(dice, 8)])
    header_block = dice.choice([b"", b"NATS/1.0", b"NATS/1.0\r\n", b"NATS/1.0 503 ", b"N"])
    if header_block:
        header_block += _bytes(dice, 20) + dice.choice([b"", b"\r\n", b"\r\n\r\n"])
    payload = _bytes(dice, 40)
    block = wire.publication(subject, reply, header_block + payload, len(header_block))
    if dice.random() < 0.15:  # not even the server can read this
        at = dice.randrange(len(block))
        block = block[:at] + _bytes(dice, 3) + block[at + dice.randrange(3) :]
    return block


def _bytes(dice: random.Random, most: int) -> bytes:
    """Return bytes without what parts words and lines, the odd ones among them."""
    return bytes(
        dice.choice(ODD_BYTES) if dice.random() < 0.3 else dice.randrange(0x21, 0x7F)
        for _ in range(dice.randint(1, most))
    )

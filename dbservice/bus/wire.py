"""Frames of the NATS client protocol: written and parsed here and nowhere else.

A frame is one line, and for the four verbs that carry a message a body, too, whose size is the
line's last word. Words are separated by blanks and tabs, and nothing else: whatever
other bytes a hostile publisher puts into a subject, a server hands them on as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

CRLF = b"\r\n"
PING = b"PING\r\n"
PONG = b"PONG\r\n"
OK = b"+OK\r\n"

PUBLICATIONS = frozenset((b"PUB", b"HPUB"))
MESSAGES = frozenset((b"MSG", b"HMSG"))
_HEADED = frozenset((b"HPUB", b"HMSG"))
_WITH_BODY = PUBLICATIONS | MESSAGES
_NO_RESPONDERS = b"NATS/1.0 503"
_SIZE = re.compile(rb"\d{1,9}")


class MalformedError(ValueError):
    """These bytes are no frame of the NATS protocol."""


# --- parsing -----------------------------------------------------------------------------------


class Line(NamedTuple):
    """The first line of a frame.

    Attributes:
        verb: its first word, as it was written.
        arguments: what follows the first blank.
        is_bare: there is no blank.
        end: where the next byte is.
    """

    verb: bytes
    arguments: bytes
    is_bare: bool
    end: int


class Head(NamedTuple):
    """What the line of a frame with a body says.

    Attributes:
        subject: where the message goes.
        sid: which subscription gets it; empty for a publication.
        reply: where answers go; empty for none.
        header_size: bytes of the body that are the header block; 0 for none.
        size: bytes of the body.
    """

    subject: bytes
    sid: bytes
    reply: bytes
    header_size: int
    size: int


class Frame(NamedTuple):
    """One frame, of either direction.

    Attributes:
        verb: in capitals, for example `PUB`.
        arguments: the rest of its line.
        head: what the line says of the body; None for verbs that have none.
        body: header block and payload.
        raw: all of it as it came.
    """

    verb: bytes
    arguments: bytes
    head: Head | None
    body: bytes
    raw: bytes


def line_at(data: bytes, position: int) -> Line | None:
    """Return the line that begins at `position`, or None if it is not complete."""
    end = data.find(b"\n", position)
    if end < 0:
        return None
    line = data[position : end - 1 if data[end - 1 : end] == b"\r" else end]
    verb, blank, arguments = line.partition(b" ")
    if b"\t" in verb:
        verb, blank, arguments = line.replace(b"\t", b" ").partition(b" ")
    return Line(verb, arguments, not blank, end + 1)


def words(arguments: bytes) -> list[bytes]:
    """Return the words of a line."""
    if b"\t" in arguments:
        arguments = arguments.replace(b"\t", b" ")
    return [word for word in arguments.split(b" ") if word]


def head_of(verb: bytes, arguments: bytes) -> Head:
    """Return what the line of a frame with a body says.

    Args:
        verb: `PUB`, `HPUB`, `MSG` or `HMSG`.
        arguments: the rest of the line.

    Raises:
        MalformedError: it is not such a line.
    """
    given = words(arguments)
    has_sid, is_headed = verb in MESSAGES, verb in _HEADED
    if not 0 <= len(given) - 2 - has_sid - is_headed <= 1:
        raise MalformedError(f"{verb.decode()} with {len(given)} words")
    size = _size(given[-1])
    header_size = _size(given[-2]) if is_headed else 0
    if header_size > size:
        raise MalformedError("more header than body")
    has_reply = len(given) - 2 - has_sid - is_headed
    return Head(
        given[0],
        given[1] if has_sid else b"",
        given[1 + has_sid] if has_reply else b"",
        header_size,
        size,
    )


class Frames:
    """Cuts a stream into frames, in whatever chunks it comes."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._held = self._needed = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with `data`; the iterator has to be exhausted.

        Raises:
            MalformedError: this is not the NATS protocol.
        """
        self._chunks.append(data)
        self._held += len(data)
        if self._held < self._needed:
            return
        held, position = b"".join(self._chunks), 0
        self._needed = 0
        while (line := line_at(held, position)) is not None:
            verb, head, end = line.verb.upper(), None, line.end
            if verb in _WITH_BODY:
                head = head_of(verb, line.arguments)
                end += head.size + len(CRLF)
                if end > len(held):
                    self._needed = end - position
                    break
            body = held[line.end : end - len(CRLF)] if head is not None else b""
            yield Frame(verb, line.arguments, head, body, held[position:end])
            position = end
        rest = held[position:]
        self._chunks, self._held = [rest], len(rest)


def info_of(line: bytes) -> Any:
    """Return what a server says of itself in its first line.

    Raises:
        ValueError: it is not the line of a NATS server.
    """
    verb, _, fields = line.partition(b" ")
    if verb.upper() != b"INFO":
        raise MalformedError("no INFO")
    return json.loads(fields)


def is_no_responders(header_block: bytes) -> bool:
    """Return whether a header block is a server's answer that nobody listens."""
    return header_block.startswith(_NO_RESPONDERS)


def _size(digits: bytes) -> int:
    if not _SIZE.fullmatch(digits):
        raise MalformedError("a size that is no number")
    return int(digits)


# --- writing -----------------------------------------------------------------------------------


def connect(options: Mapping[str, Any]) -> bytes:
    """Return the frame with which a client introduces itself."""
    return b"CONNECT %b\r\n" % json.dumps(options).encode()


def info(fields: Mapping[str, Any]) -> bytes:
    """Return the frame with which a server introduces itself."""
    return b"INFO %b \r\n" % json.dumps(fields).encode()


def subscription(subject: bytes, sid: bytes) -> bytes:
    """Return the frame that subscribes."""
    return b"SUB %b %b\r\n" % (subject, sid)


def publication(subject: bytes, reply: bytes, body: bytes, header_size: int = 0) -> bytes:
    """Return the frame that publishes.

    Args:
        subject: where to.
        reply: where answers should go; empty for none.
        body: header block and payload.
        header_size: bytes of `body` that are the header block; 0 for none.
    """
    goes_back = reply + b" " if reply else b""
    if header_size:
        sizes = b"%d %d" % (header_size, len(body))
        return b"HPUB %b %b%b\r\n%b\r\n" % (subject, goes_back, sizes, body)
    return b"PUB %b %b%d\r\n%b\r\n" % (subject, goes_back, len(body), body)


def message(subject: bytes, sid: bytes, reply: bytes, body: bytes, header_size: int = 0) -> bytes:
    """Return the frame that delivers; as `publication`, to the subscription `sid`."""
    goes_back = reply + b" " if reply else b""
    if header_size:
        sizes = b"%d %d" % (header_size, len(body))
        return b"HMSG %b %b %b%b\r\n%b\r\n" % (subject, sid, goes_back, sizes, body)
    return b"MSG %b %b %b%d\r\n%b\r\n" % (subject, sid, goes_back, len(body), body)


def error(text: bytes) -> bytes:
    """Return the frame with which a server complains."""
    return b"-ERR '%b'\r\n" % text


def denied_publication(subject: bytes) -> bytes:
    """Return what a server complains of when a user may not publish to a subject."""
    return b'Permissions Violation for Publish to "%b"' % subject


def no_responders_header(subject: bytes) -> bytes:
    """Return the header block of the answer that says that nobody listens on `subject`."""
    return b"%b\r\nNats-Subject: %b\r\n\r\n" % (_NO_RESPONDERS, subject)

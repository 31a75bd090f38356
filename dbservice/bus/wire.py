"""Frames of the NATS client protocol: written and parsed here and nowhere else.

A frame is one line, and for the four verbs that carry a message a body, too, whose size is the
line's last word. Words are separated by blanks and tabs, and nothing else: whatever
other bytes a hostile publisher puts into a subject, a server hands them on as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

CRLF = b"\r\n"
PING = b"PING\r\n"
PONG = b"PONG\r\n"
OK = b"+OK\r\n"

PUBLICATIONS = frozenset((b"PUB", b"HPUB"))
_HEADED = frozenset((b"HPUB", b"HMSG"))
_LEAST_WORDS = {b"PUB": 3, b"MSG": 4, b"HPUB": 4, b"HMSG": 5}
_LONGEST_SIZE = 9
_NO_RESPONDERS = b"NATS/1.0 503"


class MalformedError(ValueError):
    """These bytes are no frame of the NATS protocol."""


# --- parsing -----------------------------------------------------------------------------------


class Line(msgspec.Struct, frozen=True):
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


class Head(msgspec.Struct, frozen=True):
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


class Frame(msgspec.Struct, frozen=True):
    """One frame, of either direction, where it stands in the stream: nothing is copied unasked.

    Attributes:
        verb: in capitals, for example `PUB`.
        head: what the line says of the body; None for verbs that have none.
    """

    verb: bytes
    head: Head | None
    stream: bytes
    start: int
    body_start: int
    end: int

    @property
    def arguments(self) -> bytes:
        """The rest of its line."""
        return _line(self.stream, self.start, self.body_start - 1).partition(b" ")[2]

    @property
    def header_block(self) -> bytes:
        """The header block; empty without one."""
        size = 0 if self.head is None else self.head.header_size
        return self.stream[self.body_start : self.body_start + size]

    @property
    def payload(self) -> bytes:
        """The body without its header block."""
        if self.head is None:
            return b""
        start = self.body_start + self.head.header_size
        return self.stream[start : self.body_start + self.head.size]

    @property
    def body(self) -> bytes:
        """Header block and payload; empty for verbs that have none."""
        size = 0 if self.head is None else self.head.size
        return self.stream[self.body_start : self.body_start + size]

    @property
    def raw(self) -> bytes:
        """All of it as it came."""
        return self.stream[self.start : self.end]


def line_at(data: bytes, position: int) -> Line | None:
    """Return the line that begins at `position`, or None if it is not complete."""
    end = data.find(b"\n", position)
    if end < 0:
        return None
    line = _line(data, position, end)
    verb, blank, arguments = line.partition(b" ")
    if b"\t" in verb:
        verb, blank, arguments = line.replace(b"\t", b" ").partition(b" ")
    return Line(verb, arguments, not blank, end + 1)


def words(line: bytes) -> list[bytes]:
    """Return the words of a line, or of a part of it."""
    given = line.split(b" ")
    if b"\t" in line or b"" in given:
        return [word for word in line.replace(b"\t", b" ").split(b" ") if word]
    return given


def head_of(verb: bytes, given: Sequence[bytes]) -> Head:
    """Return what the line of a frame with a body says.

    Args:
        verb: `PUB`, `HPUB`, `MSG` or `HMSG`.
        given: all words of the line.

    Raises:
        MalformedError: it is not such a line.
    """
    replies = len(given) - _LEAST_WORDS[verb]
    if replies not in (0, 1):
        raise MalformedError(f"{verb.decode()} with {len(given)} words")
    size = _size(given[-1])
    header_size = _size(given[-2]) if verb in _HEADED else 0
    if header_size > size:
        raise MalformedError("more header than body")
    if verb in PUBLICATIONS:
        return Head(given[1], b"", given[2] if replies else b"", header_size, size)
    return Head(given[1], given[2], given[3] if replies else b"", header_size, size)


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
        stream, position = b"".join(self._chunks), 0
        self._needed = 0
        while (line_end := stream.find(b"\n", position)) >= 0:
            given = words(_line(stream, position, line_end))
            verb, head, end = given[0].upper() if given else b"", None, line_end + 1
            if verb in _LEAST_WORDS:
                head = head_of(verb, given)
                end += head.size + len(CRLF)
                if end > len(stream):
                    self._needed = end - position
                    break
            yield Frame(verb, head, stream, position, line_end + 1, end)
            position = end
        rest = stream[position:]
        self._chunks, self._held = [rest], len(rest)


def _line(stream: bytes, start: int, end: int) -> bytes:
    """Return what stands before the line feed at `end`, without the carriage return."""
    return stream[start:end].removesuffix(b"\r")


def _size(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > _LONGEST_SIZE:
        raise MalformedError("a size that is no number")
    return int(digits)


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

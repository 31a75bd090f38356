"""Frames of the NATS protocol: cut from a stream in any chunks, and written."""

from __future__ import annotations

import pytest

from dbservice.bus import wire
from dbservice.bus.wire import Frames

STREAM = (
    b'CONNECT {"verbose": false, "name": "a b"}\r\n'
    b"PING\r\n"
    b"sub a.* q 1\r\n"
    b"UNSUB 1 5\r\n"
    b"PUB a.b 3\r\nx\r\n\r\n"
    b"PUB a.b\t_INBOX.1 0\r\n\r\n"
    b"HPUB a.b _INBOX.1 12 17\r\nNATS/1.0\r\n\r\nhello\r\n"
    b"MSG a.b 1 5\r\nPUB x\r\n"
    b"HMSG a.b 1 12 12\r\nNATS/1.0\r\n\r\n\r\n"
    b"-ERR 'Permissions Violation'\r\n"
)
VERBS = [b"CONNECT", b"PING", b"SUB", b"UNSUB", b"PUB", b"PUB", b"HPUB", b"MSG", b"HMSG", b"-ERR"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, len(STREAM)])
def test_chunks_of_any_size_give_the_same_messages(size: int) -> None:
    frames = Frames()
    chunks = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    cut = [frame for chunk in chunks for frame in frames.feed(chunk)]
    assert [frame.verb for frame in cut] == VERBS
    assert b"".join(frame.raw for frame in cut) == STREAM
    bodies = [frame.body for frame in cut if frame.body]
    assert bodies == [b"x\r\n", b"NATS/1.0\r\n\r\nhello", b"PUB x", b"NATS/1.0\r\n\r\n"]
    assert cut[5].head == wire.Head(b"a.b", b"", b"_INBOX.1", 0, 0)


def test_what_is_not_complete_is_held_back() -> None:
    frames = Frames()
    assert list(frames.feed(b"PUB a.b 5\r\nhel")) == []
    assert [frame.raw for frame in frames.feed(b"lo\r\nPI")] == [b"PUB a.b 5\r\nhello\r\n"]
    assert [frame.verb for frame in frames.feed(b"NG\r\n")] == [b"PING"]


@pytest.mark.parametrize("odd", [b"\x0b", b"\x0c", b"\xff", b"\x00", b"\r", b"\x85", b"\xa0"])
def test_only_blanks_and_tabs_part_words(odd: bytes) -> None:
    subject = b"rosey.db." + odd + b".x"
    [frame] = Frames().feed(wire.message(subject, b"7", b"_INBOX.1", b"body"))
    assert frame.head == wire.Head(subject, b"7", b"_INBOX.1", 0, 4)
    assert frame.body == b"body"


@pytest.mark.parametrize("reply", [b"", b"_INBOX.1"])
@pytest.mark.parametrize("header", [b"", b"NATS/1.0\r\nA: b\r\n\r\n"])
def test_what_is_written_is_read_again(reply: bytes, header: bytes) -> None:
    body = header + b"payload\r\n"
    delivered = wire.message(b"a.b", b"12", reply, body, len(header))
    published = wire.publication(b"a.b", reply, body, len(header))
    first, second = Frames().feed(delivered + published)
    assert first.head == wire.Head(b"a.b", b"12", reply, len(header), len(body))
    assert second.head == wire.Head(b"a.b", b"", reply, len(header), len(body))
    assert first.body == second.body == body


@pytest.mark.parametrize(
    "line",
    [
        b"MSG a 1\r\n",
        b"MSG a 1 x\r\n",
        b"MSG a 1 -1\r\n",
        b"MSG a 1 _INBOX.1 more 5\r\n",
        b"HMSG a 1 12\r\n",
        b"HMSG a 1 12 5\r\n",
        b"PUB a\r\n",
        b"PUB a 1000000000\r\n",
    ],
)
def test_what_is_no_frame_is_told(line: bytes) -> None:
    with pytest.raises(wire.MalformedError):
        list(Frames().feed(line))


def test_frames_before_a_malformed_one_are_given() -> None:
    given = []
    with pytest.raises(wire.MalformedError):
        given.extend(Frames().feed(b"PING\r\nMSG a 1\r\n"))  # extend stops at the error
    assert [frame.verb for frame in given] == [b"PING"]

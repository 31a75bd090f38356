"""The proxy before a real server: it cuts the stream at messages and changes nothing else."""

from __future__ import annotations

import pytest

from pytest_rosey.faults.proxy import Frames

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
    assert cut[5].fields == [b"a.b", b"_INBOX.1", b"0"]


def test_what_is_not_complete_is_held_back() -> None:
    frames = Frames()
    assert list(frames.feed(b"PUB a.b 5\r\nhel")) == []
    assert [frame.raw for frame in frames.feed(b"lo\r\nPI")] == [b"PUB a.b 5\r\nhello\r\n"]
    assert [frame.verb for frame in frames.feed(b"NG\r\n")] == [b"PING"]

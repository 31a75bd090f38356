"""A stand-in for a NATS connection: answers from a list and keeps what was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dbservice.protocol import RequestError, decode_request, encode_failure, encode_reply, find
from dbservice.protocol.messages import Reply


@dataclass(frozen=True)
class Asked:
    subject: str
    json: dict[str, Any]
    timeout: float
    others: dict[str, Any]


@dataclass(frozen=True)
class Message:
    data: Any


@dataclass
class StubNats:
    """Gives its replies in turn. Every request is held against the contract."""

    replies: list[Any]
    asked: list[Asked] = field(default_factory=list)

    async def request(
        self,
        subject: str,
        payload: bytes,
        /,
        *,
        timeout: float,  # noqa: ASYNC109 - as nats-py has it
        **others: Any,
    ) -> Message:
        address, operation = find(subject)
        decode_request(operation, address, payload)
        self.asked.append(Asked(subject, json.loads(payload), timeout, others))
        reply = self.replies.pop(0)
        if isinstance(reply, Exception) and not isinstance(reply, RequestError):
            raise reply
        return Message(_payload(reply))


def _payload(reply: Any) -> Any:
    match reply:
        case Reply():
            return encode_reply(reply)
        case RequestError():
            return encode_failure(reply)
        case Mapping():
            return json.dumps(reply).encode()
        case _:
            return reply

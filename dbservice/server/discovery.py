"""Makes the service known to `nats micro`: the verbs PING, INFO and STATS (SPEC 2.1, ADR-32).

Requests are not served through it: they keep the one subscription and the envelope of the
contract. What is told here are the operations as endpoints, and how often each was asked for.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import msgspec

from dbservice.protocol import subjects
from dbservice.protocol.codec import encode_json
from dbservice.protocol.errors import ErrorCode
from dbservice.protocol.messages import Request
from dbservice.protocol.operations import OPERATIONS, Operation
from dbservice.protocol.subjects import Family
from dbservice.runtime.health import Unwell
from dbservice.server.peers import Metadata, place

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

_ROOT: Final = "$SRV"
_TYPE: Final = "io.nats.micro.v1.{}_response"
_SEMVER = re.compile(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?(.*)")


@dataclass(slots=True)
class Tally:
    """How often one operation was asked for on this service.

    Attributes:
        requests: all of them.
        errors: those that were answered with an error.
        seconds: the time they took altogether.
        last_error: the code of the last error, empty if there was none.
    """

    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    last_error: str = ""

    def add(self, code: ErrorCode | None, seconds: float) -> None:
        """Count one more."""
        self.requests += 1
        self.seconds += seconds
        if code is not None:
            self.errors += 1
            self.last_error = code.value


class Discovery:
    """Answers the three verbs for one service.

    Args:
        nats: the service's connection.
        version: the installed version of the service.
        may_answer: tells whether a reply subject may be answered.

    Attributes:
        id: tells this replica from the others; also in the subject that reaches it alone.
        tallies: what to count in, by the request type of the operation.
        metadata: what else is told of the service.
    """

    def __init__(self, nats: Client, version: str, may_answer: Callable[[str], bool]) -> None:
        self.id = uuid4().hex
        self.tallies: Mapping[type[Request], Tally] = defaultdict(Tally)
        self._nats = nats
        self._version = _semantic(version)
        self._may_answer = may_answer
        self.metadata = Metadata(place=place())
        self._subscriptions: list[Subscription] = []
        self._verbs = {"PING": self._ping, "INFO": self._info, "STATS": self._stats}

    async def start(self) -> None:
        """Answer from now on; the caller flushes."""
        self.metadata.started = datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
        mine = subjects.SERVICE_NAME
        for whom in ("", f".{mine}", f".{mine}.{self.id}"):
            self._subscriptions.append(
                await self._nats.subscribe(f"{_ROOT}.*{whom}", cb=self._answer)
            )

    async def stop(self) -> None:
        """Answer no more."""
        while self._subscriptions:
            subscription = self._subscriptions.pop()
            if not self._nats.is_closed:
                await subscription.unsubscribe()

    async def ping(self, seconds: float) -> None:
        """Ask this very replica over NATS whether it is there.

        Args:
            seconds: how long the answer may take.

        Raises:
            Unwell: there is no connection to ask over.
            Exception: whatever nats-py raises if there is no answer.
        """
        if not self._nats.is_connected:
            raise Unwell("not connected to the NATS server")
        subject = f"{_ROOT}.PING.{subjects.SERVICE_NAME}.{self.id}"
        await self._nats.request(subject, b"", timeout=seconds)

    async def _answer(self, message: Msg) -> None:
        verb = self._verbs.get(message.subject.split(".")[1])
        if verb is None or not message.reply or not self._may_answer(message.reply):
            return
        await self._nats.publish(message.reply, encode_json({**self._identity(), **verb()}))

    def _identity(self) -> dict[str, Any]:
        return {
            "name": subjects.SERVICE_NAME,
            "id": self.id,
            "version": self._version,
            "metadata": msgspec.to_builtins(self.metadata),
        }

    def _ping(self) -> dict[str, Any]:
        return {"type": _TYPE.format("ping")}

    def _info(self) -> dict[str, Any]:
        endpoints = [
            {**_endpoint(operation), "metadata": {"summary": operation.summary}}
            for operation in OPERATIONS.values()
        ]
        return {
            "type": _TYPE.format("info"),
            "description": "Storage for Rosey's chat plugins: key-value, rows, migrations.",
            "endpoints": endpoints,
        }

    def _stats(self) -> dict[str, Any]:
        endpoints = [
            {**_endpoint(operation), **_figures(self.tallies[operation.request])}
            for operation in OPERATIONS.values()
        ]
        return {
            "type": _TYPE.format("stats"),
            "started": self.metadata.started,
            "endpoints": endpoints,
        }


def _endpoint(operation: Operation) -> dict[str, Any]:
    words = [operation.name]
    if operation.family is not Family.SERVICE:
        words.insert(0, operation.family)
    return {
        "name": "-".join(words).replace(".", "-"),
        "subject": subjects.subject_pattern(operation.family, operation.name),
        "queue_group": subjects.QUEUE_GROUP,
    }


def _figures(tally: Tally) -> dict[str, Any]:
    nanoseconds = round(tally.seconds * 1e9)
    return {
        "num_requests": tally.requests,
        "num_errors": tally.errors,
        "last_error": tally.last_error,
        "processing_time": nanoseconds,
        "average_processing_time": nanoseconds // tally.requests if tally.requests else 0,
        "data": None,
    }


def _semantic(version: str) -> str:
    """Return a version of a Python package in the form that the protocol asks for."""
    match = _SEMVER.match(version)
    if match is None:
        return "0.0.0"
    major, minor, patch, rest = match.groups()
    numbers = ".".join(str(int(part or 0)) for part in (major, minor, patch))
    suffix = "-".join(re.findall(r"[0-9A-Za-z]+", rest))
    return f"{numbers}-{suffix}" if suffix else numbers

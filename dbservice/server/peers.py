"""Which services answer on this bus, and whether this one may be among them.

All services of a bus share the requests. Were their databases two, each would hold half of what
was stored, and say of the other half that it is not there.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Final

import msgspec

from dbservice.protocol import subjects

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

log = logging.getLogger(__name__)

_QUESTION: Final = f"$SRV.INFO.{subjects.SERVICE_NAME}"
_FIRST_ANSWER: Final = 2.0
"""Seconds within which somebody answers, or the server says at once that nobody is there."""
_FURTHER_ANSWER: Final = 0.1
"""Seconds of silence after which no further answer is expected."""


class Metadata(msgspec.Struct, omit_defaults=True):
    """What a service says of itself beside the micro service protocol.

    Attributes:
        identity: tells its database from every other; empty on versions that had none.
        started: since when it takes requests, in UTC.
        place: where it runs.
    """

    identity: str = ""
    started: str = ""
    place: str = ""


class Peer(msgspec.Struct):
    """A service that answered.

    Attributes:
        id: of the replica.
        version: of its software.
        metadata: the rest.
    """

    id: str
    version: str
    metadata: Metadata = msgspec.field(default_factory=Metadata)

    def __str__(self) -> str:
        place = f" on {self.metadata.place}" if self.metadata.place else ""
        since = f", there since {self.metadata.started}" if self.metadata.started else ""
        return f"{subjects.SERVICE_NAME} {self.version} {self.id}{place}{since}"


class OtherServiceError(Exception):
    """A service of another database answers on this bus, and was there first."""

    def __init__(self, peer: Peer) -> None:
        reason = (
            "A service of another database answers on this bus"
            if peer.metadata.identity
            else "A service of an older version, which does not say what its database is, answers "
            "on this bus"
        )
        super().__init__(
            f"{reason}: {peer}. Two databases on one bus would each hold a part of the data. Stop "
            "that service, or serve this database on another NATS server or in an account of its "
            "own."
        )
        self.peer = peer


def place() -> str:
    """Return where this process runs, for whoever has to find it."""
    return f"{socket.gethostname()}, process {os.getpid()}"


class Peers:
    """Asks who else answers.

    Args:
        nats: the service's connection.
        own_id: of this replica.
        takes_unknown: services that say nothing of their database may be replicas of this one.
    """

    def __init__(self, nats: Client, own_id: str, *, takes_unknown: bool) -> None:
        self._nats = nats
        self._own_id = own_id
        self._takes_unknown = takes_unknown

    async def check(self, identity: str, started: str = "") -> None:
        """Look whether this service may take requests.

        Args:
            identity: of its database.
            started: since when it takes requests; empty if it does not yet.

        Raises:
            OtherServiceError: it has to withdraw.
        """
        for peer in await self.answering():
            if peer.id == self._own_id or peer.metadata.identity == identity:
                continue
            if not peer.metadata.identity and self._takes_unknown:
                log.warning("a service answers that does not say what its database is: %s", peer)
                continue
            came_first = (peer.metadata.started, peer.id) < (started, self._own_id)
            if not started or came_first:
                raise OtherServiceError(peer)
            log.warning("a service of another database answers, and has to withdraw: %s", peer)

    async def answering(self) -> list[Peer]:
        """Return all services that answer, this one among them if it does."""
        inbox = self._nats.new_inbox()
        answers = await self._nats.subscribe(inbox)
        try:
            await self._nats.publish(_QUESTION, reply=inbox)
            found: list[Peer] = []
            wait = _FIRST_ANSWER
            while True:
                message = await answers.next_msg(timeout=wait)
                if _is_no_responders(message):
                    return found
                found += _peer(message)
                wait = _FURTHER_ANSWER
        except TimeoutError:
            return found
        finally:
            await answers.unsubscribe()


def _is_no_responders(message: Msg) -> bool:
    return not message.data and (message.headers or {}).get("Status") == "503"


_decode = msgspec.json.Decoder(Peer).decode


def _peer(message: Msg) -> list[Peer]:
    try:
        return [_decode(message.data)]
    except msgspec.MsgspecError:
        return []  # not one of ours

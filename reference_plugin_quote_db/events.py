"""What the plugin tells the world, and hears of its replicas: `rosey.event.<plugin>.…`."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from dbservice.protocol.subjects import plugin_event_subject, schema_changed_subject
from reference_plugin_quote_db.bus import Bus, Message, Subscription

logger = logging.getLogger(__name__)

CHANGES: Final = ("deleted", "voted", "tagged")
"""Events about quotes that somebody may have read before."""


class QuoteEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """The payload of the events.

    Attributes:
        id: the quote.
        by: the user who added or deleted it; votes are secret.
    """

    id: int
    by: str = ""


class Events:
    """Publishes what happened to the quotes of one plugin."""

    def __init__(self, nats: Bus, namespace: str) -> None:
        self._nats = nats
        self._namespace = namespace

    async def publish(self, name: str, quote_id: int, by: str = "") -> None:
        """Tell that a quote was `added`, `deleted`, `voted` on or `tagged`.

        Never raises: the write is committed, and an error would report it as failed.
        """
        subject = plugin_event_subject(self._namespace, name)
        try:
            await self._nats.publish(subject, msgspec.json.encode(QuoteEvent(quote_id, by)))
        except Exception:
            logger.exception("Event %s for quote #%d was not published", name, quote_id)


class EventFeed:
    """Hears what other replicas did to quotes, and what migrations did to the table.

    Events that are lost (while the connection is) are not repeated, and a write whose answer was
    lost has none: other replicas show the quote as they know it until their cache is too old.

    Args:
        nats: where they are heard.
        namespace: the plugin's name.
        on_change: called with the id of a quote that is not what it was.
        on_upheaval: called when any quote may not be what it was.
    """

    def __init__(
        self,
        nats: Bus,
        namespace: str,
        *,
        on_change: Callable[[int], None],
        on_upheaval: Callable[[], None],
    ) -> None:
        self._nats = nats
        self._on_change = on_change
        self._on_upheaval = on_upheaval
        self._subjects: dict[str, Callable[[Any], Awaitable[None]]] = {
            plugin_event_subject(namespace, name): self._changed for name in CHANGES
        }
        self._subjects[schema_changed_subject(namespace)] = self._upheaved
        self._subscriptions: list[Subscription] = []

    async def start(self) -> None:
        """Subscribe; the listener, which starts next, waits until the server knows."""
        if not self._subscriptions:
            for subject, heard in self._subjects.items():
                self._subscriptions.append(await self._nats.subscribe(subject, cb=heard))

    async def stop(self) -> None:
        """Hear no more."""
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            if not self._nats.is_closed:
                await subscription.drain()

    async def _changed(self, message: Message) -> None:
        try:
            event = msgspec.json.decode(message.data, type=QuoteEvent)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            logger.warning("%s is no event of quotes; none of them is trusted", message.subject)
            self._on_upheaval()
        else:
            self._on_change(event.id)

    async def _upheaved(self, _message: Any) -> None:
        self._on_upheaval()

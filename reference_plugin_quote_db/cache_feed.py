"""What other replicas did to quotes, so that none is shown from the cache as it was before."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from dbservice.protocol.subjects import plugin_event_subject, schema_changed_subject
from reference_plugin_quote_db.bus import Bus, Message, Subscription
from reference_plugin_quote_db.events import QuoteEvent
from reference_plugin_quote_db.parts.cache import QuoteCache

logger = logging.getLogger(__name__)


class CacheFeed:
    """Drops from a cache what the plugin's events are about, and all of it after a migration.

    Events that are lost (while the connection is) leave a quote in the cache until it expires.
    """

    def __init__(self, nats: Bus, namespace: str, cache: QuoteCache) -> None:
        self._nats = nats
        self._cache = cache
        self._subjects = {
            plugin_event_subject(namespace, "*"): self._drop,
            schema_changed_subject(namespace): self._clear,
        }
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

    async def _drop(self, message: Message) -> None:
        try:
            event = msgspec.json.decode(message.data, type=QuoteEvent)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            logger.warning("%s is no event of quotes; the cache is cleared", message.subject)
            self._cache.clear()
        else:
            self._cache.drop(event.id)

    async def _clear(self, _message: Any) -> None:
        self._cache.clear()

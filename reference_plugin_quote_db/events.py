"""What the plugin tells the world: `rosey.event.<plugin>.{added,deleted,voted}` (SPEC 6)."""

from __future__ import annotations

import logging

import msgspec

from dbservice.protocol.subjects import plugin_event_subject
from reference_plugin_quote_db.bus import Bus

logger = logging.getLogger(__name__)


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

    async def added(self, quote_id: int, by: str) -> None:
        """Tell that a quote was added."""
        await self._publish("added", QuoteEvent(quote_id, by))

    async def deleted(self, quote_id: int, by: str) -> None:
        """Tell that a quote was deleted."""
        await self._publish("deleted", QuoteEvent(quote_id, by))

    async def voted(self, quote_id: int) -> None:
        """Tell that the score of a quote changed."""
        await self._publish("voted", QuoteEvent(quote_id))

    async def _publish(self, name: str, event: QuoteEvent) -> None:
        subject = plugin_event_subject(self._namespace, name)
        try:
            await self._nats.publish(subject, msgspec.json.encode(event))
        except Exception:
            # The write is committed: to raise here would report it as failed.
            logger.exception("Event %s for quote #%d was not published", name, event.id)

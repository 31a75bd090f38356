"""The plugin as it was, answering the chat of today: what runs when the switch is set."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from dbservice.client import Page
from dbservice.client.readiness import check_connected
from dbservice.runtime.health import Check, Unwell, health_endpoint, readiness_endpoint
from dbservice.runtime.http import Handler
from reference_plugin_quote_db import validation
from reference_plugin_quote_db.authorization import refuse_banned, refuse_change
from reference_plugin_quote_db.bus import Bus
from reference_plugin_quote_db.chat.commands import ChatCommands
from reference_plugin_quote_db.chat.listener import CommandListener
from reference_plugin_quote_db.errors import QuoteError, QuoteNotFound
from reference_plugin_quote_db.legacy.plugin import QuoteDBPlugin
from reference_plugin_quote_db.legacy.switch import FILE, SWITCH, legacy_file
from reference_plugin_quote_db.schema import Quote
from reference_plugin_quote_db.shipped import PLUGIN

logger = logging.getLogger(__name__)

LIMIT: Final = 10
"""Results of a search."""

NOT_THERE_YET: Final = "The quote database runs as it was before tags, statistics and favourites."


class LegacyFileMissing(RuntimeError):  # noqa: N818 - it is named like the plugin's other errors
    """There is no file to go back to."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{SWITCH} is set, but there is no file '{path}'. Name the one that the legacy plugin "
            f"wrote: {FILE}=/path/to/quotes.db"
        )


class LegacyChat:
    """The legacy plugin with the chat commands of today, as far as it can carry them out.

    Args:
        nats_client: where commands come from; None where they are typed.
        path: the legacy plugin's file; by default what the environment says.
        namespace: the name under which commands are heard.
    """

    def __init__(
        self, nats_client: Bus | None, path: Path | None = None, *, namespace: str = PLUGIN
    ) -> None:
        self.path = path or legacy_file()
        self.namespace = namespace
        self._nats = nats_client
        self._opened: tuple[int, int] | None = None
        self._plugin = QuoteDBPlugin(str(self.path))
        self._commands = ChatCommands(self, self, self, self)
        self._listener = (
            CommandListener(nats_client, namespace, self._commands) if nats_client else None
        )

    # -- life -------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """Open the file, say what is not in it, and listen for chat commands.

        Raises:
            LegacyFileMissing: if there is no such file. It is not made: that would be a quote
                database without quotes.
        """
        if not self.path.is_file():
            raise LegacyFileMissing(self.path)
        await self._plugin.initialize()
        self._opened = _identity(self.path)
        logger.warning("%s", self.notice)
        if self._listener is not None:
            await self._listener.start()

    async def close(self) -> None:
        """Finish the commands that were begun, and close the file."""
        if self._listener is not None:
            await self._listener.stop()
        await self._plugin.close()

    @property
    def notice(self) -> str:
        """What whoever starts this has to know."""
        return (
            f"{SWITCH} is set: the legacy plugin runs on '{self.path}'. Quotes and votes that were "
            "stored since the switch to the database service are not in that file; the service "
            f"still has them. Save them with: rosey export {self.namespace} {self.namespace}.jsonl"
        )

    def http_routes(self) -> Mapping[str, Handler]:
        """Return its pages: it needs no database service, and so asks none."""
        checks: dict[str, Check] = {"legacy_file": self._check_file}
        if self._nats is not None:
            checks["nats"] = partial(check_connected, self._nats)
        return {
            "/health": health_endpoint(checks),
            "/ready": readiness_endpoint(checks),
            f"/plugin/{self.namespace}/health": health_endpoint(checks),
        }

    async def _check_file(self) -> None:
        if _identity(self.path) != self._opened:
            raise Unwell("its file is not the one any more that was opened")
        await self._plugin.count_quotes()

    # -- chat -------------------------------------------------------------------------------------

    async def handle_command(self, user: str, role: str, text: str) -> str:
        """Return the answer to a line of chat such as `!quote get 42`."""
        return await self._commands.handle(user, role, text)

    async def submit_quote(self, text: str, author: str | None, user: str, role: str) -> int:
        """Add a quote. Limits and moderation came later; rules for what is typed hold."""
        refuse_banned(role, "adding quotes")
        return await self._plugin.add_quote(
            validation.quote_text(text), validation.author(author), validation.username(user)
        )

    async def get(self, quote_id: int) -> tuple[Quote | None, bool]:
        """Return a quote, None if there is none with this id; and that it is like that now."""
        return await self._plugin.get_quote(validation.quote_id(quote_id)), True

    async def random_quote(self) -> Quote | None:
        """Return any quote, or None if there are none."""
        return await self._plugin.random_quote()

    async def is_enabled(self, name: str) -> bool:  # noqa: ARG002 - asked for by name
        """Return True: switches came later."""
        return True

    async def search(self, query: str) -> tuple[Page, bool]:
        """Return the newest quotes that have `query` in their text or author."""
        found = await self._plugin.search_quotes(query, LIMIT + 1)
        return Page(found[:LIMIT], len(found), len(found) > LIMIT), True

    async def top_quotes(self, limit: int = 10) -> list[Quote]:
        """Return the quotes with the highest scores."""
        return await self._plugin.top_quotes(validation.limit(limit))

    async def count_quotes(self) -> int:
        """Return how many quotes there are."""
        return await self._plugin.count_quotes()

    async def upvote_quote(self, quote_id: int) -> int:
        """Add one to the score of a quote and return the new score."""
        await self._existing(quote_id)
        return await self._plugin.upvote_quote(quote_id)

    async def downvote_quote(self, quote_id: int) -> int:
        """Take one from the score of a quote and return the new score."""
        await self._existing(quote_id)
        return await self._plugin.downvote_quote(quote_id)

    async def delete_quote(self, quote_id: int, user: str, role: str) -> bool:
        """Delete a quote if this user may. Return whether there was one."""
        quote, _ = await self.get(quote_id)
        if quote is None:
            return False
        refuse_change(quote, user, role, "delete", "deleting quotes")
        return await self._plugin.delete_quote(quote_id)

    async def quotes_tagged(self, tag: str) -> Page:  # noqa: ARG002 - asked for by name
        """Refuse: there are no tags in the file."""
        raise QuoteError(NOT_THERE_YET)

    async def tag_quote(
        self,
        quote_id: int,  # noqa: ARG002
        tag: str,  # noqa: ARG002
        user: str,  # noqa: ARG002
        role: str,  # noqa: ARG002
        *,
        remove: bool,  # noqa: ARG002
    ) -> list[str]:
        """Refuse: there are no tags in the file."""
        raise QuoteError(NOT_THERE_YET)

    async def stats(self) -> list[dict[str, Any]]:
        """Refuse: the plugin as it was did not count by author."""
        raise QuoteError(NOT_THERE_YET)

    async def choose_favourite(self, user: str, quote_id: int) -> None:  # noqa: ARG002
        """Refuse: there are no favourites in the file."""
        raise QuoteError(NOT_THERE_YET)

    async def favourite_quote(self, user: str) -> Quote | None:  # noqa: ARG002
        """Refuse: there are no favourites in the file."""
        raise QuoteError(NOT_THERE_YET)

    async def _existing(self, quote_id: int) -> Quote:
        quote, _ = await self.get(quote_id)
        if quote is None:
            raise QuoteNotFound(quote_id)
        return quote


def _identity(path: Path) -> tuple[int, int] | None:
    """Return which file a path leads to, None if to none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino

"""Who may do what: rights, limits, moderation and the record of it, in front of the quotes.

Rights are given for exact names; being banned holds in any spelling.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final, Protocol
from uuid import uuid4

from dbservice.client import KeyValues
from dbservice.runtime.clock import Clock
from reference_plugin_quote_db import validation
from reference_plugin_quote_db.audit import AuditLog
from reference_plugin_quote_db.errors import ValidationError
from reference_plugin_quote_db.flags import MODERATION, FeatureFlags
from reference_plugin_quote_db.metrics import Observer, observed
from reference_plugin_quote_db.moderation import Moderator, folded
from reference_plugin_quote_db.parts.rate_limit import RateLimiter
from reference_plugin_quote_db.parts.write_queue import WriteQueue
from reference_plugin_quote_db.schema import ADDED_BY, AUTHOR, QUOTES_AN_HOUR, Quote
from reference_plugin_quote_db.validation import Drafts, same_user

MAY_CHANGE_ANY: Final = frozenset({"admin", "moderator"})
BANNED: Final = "banned"
UNLIMITED: Final = "admin"

LIMITS: Final = {"user": 10, "moderator": 50}
"""Quotes an hour by role; roles that are not here are users."""

_NO_LETTERS: Final = re.compile(r"[^a-z]")


class Guarded(Protocol):
    """What stands behind the rights. Methods say what `Quotes`' say."""

    async def insert(self, row: Quote, key: str) -> int: ...
    async def get_quote(self, quote_id: int) -> Quote | None: ...
    async def delete_quote(self, quote_id: int, *, by: str) -> bool: ...
    async def tag_quote(self, quote_id: int, tag: str) -> list[str]: ...
    async def untag_quote(self, quote_id: int, tag: str) -> list[str]: ...


class Authorization:
    """Adds, deletes and tags quotes for those who may.

    Args:
        quotes: what is done when somebody may.
        kv: where counts and the limit of users are.
        clock: tells the time to limits and records.
        drafts: makes rows.
        flags: tell whether texts are moderated.
        moderator: judges them.
        queue: holds quotes back while the service is away.
        observer: watches what is done.

    Attributes:
        limiter: counts what users add.
        audit: the security log.
    """

    def __init__(
        self,
        quotes: Guarded,
        kv: KeyValues,
        clock: Clock,
        drafts: Drafts,
        flags: FeatureFlags,
        moderator: Moderator,
        queue: WriteQueue,
        observer: Observer,
    ) -> None:
        self._quotes = quotes
        self._drafts = drafts
        self._kv = kv
        self._flags = flags
        self._moderator = moderator
        self.limiter = RateLimiter(kv, clock, observer.metrics.rate_limited)
        self.audit = AuditLog(clock)
        self._queue = queue
        self._observer = observer

    @observed("add")
    async def submit_quote(
        self, text: str, author: str | None, user: str, role: str, *, ip_address: str | None = None
    ) -> int:
        """Add a quote for somebody in the chat and return its id.

        Rights, moderation (if the flag `moderation_enabled` is on), the rate limit of the role,
        the security log; and while the service is away, the queue.

        Args:
            text: as for `add_quote()`.
            author: as for `add_quote()`.
            user: who adds it.
            role: `user`, `moderator`, `admin` or `banned`.
            ip_address: from where, for the security log.

        Raises:
            PermissionError: if they are banned.
            RateLimitError: if they have added as many as they may.
            ServiceUnavailableError: if the service is away for too long.
            ValidationError: if a value is not valid, or the moderation refuses it.
        """
        with self.audit.adding(user, text, ip_address) as facts:
            refuse_banned(role, "adding quotes")
            row = self._drafts.row(text, author, user)
            if await self._flags.is_enabled(MODERATION):
                row = self._drafts.row(*self.moderated(text, author), user)
            key = uuid4().hex  # one, however often the write is sent

            async def write() -> int:
                await self.limit(user, role, idempotency_key=f"{key}-limit")
                return await self._quotes.insert(row, key)

            facts["quote_id"] = quote_id = await self._queued(write)
        return quote_id

    async def delete_quote(self, quote_id: int, user: str, role: str) -> bool:
        """Delete a quote if this user may. Return whether there was one.

        Raises:
            PermissionError: if it is not theirs, and they are neither moderator nor admin; or if
                they are banned.
            ValidationError: if `quote_id` is not a positive integer.
        """
        quote = await self._quotes.get_quote(quote_id)
        if quote is None:
            return False
        with self.audit.deleting(quote_id, user, role):
            refuse_change(quote, user, role, "delete", "deleting quotes")
            return await self._quotes.delete_quote(quote_id, by=user)

    async def tag_quote(
        self, quote_id: int, tag: str, user: str, role: str, *, remove: bool
    ) -> list[str]:
        """Tag a quote, or take a tag from it, if this user may delete it. Return its tags.

        Raises:
            PermissionError: as for deleting it.
            QuoteNotFound: if there is no such quote.
            ValidationError: if `quote_id` or `tag` is not valid, or the moderation refuses it.
        """
        quote = await self._quotes.get_quote(quote_id)
        if quote is not None:
            refuse_change(quote, user, role, "tag", "tagging quotes")
        if remove:
            return await self._quotes.untag_quote(quote_id, tag)
        if await self._flags.is_enabled(MODERATION) and self._moderator.is_unwanted(tag):
            raise ValidationError("Tag contains inappropriate content")
        return await self._quotes.tag_quote(quote_id, tag)

    async def limit(self, user: str, role: str, *, idempotency_key: str | None = None) -> None:
        """Count one quote of this user; admins have no limit.

        Raises:
            RateLimitError: if that is more than somebody with this role may add in an hour.
        """
        if role == UNLIMITED:
            return
        limit = LIMITS.get(role, LIMITS["user"])
        if role != "moderator":
            limit = validation.whole_number(await self._kv.get(QUOTES_AN_HOUR)) or limit
        who = validation.user_key(user)
        await self.limiter.take(who, limit, idempotency_key=idempotency_key)

    def moderated(self, text: str, author: str | None) -> tuple[str, str]:
        """Return text and author as the moderation lets them pass.

        Raises:
            ValidationError: if it does not.
        """
        text = self._moderator.approved(validation.quote_text(text))
        author = self._drafts.author(author)
        if self._moderator.is_unwanted(author):
            raise ValidationError(f"Quote contains inappropriate content ({AUTHOR})")
        return text, author

    async def _queued(self, write: Callable[[], Awaitable[int]]) -> int:
        return await write() if self._queue.breaker.quiet else await self._queue.run(write)


def refuse_change(quote: Quote, user: str, role: str, verb: str, doing: str) -> None:
    """Do nothing for somebody who may delete and tag a quote: moderators any, others their own.

    Args:
        quote: which.
        user: who wants to.
        role: what they are.
        verb: what they want to do, for the message: `delete`.
        doing: the same as a noun: `deleting quotes`.

    Raises:
        PermissionError: for everybody else, and for those who are banned.
    """
    refuse_banned(role, doing)
    if role not in MAY_CHANGE_ANY and not same_user(quote[ADDED_BY], user):
        raise PermissionError(f"You can only {verb} your own quotes")


def refuse_banned(role: str, doing: str) -> None:
    """Do nothing for anybody who is not banned.

    Args:
        role: what they are.
        doing: what they want to do, for the message: `adding quotes`.

    Raises:
        PermissionError: for those who are, also if the role is `banned` only to the eye.
    """
    plain = role.lower() if role.isascii() else folded(role)
    if _NO_LETTERS.sub("", plain) == BANNED:
        raise PermissionError(f"User is banned from {doing}")

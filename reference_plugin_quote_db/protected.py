"""Who may add and delete quotes, how many, and which; and the record of it."""

from __future__ import annotations

from reference_plugin_quote_db import schema, validation
from reference_plugin_quote_db.assembly import Parts
from reference_plugin_quote_db.audit import AuditLog
from reference_plugin_quote_db.authorization import may_delete, refuse_banned
from reference_plugin_quote_db.errors import ValidationError
from reference_plugin_quote_db.flags import MODERATION, FeatureFlags
from reference_plugin_quote_db.observed import observed
from reference_plugin_quote_db.parts.rate_limit import RateLimiter
from reference_plugin_quote_db.resilient import ResilientQuotes


class ProtectedQuotes(ResilientQuotes):
    """Quotes behind one protection each; `submit_quote()` has all of them, and is for the chat."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.flags = FeatureFlags(parts.storage.kv)
        self._moderator = parts.moderator
        self._audit = AuditLog(parts.clock)
        self._limiter = RateLimiter(
            parts.storage.kv, parts.clock, parts.observer.metrics.rate_limited
        )

    @observed("add")
    async def submit_quote(
        self,
        text: str,
        author: str | None,
        user: str,
        role: str,
        *,
        ip_address: str | None = None,
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
        with self._audit.adding(user, ip_address) as facts:
            refuse_banned(role, "adding quotes")
            row = self._drafts.row(text, author, user)
            if await self.flags.is_enabled(MODERATION):
                row = self._drafts.row(*self._moderated(text, author), user)

            async def write(key: str) -> int:
                limit = await self._limiter.limit_of(role)
                if limit is not None:
                    await self._limiter.take(user, limit, idempotency_key=f"{key}-limit")
                return await self._insert(self._quotes, row, key)

            facts["quote_id"] = quote_id = await self._queued(write)
        return quote_id

    async def add_quote_ratelimited(
        self, text: str, author: str | None, added_by: str, max_per_hour: int = 10
    ) -> int:
        """As `add_quote()`, for users who have added less than `max_per_hour` in this hour.

        Raises:
            RateLimitError: for the others.
        """
        self._drafts.row(text, author, added_by)  # what is not valid does not count
        await self._limiter.take(added_by, max_per_hour)
        return await self.add_quote(text, author, added_by)

    async def add_quote_authorized(
        self, text: str, author: str | None, added_by: str, user_role: str
    ) -> int:
        """As `add_quote_ratelimited()`, with the limit of a role; admins have none.

        Raises:
            PermissionError: for the role `banned`.
            RateLimitError: if they have added as many as they may.
        """
        refuse_banned(user_role, "adding quotes")
        limit = await self._limiter.limit_of(user_role)
        if limit is None:
            return await self.add_quote(text, author, added_by)
        return await self.add_quote_ratelimited(text, author, added_by, limit)

    async def add_quote_moderated(self, text: str, author: str | None, added_by: str) -> int:
        """As `add_quote()`, without links and Markdown, and without words nobody wants to read.

        Raises:
            ValidationError: if there is such a word in the text or in the author.
        """
        return await self.add_quote(*self._moderated(text, author), added_by)

    async def add_quote_audited(
        self, text: str, author: str | None, added_by: str, ip_address: str | None = None
    ) -> int:
        """As `add_quote()`, and write the outcome to the security log."""
        with self._audit.adding(added_by, ip_address) as facts:
            facts["quote_id"] = quote_id = await self.add_quote(text, author, added_by)
        return quote_id

    async def delete_quote_authorized(self, quote_id: int, user: str, user_role: str) -> bool:
        """Delete a quote if this user may. Return whether there was one.

        Raises:
            PermissionError: if it is not theirs, and they are neither moderator nor admin; or if
                they are banned.
            ValidationError: if `quote_id` is not a positive integer.
        """
        quote = await self.get_quote(quote_id)
        if quote is None:
            return False
        with self._audit.deleting(quote_id, user, user_role):
            refuse_banned(user_role, "deleting quotes")
            if not may_delete(quote, user, user_role):
                raise PermissionError("You can only delete your own quotes")
            return await self.delete_quote(quote_id, by=user)

    def _moderated(self, text: str, author: str | None) -> tuple[str, str]:
        """Return text and author as the moderation lets them pass."""
        text = self._moderator.approved(validation.quote_text(text))
        author = self._drafts.author(author)
        if self._moderator.is_unwanted(author):
            raise ValidationError(f"Quote contains inappropriate content ({schema.AUTHOR})")
        return text, author

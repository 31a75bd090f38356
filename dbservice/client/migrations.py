"""The migrations of a plugin."""
# ruff: noqa: ASYNC109 - the timeout is that of the request, and part of the contract

from __future__ import annotations

from dbservice.client.channel import Channel, given
from dbservice.client.reply_reader import ReplyReader
from dbservice.protocol.migrations import (
    Applied,
    Apply,
    MigrationStatus,
    Repair,
    Repaired,
    Rollback,
    RolledBack,
    Status,
    Verified,
    Verify,
    Version,
)

__tracebackhide__ = True  # in a failing test pytest shows the line of the caller

_STATUS = ReplyReader(MigrationStatus, "up_to_date")
_APPLIED = ReplyReader(Applied)
_ROLLED_BACK = ReplyReader(RolledBack)
_VERIFIED = ReplyReader(Verified, "verified")
_REPAIRED = ReplyReader(Repaired, "repaired")


class Migrations:
    """The versions of the plugin's tables.

    Every method takes `timeout`, the seconds to wait for the reply (by default the client's; the
    larger the tables, the longer a migration takes), and raises a `StorageError`. Nothing here is
    sent twice. After a `RequestTimeout`, ask for the status: the service goes on.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def status(self, *, timeout: float | None = None) -> MigrationStatus:
        """Return which migrations are applied and which are pending."""
        return await self._channel.call(Status(), _STATUS, timeout)

    async def apply(
        self,
        version: Version | None = None,
        *,
        dry_run: bool = False,
        strict: bool = False,
        applied_by: str | None = None,
        timeout: float | None = None,
    ) -> Applied:
        """Apply what is pending.

        Args:
            version: up to and including this one (`3`, `"003"` or `"003_add_tags"`); by default
                all.
            dry_run: execute, report, and undo everything.
            strict: refuse to run what there is a warning about.
            applied_by: who asks, for the history.
            timeout: seconds.

        Raises:
            Forbidden: the server keeps this for the admin.
            MigrationFailed: a statement failed; nothing of that migration was kept.
            ChecksumMismatch: the file of an applied migration was changed.
            LockTimeout: another migration of this plugin is in progress.
        """
        request = Apply(
            version=given(version), dry_run=dry_run, strict=strict, applied_by=given(applied_by)
        )
        return await self._channel.call(request, _APPLIED, timeout)

    async def rollback(
        self,
        version: Version | None = None,
        *,
        to: Version | None = None,
        all: bool = False,  # noqa: A002 - the contract's word
        dry_run: bool = False,
        applied_by: str | None = None,
        timeout: float | None = None,
    ) -> RolledBack:
        """Roll back the newest migration, or more.

        Args:
            version: this one and all above it.
            to: all above this one, which stays; 0 rolls back all.
            all: every one.
            dry_run: execute, report, and undo everything.
            applied_by: who asks, for the history.
            timeout: seconds.

        Raises:
            Forbidden: the server keeps this for the admin.
            Irreversible: a migration declares that it cannot be rolled back.
        """
        request = Rollback(
            version=given(version),
            to=given(to),
            all=all,
            dry_run=dry_run,
            applied_by=given(applied_by),
        )
        return await self._channel.call(request, _ROLLED_BACK, timeout)

    async def verify(self, *, timeout: float | None = None) -> Verified:
        """Try all migrations on a scratch database: up, down and up again, with rows.

        What is stored stays as it is. A migration that fails there is a finding, not an error.

        Args:
            timeout: seconds; the trial takes about as long as applying everything three times.
        """
        return await self._channel.call(Verify(), _VERIFIED, timeout)

    async def repair(self, *, timeout: float | None = None) -> list[str]:
        """Record that the files of applied migrations were changed on purpose.

        Returns:
            The names of the migrations whose recorded checksums were replaced.

        Raises:
            Forbidden: the server keeps this for the admin.
        """
        return (await self._channel.call(Repair(), _REPAIRED, timeout)).repaired

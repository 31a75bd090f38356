"""The table of handlers: what the service does for each operation of the contract (SPEC 2.1).

Who may ask for an operation stands beside it in the contract's own table,
`dbservice.protocol.operations`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import cast

from dbservice.migrate import Migrator
from dbservice.protocol.messages import Reply
from dbservice.protocol.migrations import Apply, Repaired, Rollback
from dbservice.protocol.names import Namespace
from dbservice.protocol.sql import ExecuteQuery
from dbservice.protocol.subjects import Family
from dbservice.server.incoming import Call
from dbservice.server.loop_turns import LoopTurns
from dbservice.sql.tier import SqlTier
from dbservice.storage.database import Database
from dbservice.storage.operations import Work
from dbservice.transfer import Exporter, Importer

At = tuple[Family, str]
"""The place of an operation in the contract."""

Handler = Callable[[Call], Awaitable[Reply | bytes]]
"""Answers a call, with a reply or with the bytes that one was encoded to."""


def handlers(
    database: Database,
    exporter: Exporter,
    importer: Importer,
    migrations: Migrations,
    about: Mapping[At, Handler],
    *,
    is_alone: Callable[[], bool],
    loop_turns: LoopTurns,
) -> Mapping[At, Handler]:
    """Return the whole table.

    Args:
        database: where the data is.
        exporter: reads a namespace out.
        importer: reads one in.
        migrations: changes schemas.
        about: what the service says of itself.
        is_alone: tells whether no other request is being served.
        loop_turns: for what holds the event loop.
    """
    on_database: Mapping[At, Work] = {
        **database.operations.table,
        (Family.NAMESPACE, "describe"): exporter.describe,
        (Family.NAMESPACE, "export"): exporter.export,
        (Family.NAMESPACE, "import"): importer.take,
    }

    def executing(work: Work) -> Handler:
        return lambda call: database.execute(
            work, call.namespace(), call.operation, call.request, call.key, alone=is_alone()
        )

    tier = SqlTier(database.engine.dialect, database.max_reply)

    async def query(call: Call) -> Reply | bytes:
        if database.engine.apart is not None:
            return await executing(tier.execute)(call)
        request = cast("ExecuteQuery", call.request)
        turn = database.turn_of(call.namespace())
        work = await loop_turns.run(turn, lambda: tier.prepared(request))
        return await executing(work)(call)

    return {
        **{at: executing(work) for at, work in on_database.items()},
        (Family.SQL, "execute"): query,
        (Family.MIGRATE, "apply"): migrations.apply,
        (Family.MIGRATE, "rollback"): migrations.rollback,
        (Family.MIGRATE, "status"): migrations.status,
        (Family.MIGRATE, "verify"): migrations.verify,
        (Family.MIGRATE, "repair"): migrations.repair,
        **about,
    }


class Migrations:
    """The handlers of the migrate family.

    Args:
        migrator: does the work.
        database: has to know a plugin before its schema is changed.
        announce: called after a change with the plugin's namespace and its version.
    """

    def __init__(
        self,
        migrator: Migrator,
        database: Database,
        announce: Callable[[Namespace, int], Awaitable[None]],
    ) -> None:
        self._migrator = migrator
        self._database = database
        self._announce = announce

    async def apply(self, call: Call) -> Reply:
        """Apply what is pending."""
        namespace = await self._admitted(call)
        applied = await self._migrator.apply(namespace, cast("Apply", call.request))
        if applied.applied:
            await self._announce(namespace, applied.current_version)
        return applied

    async def rollback(self, call: Call) -> Reply:
        """Take back what was applied."""
        namespace = await self._admitted(call)
        rolled_back = await self._migrator.rollback(namespace, cast("Rollback", call.request))
        if rolled_back.rolled_back:
            await self._announce(namespace, rolled_back.current_version)
        return rolled_back

    async def status(self, call: Call) -> Reply:
        """Tell what was applied and what is pending."""
        namespace = call.namespace()
        await self._database.check_owner(namespace)
        return await self._migrator.status(namespace)

    async def verify(self, call: Call) -> Reply:
        """Run everything on a scratch copy."""
        return await self._migrator.verify(call.namespace())

    async def repair(self, call: Call) -> Reply:
        """Record the files as they are now."""
        namespace = await self._admitted(call)
        return Repaired(repaired=await self._migrator.repair(namespace))

    async def _admitted(self, call: Call) -> Namespace:
        namespace = call.namespace()
        await self._database.admit(namespace)
        return namespace

"""Runs the statements of one script, and says where one failed (SPEC 4)."""

from __future__ import annotations

import re
from typing import Any

from dbservice.engine.errors import EngineError, StatementTimeoutError, UnavailableError
from dbservice.engine.steps import Statement, Steps
from dbservice.migrate import search_statements
from dbservice.migrate.script import PreparedStatement, Script
from dbservice.protocol.errors import ErrorCode, RequestError
from dbservice.protocol.migrations import StatementReport

_PATH = re.compile(r"(?<![\w.])/(?:[^\s/'\"]+/)+[^\s/'\"]+")


def execute(script: Script) -> Steps[list[StatementReport]]:
    """Run every statement of a script.

    Raises:
        RequestError: MIGRATION_FAILED with file, line and the engine's reason, or TIMEOUT.
        UnavailableError: the database went away.
    """
    executed = []
    for statement in script.statements:
        try:
            if (yield from search_statements.ran(script, statement.sql)):
                executed.append(StatementReport(statement.sql, -1))
                continue
            result = yield Statement(statement.sql)
        except UnavailableError:
            raise
        except EngineError as error:
            raise failed(script, statement, error) from error
        rows = result.affected
        if statement.is_uncounted:
            rows = (yield Statement("SELECT changes()")).rows[0][0]
        executed.append(StatementReport(statement.sql, rows))
    return executed


def failed(script: Script, statement: PreparedStatement | None, error: EngineError) -> RequestError:
    """Return the reply for a statement that failed, with the engine's reason.

    The SQL is the developer's own, so the engine's words help here; paths in them are removed.

    Args:
        script: what ran.
        statement: which of its statements failed; None is the check at the end.
        error: what the engine said.
    """
    file = script.file.file
    reason = _PATH.sub("…", " ".join(str(error).split()))
    code = ErrorCode.MIGRATION_FAILED
    if isinstance(error, StatementTimeoutError):
        code, reason = ErrorCode.TIMEOUT, "it took longer than the service allows"
    place = (
        f"{file} line {statement.line}, {script.direction} statement {statement.number}"
        if statement
        else f"{file}, at the end of {script.direction}"
    )
    details: dict[str, Any] = {"file": file, "direction": script.direction.value}
    if statement:
        details |= {"line": statement.line, "statement": statement.number}
    return RequestError(
        code,
        f"{place}: {reason}. Nothing of this migration was kept.{_advice(reason)}",
        reason=reason,
        **details,
    )


_IN_THE_WAY = re.compile(r"error in (view|trigger) (\w+)")
_USED_BY_A_VIEW = re.compile(r"used by a view|other objects depend on it")


def _advice(reason: str) -> str:
    """Return what to do about a view or trigger that hinders a change of its table."""
    if found := _IN_THE_WAY.search(reason):
        kind, name = found[1].upper(), found[2]
        return (
            f" The {found[1]} speaks of a table that changes: write DROP {kind} {name} before the "
            f"change, and CREATE {kind} after it."
        )
    if _USED_BY_A_VIEW.search(reason):
        return (
            " A view reads it: write DROP VIEW before the change, and CREATE VIEW after it; or "
            "CASCADE, if the view shall go."
        )
    return ""

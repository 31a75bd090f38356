"""Whether statements run, tried on an empty SQLite database in memory."""

from __future__ import annotations

import sqlite3

from dbservice.protocol.names import Namespace
from dbservice.sqltext.dialects import Dialect
from dbservice.sqltext.lexer import commands
from dbservice.sqltext.qualify import qualify


class Sandbox:
    """A database in memory that takes one statement after the other.

    Args:
        namespace: of the plugin.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._connection = sqlite3.connect(":memory:", isolation_level=None)

    def close(self) -> None:
        """Throw the database away."""
        self._connection.close()

    def refusal(self, sql: str) -> str:
        """Execute statements; return why they do not run, or an empty string.

        Args:
            sql: with bare names; `qualify` accepted it.
        """
        try:
            for command in commands(sql, Dialect.SQLITE):
                self._connection.execute(qualify(command, self._namespace, Dialect.SQLITE))
        except sqlite3.Error as error:
            return f"SQLite says: {error}"
        return ""

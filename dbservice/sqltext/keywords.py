"""Words of SQL: those that show what stands where, and those that no migration may begin with."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """Return the words of `text`, which blanks separate."""
    return frozenset(text.split())


ENDS_FROM = words(
    """
    DO FETCH FOR GROUP HAVING LIMIT OFFSET ORDER RETURNING SELECT SET VALUES WHERE WINDOW
    """
)
"""After one of these a comma no longer separates tables."""

NOT_AN_ALIAS = words(
    """
    AS CROSS DEFAULT EXCEPT FROM FULL INDEXED INNER INTERSECT JOIN LEFT NATURAL NOT ON OUTER
    OVERRIDING RIGHT TABLESAMPLE UNION USING WITH
    """
)
"""These follow a table's name without being its alias, besides those of ENDS_FROM."""

BEFORE_PARENTHESIS = words(
    """
    ADD ALL ALWAYS AND ANY ARRAY AS BETWEEN BY CASE CHECK COLLATE COLUMN CONFLICT CONSTRAINT
    CROSS CUBE DEFAULT DISTINCT DO ELSE END ESCAPE EXCEPT EXCLUDE EXISTS FILTER FROM GENERATED
    GLOB GROUP GROUPS HAVING IDENTITY ILIKE IN INCLUDE INTERSECT INTERVAL INTO IS JOIN KEY
    LATERAL LIKE LIMIT MATERIALIZED NOT NULL OF OFFSET ON OR ORDER OVER PARTITION PRIMARY RANGE
    RETURNING ROLLUP ROW ROWS SELECT SET SETS SIMILAR SOME STORED THEN TO UNION UNIQUE USING
    VALUES VIRTUAL WHEN WHERE WITH WITHIN
    """
)
"""These may stand before a parenthesis without being the name of a function."""

BEFORE_STRING = words(
    """
    ALL AND ANY AS ASYMMETRIC BETWEEN BOTH BY CASE COLLATE DEFAULT DISTINCT ELSE END ESCAPE EXCEPT
    FOR FROM GLOB HAVING ILIKE IN INTERSECT IS ISNULL LEADING LIKE LIMIT NOT NOTNULL NULL OFFSET
    ON OR PLACING PRECISION RETURNING SELECT SET SIMILAR SYMMETRIC THEN TO TRAILING UESCAPE UNION
    USING VALUE VALUES VARIADIC VARYING WHEN WHERE ZONE
    """
)
"""A string behind one of these stands for itself; behind another word, the word is its type."""

OBJECT_WORDS = words(
    """
    check ck fk fkey idx index ix key pk tr trg trigger uidx uix uniq unique uq ux
    """
)
"""What the full name of an index or trigger may start with, before the plugin's prefix."""

TABLE_CONSTRAINTS = words("CHECK CONSTRAINT EXCLUDE FOREIGN LIKE PRIMARY UNIQUE")
"""What a part of CREATE TABLE starts with that is no column."""

ALTER_ACTIONS = frozenset({"ADD", "DROP", "ALTER", "RENAME", "VALIDATE"})

_ONE_TABLE = (
    "every table of a plugin stands for itself; write one table, with an index if it is large"
)

FORBIDDEN_TABLE_CLAUSES = {
    "PARTITION": _ONE_TABLE,
    "INHERITS": "every table of a plugin stands for itself; write its columns down",
}
"""Clauses of CREATE TABLE, behind its columns, with advice."""

_ONE_TRANSACTION = (
    "every migration runs in one transaction, which is committed when all of it succeeded; "
    "remove the line"
)
_OUTSIDE = "it cannot run inside a transaction, and every migration runs in one"
_CODE = "a plugin may not install code in the database"
_ONLY_OWN = "a plugin may touch only its own tables"

FORBIDDEN_COMMANDS = {
    "BEGIN": _ONE_TRANSACTION,
    "START": _ONE_TRANSACTION,
    "COMMIT": _ONE_TRANSACTION,
    "END": _ONE_TRANSACTION,
    "ROLLBACK": _ONE_TRANSACTION,
    "ABORT": _ONE_TRANSACTION,
    "SAVEPOINT": _ONE_TRANSACTION,
    "RELEASE": _ONE_TRANSACTION,
    "PREPARE": _ONE_TRANSACTION,
    "ATTACH": _ONLY_OWN,
    "DETACH": _ONLY_OWN,
    "PRAGMA": (
        "the service sets the connection up; foreign keys are off during a migration and checked "
        "at its end, so remove the line"
    ),
    "VACUUM": _OUTSIDE,
    "REINDEX": "it is work for the operator of the database, not for a migration",
    "ANALYZE": "it is work for the operator of the database, not for a migration",
    "COPY": "it reads and writes files; write INSERT … VALUES",
    "GRANT": "rights belong to the operator of the database",
    "REVOKE": "rights belong to the operator of the database",
    "DO": _CODE,
    "CALL": _CODE,
    "SET": "settings belong to the service; remove the line",
    "RESET": "settings belong to the service; remove the line",
    "TRUNCATE": "write DELETE FROM table",
    "COMMENT": "SQLite keeps no comments on tables; write it below '-- UP (postgresql)'",
    "LOCK": "every migration already runs alone; remove the line",
}
"""Commands with advice of their own, by their first word."""

FORBIDDEN_OBJECTS = {
    "TEMP": "a temporary thing outlives the migration on a pooled connection; use WITH or a table",
    "TEMPORARY": (
        "a temporary thing outlives the migration on a pooled connection; use WITH or a table"
    ),
    "VIRTUAL": "a virtual table runs an extension's code; use an ordinary table",
    "FUNCTION": _CODE,
    "PROCEDURE": _CODE,
    "RULE": _CODE,
    "EXTENSION": "extensions belong to the operator of the database",
    "SCHEMA": "each plugin's tables stand in the service's one schema",
    "DATABASE": _ONLY_OWN,
    "UNLOGGED": "its rows would be lost in a crash; use an ordinary table",
    "MATERIALIZED": "it is not kept fresh; use a view",
    "SEQUENCE": "use an identity column: id BIGINT GENERATED BY DEFAULT AS IDENTITY",
    "TYPE": "use TEXT with a CHECK",
}
"""Things that may not be created, altered or dropped, with advice."""

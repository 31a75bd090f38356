"""Who owns a namespace: two spellings of one table prefix never share it (SPEC 2.1)."""

from __future__ import annotations

from dbservice.engine.steps import Statement, Steps
from dbservice.protocol.errors import ErrorCode, RequestError
from dbservice.protocol.names import Namespace

_CLAIM = "INSERT INTO _namespaces VALUES (?, ?) ON CONFLICT (prefix) DO NOTHING"


def check(namespace: Namespace) -> Steps[bool]:
    """Return whether this spelling owns its namespace; False where nobody does yet.

    Raises:
        RequestError: NAMESPACE_CONFLICT if another spelling owns it.
    """
    result = yield Statement("SELECT plugin FROM _namespaces WHERE prefix = ?", (namespace.prefix,))
    if not result.rows:
        return False
    if result.rows[0][0] != namespace.plugin:
        raise RequestError(
            ErrorCode.NAMESPACE_CONFLICT,
            f"The plugin name '{namespace.plugin}' maps to tables that another spelling of this "
            "name owns ('-' and '_' are the same in table names). Use the other spelling.",
            got=namespace.plugin,
        )
    return True


def claim(namespace: Namespace) -> Steps[bool]:
    """Make sure that this spelling owns its namespace; always returns True.

    Raises:
        RequestError: NAMESPACE_CONFLICT if another spelling owns it.
    """
    if not (yield from check(namespace)):
        yield Statement(_CLAIM, (namespace.prefix, namespace.plugin))
        yield from check(namespace)
    return True


def release(namespace: Namespace) -> Steps[None]:
    """Let go of a namespace."""
    yield Statement("DELETE FROM _namespaces WHERE prefix = ?", (namespace.prefix,))


def owners() -> Steps[list[str]]:
    """Return the names of all plugins that own a namespace."""
    result = yield Statement("SELECT plugin FROM _namespaces ORDER BY plugin")
    return [row[0] for row in result.rows]

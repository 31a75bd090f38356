"""Who owns a namespace: two spellings of one table prefix never share it (SPEC 2.1)."""

from __future__ import annotations

from dbservice.engine.steps import Statement, Steps
from dbservice.protocol.errors import ErrorCode, RequestError
from dbservice.protocol.names import Namespace

_CLAIM = "INSERT INTO _namespaces VALUES (?, ?) ON CONFLICT (prefix) DO NOTHING"


_OWNER = """
SELECT n.plugin, EXISTS (SELECT 1 FROM _imports AS i WHERE i.plugin = n.plugin)
FROM _namespaces AS n WHERE n.prefix = ?
"""


def check(namespace: Namespace, *, even_in_import: bool = False) -> Steps[bool]:
    """Return whether this spelling owns its namespace; False where nobody does yet.

    Args:
        namespace: whose.
        even_in_import: do not mind an import that is in progress.

    Raises:
        RequestError: NAMESPACE_CONFLICT if another spelling owns it, LOCK_TIMEOUT if it is being
            imported into.
    """
    result = yield Statement(_OWNER, (namespace.prefix,))
    if not result.rows:
        return False
    owner, is_imported_into = result.rows[0]
    if owner != namespace.plugin:
        raise RequestError(
            ErrorCode.NAMESPACE_CONFLICT,
            f"The plugin name '{namespace.plugin}' maps to tables that another spelling of this "
            "name owns ('-' and '_' are the same in table names). Use the other spelling.",
            got=namespace.plugin,
        )
    if is_imported_into and not even_in_import:
        raise RequestError(
            ErrorCode.LOCK_TIMEOUT,
            f"An import into the namespace of '{namespace.plugin}' is in progress: try again when "
            "it is done. One that was interrupted goes on with the same file; 'clear' ends it.",
            reason="IMPORT_IN_PROGRESS",
            retry_after_ms=1000,
        )
    return True


def claim(namespace: Namespace, *, even_in_import: bool = False) -> Steps[bool]:
    """Make sure that this spelling owns its namespace; always returns True.

    Args:
        namespace: whose.
        even_in_import: do not mind an import that is in progress.

    Raises:
        RequestError: NAMESPACE_CONFLICT if another spelling owns it, LOCK_TIMEOUT if it is being
            imported into.
    """
    if not (yield from check(namespace, even_in_import=even_in_import)):
        claimed = yield Statement(_CLAIM, (namespace.prefix, namespace.plugin))
        if not claimed.affected:  # another replica was first
            yield from check(namespace, even_in_import=even_in_import)
    return True


def release(namespace: Namespace) -> Steps[None]:
    """Let go of a namespace."""
    yield Statement("DELETE FROM _namespaces WHERE prefix = ?", (namespace.prefix,))


def owners() -> Steps[list[str]]:
    """Return the names of all plugins that own a namespace."""
    result = yield Statement("SELECT plugin FROM _namespaces ORDER BY plugin")
    return [row[0] for row in result.rows]

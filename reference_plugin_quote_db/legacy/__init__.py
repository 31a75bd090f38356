"""The plugin as it was, on raw SQLite: the baseline of every comparison, and the way back.

`QuoteDBPlugin` is imported when it is asked for: the switch and the import do without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reference_plugin_quote_db.legacy.plugin import QuoteDBPlugin
else:

    def __getattr__(name: str) -> Any:
        if name == "QuoteDBPlugin":
            from reference_plugin_quote_db.legacy.plugin import QuoteDBPlugin

            return QuoteDBPlugin
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["QuoteDBPlugin"]

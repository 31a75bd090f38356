"""The reference plugin: a quote database for chat, on Rosey's storage service (SPEC 6).

`QuoteDBPlugin` is imported when it is first asked for, so that finding the migrations of this
package, or collecting its tests, costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reference_plugin_quote_db.plugin import QuoteDBPlugin
else:

    def __getattr__(name: str) -> Any:
        if name == "QuoteDBPlugin":
            from reference_plugin_quote_db.plugin import QuoteDBPlugin

            return QuoteDBPlugin
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["QuoteDBPlugin"]

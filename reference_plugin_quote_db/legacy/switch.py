"""The way back: `QUOTE_DB_LEGACY=true` selects the plugin on raw SQLite."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from reference_plugin_quote_db import legacy, plugin

SWITCH: Final = "QUOTE_DB_LEGACY"
_OLDER_SPELLINGS: Final = ("QUOTE_DB_USE_LEGACY", "USE_LEGACY_STORAGE")
_ON: Final = frozenset({"true", "1", "yes", "on"})


def legacy_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the environment asks for the legacy plugin; older spellings are read, too."""
    names = (SWITCH, *_OLDER_SPELLINGS)
    value = next((environment[name] for name in names if name in environment), "")
    return value.strip().lower() in _ON


def plugin_class(
    environment: Mapping[str, str] = os.environ,
) -> type[legacy.QuoteDBPlugin | plugin.QuoteDBPlugin]:
    """Return the plugin to run: on the storage service, unless the environment says otherwise.

    The two differ in what they are constructed with, a NATS client or the path of a file, and
    agree in every public coroutine of the legacy plugin.
    """
    # Imported here, so that neither needs what the other stands on.
    if legacy_wanted(environment):
        from reference_plugin_quote_db.legacy import QuoteDBPlugin as Legacy

        return Legacy
    from reference_plugin_quote_db.plugin import QuoteDBPlugin as Modern

    return Modern

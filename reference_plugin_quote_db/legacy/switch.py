"""The way back: `QUOTE_DB_LEGACY=true` runs the plugin as it was, on its own file."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from reference_plugin_quote_db.flags import truth

SWITCH: Final = "QUOTE_DB_LEGACY"
FILE: Final = "QUOTE_DB_LEGACY_FILE"
DEFAULT_FILE: Final = "quotes.db"

_OLDER_SPELLINGS: Final = ("QUOTE_DB_USE_LEGACY", "USE_LEGACY_STORAGE")

logger = logging.getLogger(__name__)


def legacy_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the environment asks for the legacy plugin; older spellings are read, too.

    What is neither yes nor no does not, and the log says so.
    """
    names = (SWITCH, *_OLDER_SPELLINGS)
    name = next((name for name in names if name in environment), SWITCH)
    value = environment.get(name, "").strip()
    wanted = truth(value)
    if value and wanted is None:
        logger.warning("%s is neither true nor false, so the legacy plugin is not used", name)
    return bool(wanted)


def legacy_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the file on which the legacy plugin runs."""
    return Path(environment.get(FILE, "").strip() or DEFAULT_FILE)

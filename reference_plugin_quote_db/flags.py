"""Switches in the KV store, which work without a restart."""

from __future__ import annotations

import logging
import re
from typing import Any, Final

from dbservice.client import KeyValues, StorageError
from reference_plugin_quote_db.errors import ServiceUnavailableError, ValidationError

SEARCH: Final = "search_enabled"
MODERATION: Final = "moderation_enabled"

DEFAULTS: Final = {SEARCH: True, MODERATION: False}
"""What a switch is that was never set; those that are not here are off."""

PROTECTS: Final = frozenset({MODERATION})
"""Switches that are on when nobody can tell: what protects is never off by accident."""

_ABSENT: Final = object()
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,99}")
_OLDER_PREFIX: Final = "feature_"
_WORDS: Final = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}

logger = logging.getLogger(__name__)


class FeatureFlags:
    """Reads and sets the switches of one plugin.

    A switch is a boolean under its own name, `search_enabled`. Older plugins wrote the text `true`
    or `false` under `feature_search_enabled`: that is read where the first is absent, and never
    written.

    Args:
        kv: the plugin's keys.
    """

    def __init__(self, kv: KeyValues) -> None:
        self._kv = kv
        self._last_known: dict[str, bool] = {}

    async def is_enabled(self, name: str) -> bool:
        """Return whether a switch is on.

        If that cannot be read, because the service does not answer or because what is stored is
        neither yes nor no: on for what protects, else what was known last.

        Args:
            name: `search_enabled` or `search`; a switch that was never set has its default.

        Raises:
            ValidationError: if that cannot be the name of a switch.
        """
        key = _key(name)
        default = DEFAULTS.get(key, False)
        try:
            value = await self._kv.get(key, _ABSENT)
            if value is _ABSENT:
                value = await self._kv.get(_OLDER_PREFIX + key, default)
        except (StorageError, ServiceUnavailableError):
            value = _ABSENT
        enabled = truth(value)
        if enabled is None:
            known = key in PROTECTS or self._last_known.get(key, default)
            logger.warning("The flag %s cannot be read; taken as %s", key, known)
            return known
        self._last_known[key] = enabled
        return enabled

    async def set(self, name: str, enabled: bool) -> None:
        """Turn a switch on or off, for all replicas.

        Raises:
            ValidationError: if that cannot be the name of a switch, or if `enabled` is no boolean.
        """
        if not isinstance(enabled, bool):
            raise ValidationError(f"A flag is True or False, not {enabled!r}"[:100])
        key = _key(name)
        await self._kv.set(key, enabled)
        self._last_known[key] = enabled


def _key(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValidationError(
            f"Invalid flag '{name[:40]}' (lower-case letters, digits and _, as in {SEARCH})"
        )
    key = name.removeprefix(_OLDER_PREFIX)
    return key if key.endswith("_enabled") else f"{key}_enabled"


def truth(value: Any) -> bool | None:
    """Return what a value that somebody has set says, or None if it says neither."""
    if isinstance(value, str):
        return _WORDS.get(value.strip().lower())
    return bool(value) if type(value) in (bool, int) and value in (0, 1) else None

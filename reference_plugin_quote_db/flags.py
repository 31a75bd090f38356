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

_ABSENT: Final = object()
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,99}")
_OLDER_PREFIX: Final = "feature_"
_ON: Final = frozenset({"true", "1", "yes", "on"})

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
        """Return whether a switch is on; what is known of it, if the service does not answer.

        Args:
            name: `search_enabled` or `search`; a switch that was never set has its default.

        Raises:
            ValidationError: if that cannot be the name of a switch.
        """
        key = _key(name)
        try:
            value = await self._kv.get(key, _ABSENT)
            if value is _ABSENT:
                value = await self._kv.get(_OLDER_PREFIX + key, DEFAULTS.get(key, False))
        except (StorageError, ServiceUnavailableError):
            known = self._last_known.get(key, DEFAULTS.get(key, False))
            logger.warning("The flag %s cannot be read; taken as %s", key, known)
            return known
        self._last_known[key] = _truth(value)
        return self._last_known[key]

    async def set(self, name: str, enabled: bool) -> None:
        """Turn a switch on or off, for all replicas.

        Raises:
            ValidationError: if that cannot be the name of a switch.
        """
        await self._kv.set(_key(name), enabled)


def _key(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValidationError(
            f"Invalid flag '{name[:40]}' (lower-case letters, digits and _, as in {SEARCH})"
        )
    key = name.removeprefix(_OLDER_PREFIX)
    return key if key.endswith("_enabled") else f"{key}_enabled"


def _truth(value: Any) -> bool:
    return value.strip().lower() in _ON if isinstance(value, str) else value is True or value == 1

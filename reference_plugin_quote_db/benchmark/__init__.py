"""The two sides of `rosey bench`: the plugin as it was, and as it is.

Entry point of the group `rosey.benchmarks`; copy it to measure a plugin of your own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reference_plugin_quote_db.benchmark import claims
from reference_plugin_quote_db.bus import Bus

__all__ = ["claims", "legacy", "modern"]


def legacy(path: Path) -> Any:
    """Return the plugin on raw SQLite, with its own file."""
    from reference_plugin_quote_db.benchmark.before import Legacy

    return Legacy(path)


def modern(nats: Bus) -> Any:
    """Return the plugin on the storage service, as `rosey plugin start` runs it."""
    from reference_plugin_quote_db.benchmark.after import Modern

    return Modern(nats)

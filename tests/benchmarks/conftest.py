"""Benchmarks; they run when they are named: `pytest tests/benchmarks`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from pytest_rosey import PluginFactory
from reference_plugin_quote_db import QuoteDBPlugin, legacy


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--legacy",
        action="store_true",
        help="Measure the quote plugin as it was, on raw SQLite, not the one on the service.",
    )


@pytest.fixture
def quotes(request: pytest.FixtureRequest) -> QuoteDBPlugin | legacy.QuoteDBPlugin:
    """The quote plugin on the service in memory; with `--legacy` the old one on a file."""
    side = "legacy_quotes" if request.config.getoption("--legacy") else "modern_quotes"
    plugin: QuoteDBPlugin | legacy.QuoteDBPlugin = request.getfixturevalue(side)
    return plugin


@pytest_asyncio.fixture
async def modern_quotes(rosey_plugin: PluginFactory) -> QuoteDBPlugin:
    return await rosey_plugin(QuoteDBPlugin, namespace="quote-db")


@pytest_asyncio.fixture
async def legacy_quotes(tmp_path: Path) -> AsyncIterator[legacy.QuoteDBPlugin]:
    plugin = legacy.QuoteDBPlugin(str(tmp_path / "quotes.db"))
    await plugin.initialize()
    for number in range(4):
        await plugin.add_quote(f"quote number {number}", "Somebody", "somebody")
    await plugin.add_quote("Repeat to yourself: it's just a show", "Somebody", "somebody")
    yield plugin
    await plugin.close()

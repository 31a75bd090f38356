"""Benchmarks; they run when they are named: `pytest tests/benchmarks`."""

from __future__ import annotations

import pytest_asyncio

from pytest_rosey import PluginFactory
from reference_plugin_quote_db import QuoteDBPlugin


@pytest_asyncio.fixture
async def quotes(rosey_plugin: PluginFactory) -> QuoteDBPlugin:
    """The quote plugin on the service in memory."""
    return await rosey_plugin(QuoteDBPlugin, namespace="quote-db")

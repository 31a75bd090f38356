"""The event loop of a test, which pytest-asyncio makes (SPEC 5.1)."""

from __future__ import annotations

import sys

import pytest

RUNNER = "_function_scoped_runner"
"""pytest-asyncio's fixture that makes the loop of a test whose loop scope is `function`."""


def loop_scope_of(item: pytest.Item) -> str:
    """Return the loop scope of a test: its marker's, else the ini default."""
    marker = item.get_closest_marker("asyncio")
    named = marker.kwargs.get("loop_scope") or marker.kwargs.get("scope") if marker else None
    scope: str = named or item.config.getini("asyncio_default_test_loop_scope")
    return scope


def asyncio_is_active(config: pytest.Config) -> bool:
    """Return whether pytest-asyncio takes part in this run."""
    # By the module, because the name it is registered under depends on how it was loaded.
    module = sys.modules.get("pytest_asyncio.plugin")
    return module is not None and config.pluginmanager.is_registered(module)

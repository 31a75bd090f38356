"""The mark of the tests that start a process: declared here for where the suite runs alone."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "process: starts a child process or a server")

"""What the tests of the pytest plugin share: small projects that pytest runs on its own."""

from __future__ import annotations

import pytest

# Imported here once, so that projects run inside this process need not import them again.
import pytest_rosey.buses.bus
import pytest_rosey.stubs.fake  # noqa: F401

# Without the plugins that take longer to load than these projects to run, or shuffle them.
INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
addopts = -p no:cacheprovider -p no:randomly -p no:hypothesispytest -p no:benchmark -p no:cov
    -p no:looptime_plugin
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """An empty project in auto mode in which warnings are errors."""
    pytester.makeini(INI)
    return pytester

"""The installations of `tests/kill`, as their parts go away one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator

import nats
import pytest

from tests.kill.conftest import real_nats, replica
from tests.kill.writers import Writers

__all__ = ["real_nats", "replica"]


@pytest.fixture
def nats_urls(real_nats: str) -> list[str]:
    """Where the writers connect to; a test with a bus of its own has its own fixture."""
    return [real_nats]


@pytest.fixture
async def writers(nats_urls: list[str]) -> AsyncIterator[Writers]:
    """Concurrent writers on one connection, which is made anew on whatever server is there."""
    client = await nats.connect(
        nats_urls,
        dont_randomize=True,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.05,
        ping_interval=1,
        max_outstanding_pings=2,
        error_cb=_ignored,
    )
    yield Writers(client)
    await client.close()


async def _ignored(_error: Exception) -> None:
    """Say nothing: what is broken here is broken on purpose."""

"""The private method of nats-py that the fixtures' clients override is still what it was."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from nats.aio.client import Client


def test_pings_are_sent_by_the_method_that_is_overridden() -> None:
    assert inspect.iscoroutinefunction(Client._ping_interval)
    assert "PING" in inspect.getsource(Client._ping_interval).upper()
    assert "self._ping_interval()" in inspect.getsource(Client)


async def test_a_client_of_the_fixtures_waits_in_its_place(nats_client: Any) -> None:
    task = nats_client._ping_interval_task
    await asyncio.sleep(0)
    assert not task.done()
    await nats_client.close()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()

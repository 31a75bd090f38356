"""Both buses for every program, and the count of what only the real one can do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import nats
import pytest

from pytest_rosey.servers.nats import find_binary


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    has_server = find_binary().path is not None
    buses = pytest.mark.rosey_nats("fake", "real") if has_server else pytest.mark.rosey_nats("fake")
    metafunc.definition.add_marker(buses)
    metafunc.definition.add_marker(pytest.mark.process)


@pytest.fixture
async def jetstream(nats_url: str) -> AsyncIterator[str]:
    """The URL of a bus with JetStream; the test is skipped, in its words, where there is none."""
    async with await nats.connect(nats_url) as client:
        reply = json.loads((await client.request("$JS.API.INFO", timeout=5)).data)
        if "error" in reply:
            pytest.skip(f"not on this bus: {reply['error']['description']}")
        yield nats_url
        for stream in await client.jetstream().streams_info():
            await client.jetstream().delete_stream(stream.config.name)

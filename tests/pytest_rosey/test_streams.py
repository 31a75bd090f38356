"""A stream that a test leaves on the run's server is told and removed (SPEC 5.1)."""

from __future__ import annotations

import pytest

from pytest_rosey.servers.nats import find_binary

pytest_plugins = ["pytester"]

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        find_binary().path is None, reason="no nats-server binary; the extra 'real' brings one"
    ),
]

SUITE = """
import nats
import pytest

pytestmark = pytest.mark.rosey_nats("real")


async def streams(client):
    return sorted(info.config.name for info in await client.jetstream().streams_info())
"""


def test_a_stream_of_our_own_client(project: pytest.Pytester) -> None:
    project.makepyfile(
        SUITE
        + """
async def test_leaves(nats_client):
    await nats_client.jetstream().add_stream(name="chat", subjects=["chat.>"])
    await nats_client.jetstream().create_key_value(bucket="settings")

async def test_finds_nothing(nats_client):
    assert await streams(nats_client) == []

async def test_tidy(nats_client):
    await nats_client.jetstream().add_stream(name="chat", subjects=["chat.>"])
    await nats_client.jetstream().delete_stream("chat")
"""
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(
        ["The test left on JetStream:", "  - key-value bucket 'settings'", "  - stream 'chat'"]
    )


def test_a_stream_of_who_connects_by_himself(project: pytest.Pytester) -> None:
    project.makepyfile(
        SUITE
        + """
async def leave(url):
    async with await nats.connect(url) as client:
        await client.jetstream().add_stream(name="chat", subjects=["chat.>"])

async def test_by_its_url(nats_url):
    await leave(nats_url)

async def test_by_the_server(nats_server):
    await leave(nats_server.url)

async def test_on_a_server_that_was_killed(nats_server):
    await leave(nats_server.url)
    nats_server.kill()

async def test_finds_nothing(nats_client):
    assert await streams(nats_client) == []
"""
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=4, errors=3)
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_a_stream_of_a_session_stays_without_what_tests_add(project: pytest.Pytester) -> None:
    project.makepyfile(
        SUITE
        + """
import pytest_asyncio

@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chat(nats_server):
    async with await nats.connect(nats_server.url) as client:
        await client.jetstream().add_stream(name="chat", subjects=["chat.>"])
        await client.jetstream().pull_subscribe("chat.>", durable="archive")

async def test_adds_a_consumer(chat, nats_client):
    await nats_client.jetstream().pull_subscribe("chat.>", durable="mine")

async def test_finds_the_stream(chat, nats_client):
    assert await streams(nats_client) == ["chat"]
    consumers = await nats_client.jetstream().consumers_info("chat")
    assert [consumer.name for consumer in consumers] == ["archive"]
"""
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["  - consumer 'mine' of stream 'chat'"])


def test_nothing_is_removed_where_leaving_is_allowed(project: pytest.Pytester) -> None:
    project.makepyfile(
        SUITE
        + """
async def test_leaves(nats_client):
    await nats_client.jetstream().add_stream(name="chat", subjects=["chat.>"])

async def test_finds_it(nats_client):
    assert await streams(nats_client) == ["chat"]
"""
    )
    result = project.runpytest_inprocess("-o", "rosey_strict_cleanup=false")
    result.assert_outcomes(passed=2)


def test_a_test_that_failed_is_not_blamed(project: pytest.Pytester) -> None:
    project.makepyfile(
        SUITE
        + """
async def test_fails(nats_client):
    await nats_client.jetstream().add_stream(name="chat", subjects=["chat.>"])
    assert False

async def test_finds_nothing(nats_client):
    assert await streams(nats_client) == []
"""
    )
    project.runpytest_inprocess().assert_outcomes(failed=1, passed=1)

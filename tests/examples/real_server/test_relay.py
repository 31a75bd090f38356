import asyncio

import pytest
from dbservice.client import RequestTimeout
from relay import SAID, Relay


async def counted(relay, expected):
    async with asyncio.timeout(10):
        while await relay.count() != expected:
            await asyncio.sleep(0.001)


@pytest.mark.rosey_nats("fake", "real")
async def test_it_counts_on_both_buses(rosey_plugin, nats_client):
    relay = await rosey_plugin(Relay, namespace="relay", migrate=False)
    for number in range(3):
        await nats_client.publish(SAID, b"message %d" % number)
    await counted(relay, 3)


async def test_a_message_that_came_twice_counts_once(rosey_plugin, nats_client, nats_faults):
    relay = await rosey_plugin(Relay, namespace="relay", migrate=False)
    nats_faults.duplicate(SAID, times=1)
    await nats_client.publish(SAID, b"first")
    await nats_client.publish(SAID, b"second")
    await counted(relay, 2)


async def test_an_answer_that_got_lost(storage, nats_faults):
    relay = storage("relay", timeout=0.1, retries=0).kv
    nats_faults.drop_reply("rosey.db.kv.relay.incr", times=1)
    with pytest.raises(RequestTimeout):
        await relay.incr("said")
    assert await relay.get("said") == 1, "it was executed: a retry needs an idempotency key"


async def test_a_lost_connection(rosey_plugin, nats_client, nats_faults):
    relay = await rosey_plugin(Relay, namespace="relay", migrate=False)
    await nats_faults.disconnect()
    await nats_faults.reconnect()
    await nats_client.publish(SAID, b"after")
    await counted(relay, 1)


@pytest.mark.rosey_nats("real")
async def test_a_server_of_this_run(nats_server, nats_client):
    assert nats_client.connected_url.port == int(nats_server.url.rsplit(":", 1)[1])

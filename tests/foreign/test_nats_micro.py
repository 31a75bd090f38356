"""Services of nats.micro, which nats-py brings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import nats
import pytest
from nats.aio.client import Client
from nats.micro import Service, add_service
from nats.micro.request import Request, ServiceError

# It asks for the time so, of which Python 3.12 and later warn.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


async def _add(request: Request) -> None:
    numbers = json.loads(request.data)
    if not numbers:
        raise ServiceError("400", "nothing to add")
    await request.respond(str(sum(numbers)).encode())


@pytest.fixture
async def client(nats_url: str) -> AsyncIterator[Client]:
    async with await nats.connect(nats_url) as client:
        yield client


@pytest.fixture
async def service(nats_url: str) -> AsyncIterator[Service]:
    async with await nats.connect(nats_url) as own:
        service = await add_service(own, name="sums", version="1.0.0")
        group = service.add_group(name="math")
        await group.add_endpoint(name="add", handler=_add)
        await own.flush()
        yield service
        await service.stop()


async def test_an_endpoint_of_a_group(service: Service, client: Client) -> None:
    assert (await client.request("math.add", b"[1, 2]", timeout=5)).data == b"3"


async def test_an_error_of_a_handler(service: Service, client: Client) -> None:
    reply = await client.request("math.add", b"[]", timeout=5)
    assert reply.headers is not None
    assert reply.headers["Nats-Service-Error-Code"] == "400"
    assert service.stats().endpoints[0].num_errors == 1


@pytest.mark.parametrize("verb", ["PING", "INFO", "STATS"])
async def test_it_is_discovered(service: Service, client: Client, verb: str) -> None:
    reply = json.loads((await client.request(f"$SRV.{verb}.sums", timeout=5)).data)
    assert reply["name"] == "sums"
    assert reply["type"] == f"io.nats.micro.v1.{verb.lower()}_response"


async def test_all_instances_answer_a_ping(nats_url: str, client: Client) -> None:
    async with await nats.connect(nats_url) as own:
        services = [await add_service(own, name="sums", version="1.0.0") for _ in range(3)]
        await own.flush()
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        await client.publish("$SRV.PING.sums", reply=inbox)
        heard = [json.loads((await answers.next_msg(5)).data)["id"] for _ in services]
        assert len(set(heard)) == len(services)
        await asyncio.gather(*(service.stop() for service in services))

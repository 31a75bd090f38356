"""A NATS cluster of three nodes, a replica on each of two and clients on the third.

A node is killed, frozen or cut off under load, and nothing acknowledged is lost.
`ROSEY_CLUSTER_ROUNDS` says how often.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pytest_rosey.servers.postgres import PostgresServer
from tests import SEED
from tests.kill.replica import Replica
from tests.kill.traced_service import Marks
from tests.kill.writers import PLUGIN, Writers
from tests.proof.network import NODES, Cluster

pytestmark = [pytest.mark.kill, pytest.mark.process]

ROUNDS = int(os.environ.get("ROSEY_CLUSTER_ROUNDS", "3"))
AWAY = 1.0
"""Seconds at the most for which a node is away."""


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def nats_urls(cluster: Cluster) -> list[str]:
    """The clients begin at the third node, and know the others."""
    return cluster.urls[::-1]


@pytest.fixture
def real_nats(cluster: Cluster) -> str:
    """The first replica begins at the first node."""
    return cluster.urls[0]


async def test_a_node_goes_away(
    cluster: Cluster,
    replica: Callable[..., Replica],
    durable_postgres: PostgresServer,
    writers: Writers,
) -> None:
    dice, events = random.Random(SEED), Counter[str]()
    replicas = [replica(durable_postgres.url(), nats=url) for url in cluster.urls[:2]]
    for each in replicas:
        await asyncio.to_thread(each.start)
    await writers.prepare()
    for number in range(ROUNDS):
        event, node = ("killed", "frozen", "cut off")[number % 3], dice.choice(NODES)
        async with writers.at_work():
            await asyncio.sleep(dice.uniform(0, AWAY))
            await _away(cluster, event, node)
            await asyncio.sleep(dice.uniform(0, AWAY))
            await _back(cluster, event, node)
            for each in replicas:
                await each.has(Marks.COMMITTED, more_than=each.marks[Marks.COMMITTED] + 5)
        await writers._patient.kv.set("well", PLUGIN)
        await writers.compare()
        assert not writers.findings.wrong, f"round {number}: node {node} {event}"
        events[event] += 1
    for each in replicas:
        await asyncio.to_thread(each.stop)
    print(f"\n{ROUNDS} losses of a node {dict(events)}; {writers.findings}")


async def _away(cluster: Cluster, event: str, node: int) -> None:
    match event:
        case "killed":
            await asyncio.to_thread(cluster.nodes[node].kill)
        case "frozen":
            await asyncio.to_thread(cluster.nodes[node].pause)
        case _:
            cluster.part(node)


async def _back(cluster: Cluster, event: str, node: int) -> None:
    match event:
        case "killed":
            await asyncio.to_thread(cluster.nodes[node].start)
        case "frozen":
            await asyncio.to_thread(cluster.nodes[node].resume)
        case _:
            cluster.join(node)

"""Requests to migrate the same plugin at the same time apply everything once (SPEC 4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from dbservice.client import StorageClient
from dbservice.embedded import Broker, Stack
from dbservice.protocol.migrations import Applied, HistoryEntry
from dbservice.service import DatabaseService
from pytest_rosey.servers.postgres import PostgresServer

ROUNDS = 100
FILES = {
    "001_first.sql": "-- UP\nCREATE TABLE a (b INTEGER NOT NULL);\n-- DOWN\nDROP TABLE a;\n",
    "002_second.sql": (
        "-- UP\nINSERT INTO a VALUES (1), (2);\n-- DOWN\nDELETE FROM a WHERE b IN (1, 2);\n"
    ),
    "003_third.sql": (
        "-- UP\nALTER TABLE a ADD COLUMN c INTEGER DEFAULT 3;\n"
        "-- DOWN\nALTER TABLE a DROP COLUMN c;\n"
    ),
}


@pytest.fixture
def three(root: Path, add: Callable[[str, str], Path]) -> Path:
    for name, text in FILES.items():
        add(name, text)
    return root


def check_applied_once(replies: list[Applied], history: list[HistoryEntry]) -> None:
    applied = [step.name for reply in replies for step in reply.migrations]
    assert sorted(applied) == ["001_first", "002_second", "003_third"]
    assert [reply.current_version for reply in replies] == [3, 3]
    assert all(reply.applied is not reply.skipped for reply in replies)
    assert [entry.version for entry in history] == ["001", "002", "003"]


async def test_two_requests_at_a_time(three: Path) -> None:
    async with Stack(migrations=[three]) as stack:
        clients = [StorageClient(await stack.connect(), "quote-db", timeout=30) for _ in range(2)]
        for _ in range(ROUNDS):
            replies = await asyncio.gather(*(client.migrations.apply() for client in clients))
            status = await clients[0].migrations.status()
            check_applied_once(list(replies), status.history)
            assert await clients[1].rows("a").count() == 2
            await clients[0].migrations.rollback(all=True)


async def test_two_replicas_at_a_time(three: Path, postgres: PostgresServer) -> None:
    """Each replica has a bus of its own, so that both surely get a request."""
    async with AsyncExitStack() as running:
        clients = []
        for _ in range(2):
            broker = Broker()
            running.callback(broker.stop)
            service = DatabaseService(postgres.url(), await broker.connect(), migrations=[three])
            await service.start()
            running.push_async_callback(service.stop)
            clients.append(StorageClient(await broker.connect(), "quote-db", timeout=30))
        for _ in range(ROUNDS):
            replies = await asyncio.gather(*(client.migrations.apply() for client in clients))
            status = await clients[0].migrations.status()
            check_applied_once(list(replies), status.history)
            assert await clients[1].rows("a").count() == 2
            await clients[0].migrations.rollback(all=True)

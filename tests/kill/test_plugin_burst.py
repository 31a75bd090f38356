"""A burst of quotes while the service is killed and started again (SPEC 6)."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client

from dbservice.client import StorageClient, StorageError
from reference_plugin_quote_db import QuoteDBPlugin
from reference_plugin_quote_db.bus import MATRIX
from reference_plugin_quote_db.errors import ServiceUnavailableError
from reference_plugin_quote_db.shipped import migration_root
from tests import SEED
from tests.kill.replica import Replica
from tests.kill.traced_service import Marks

pytestmark = [pytest.mark.kill, pytest.mark.process]

BURST = 1_000
SOON = 0.5
"""Seconds that the circuit breaker stays open, instead of a minute."""


@dataclass
class Outcome:
    """What the callers of a burst were told.

    Attributes:
        added: the ids, by text.
        failed: the errors, by text.
    """

    added: dict[str, int] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)

    @property
    def told(self) -> int:
        return len(self.added) + len(self.failed)


@pytest.fixture
async def client(real_nats: str) -> AsyncIterator[Client]:
    client = await nats.connect(real_nats)
    yield client
    await client.close()


@pytest.mark.parametrize(
    ("way", "at_once", "least"),
    [
        # More failures at a time than the breaker stands: it opens, and ends the repeats too.
        pytest.param("add_quote", BURST, 1, id="all at once"),
        # Fewer: every repeat comes through.
        pytest.param("add_quote", 2, BURST, id="two at a time"),
        pytest.param("add_quote_safe", 2, BURST, id="safe"),
        # What comes while the breaker is open waits; what was under way may fail.
        pytest.param("add_quote_queued", 50, BURST - 50, id="queued"),
    ],
)
async def test_each_quote_is_stored_as_its_adder_was_told(
    replica: Callable[..., Replica],
    disk: Path,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    at_once: int,
    least: int,
) -> None:
    # What died with the service is noticed after a second, instead of five.
    monkeypatch.setattr(QuoteDBPlugin, "TIMEOUT_ADD", 1.0)
    service = replica(str(disk / "quotes.db"), "--migrate", "--migrations", str(migration_root()))
    await asyncio.to_thread(service.start)
    plugin = QuoteDBPlugin(client, retries=MATRIX)
    plugin.circuit_breaker._recovery_timeout = SOON
    await plugin.initialize()
    seeds = await plugin.count_quotes()
    outcome = Outcome()
    burst = asyncio.create_task(add_all(plugin, way, at_once, outcome))
    await until_told(outcome, random.Random(SEED).randrange(BURST // 10, BURST // 2))
    await service.has(Marks.COMMITTING)
    death = service.kill()
    await asyncio.to_thread(service.start)
    await burst
    await plugin.close()
    quotes = StorageClient(client, "quote-db").rows("quotes")
    ids = {row["id"]: row["text"] async for row in quotes.iterate({"added_by": "burst"})}
    stored = Counter(ids.values())
    report(f"{way}, {at_once} at once, killed {death.place} a commit", outcome, stored)
    assert outcome.told == BURST
    assert {text: ids.get(key) for text, key in outcome.added.items()} == {
        text: text for text in outcome.added
    }, "an acknowledged quote is lost"
    assert not [text for text, number in stored.items() if number > 1], "a quote is doubled"
    assert stored.keys() <= outcome.added.keys() | outcome.failed.keys()
    total = await StorageClient(client, "quote-db").kv.get("total_count")
    assert total == seeds + len(ids), "a quote and its count are one transaction"
    assert len(outcome.added) >= least


async def add_all(plugin: QuoteDBPlugin, way: str, at_once: int, outcome: Outcome) -> None:
    """Add the quotes, some at a time, and note what their adders are told."""
    texts = iter([f"Quote {number} of the burst" for number in range(BURST)])
    add: Callable[..., object] = getattr(plugin, way)

    async def keep_adding() -> None:
        for text in texts:
            try:
                outcome.added[text] = await add(text, "Alice", "burst")  # type: ignore[misc]
            except (StorageError, ServiceUnavailableError) as error:
                outcome.failed[text] = error

    async with asyncio.TaskGroup() as adders:
        for _ in range(at_once):
            adders.create_task(keep_adding())


async def until_told(outcome: Outcome, number: int) -> None:
    async with asyncio.timeout(60):
        while outcome.told < number:  # noqa: ASYNC110 - the adders have other things to do
            await asyncio.sleep(0)


def report(what: str, outcome: Outcome, stored: Counter[str]) -> None:
    kinds = Counter(type(error).__name__ for error in outcome.failed.values())
    sys.stdout.write(
        f"\n{what}: {len(outcome.added)} added, lost "
        f"{len(outcome.added.keys() - stored.keys())}, doubled "
        f"{sum(number > 1 for number in stored.values())}; {len(outcome.failed)} failed "
        f"{dict(kinds)}, of these stored {len(outcome.failed.keys() & stored.keys())}\n"
    )

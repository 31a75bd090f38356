"""Concurrent clients that write while services die, and the book they keep about it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from nats.aio.client import Client

from dbservice.client import RetryPolicy, StorageClient, StorageError

PLUGIN = "killed"
TABLE = "notes"
_TIMEOUT = 0.5
_PAUSE = 0.02
"""Seconds after a failure, which comes at once while there is no service."""

_AT_ONCE = 1_000
"""Requests; a service that has many more to answer turns them away."""

_PATIENT = RetryPolicy(timeout=(0.02,) * 200, connection=(0.05,) * 400, limit=600)
"""Outlasts every restart."""

_HASTY = RetryPolicy(timeout=(0.02,) * 2, connection=(0.02,) * 2, limit=2)
"""Gives up during most restarts, after several attempts."""


class Counting:
    """A NATS client that counts the writes that were answered from an earlier execution."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.replayed = 0

    async def request(self, subject: str, payload: bytes, /, **options: Any) -> Any:
        reply = await self._client.request(subject, payload, **options)
        self.replayed += b'"replayed":true' in reply.data
        return reply


@dataclass
class Book:
    """The outcome of every write of one kind, as its writer was told.

    Attributes:
        acknowledged: the answers, by the name of the write.
        failed: the errors, by the name of the write.
    """

    acknowledged: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, StorageError] = field(default_factory=dict)


@dataclass
class Findings:
    """What the comparison of the books with the database came to; sums of all rounds."""

    acknowledged: int = 0
    failed: int = 0
    failed_but_stored: int = 0
    rows: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        return [*self.lost, *self.doubled, *self.other]

    def __str__(self) -> str:
        return (
            f"{self.acknowledged} writes acknowledged, {len(self.wrong) or 'none'} lost or stored "
            f"twice; {self.failed} reported failed, of these stored once {self.failed_but_stored}"
        )


class Writers:
    """24 of them: each writes as fast as it is answered, in rounds.

    Eight set keys once each, without a repeat. Eight insert rows and repeat until they are
    answered, four insert and give up early, and four count up one key; these carry idempotency
    keys. Each insert counts itself in a key, in the same transaction.

    Args:
        client: a connected NATS client, which stays connected.
    """

    def __init__(self, client: Client) -> None:
        self.nats = Counting(client)
        self._once = StorageClient(self.nats, PLUGIN, timeout=_TIMEOUT)
        self._patient = StorageClient(self.nats, PLUGIN, timeout=_TIMEOUT, retries=_PATIENT)
        self._hasty = StorageClient(self.nats, PLUGIN, timeout=_TIMEOUT, retries=_HASTY)
        self.findings = Findings()
        self._round = 0
        self._books: dict[str, Book] = {}
        self._go_on = False

    async def prepare(self) -> None:
        """Create the table."""
        columns = [{"name": "text", "type": "text"}, {"name": "round", "type": "integer"}]
        await self._patient.rows(TABLE).register(columns)  # type: ignore[arg-type]

    @asynccontextmanager
    async def at_work(self) -> Any:
        """Let all of them write; at the end each finishes the write that it is at."""
        self._round += 1
        self._books = {kind: Book() for kind in ("set", "patient", "hasty", "incr")}
        self._go_on = True
        team = 8 * [("set", self._set)] + 8 * [("patient", self._insert_patiently)]
        team += 4 * [("hasty", self._insert_hastily)] + 4 * [("incr", self._incr)]
        async with asyncio.TaskGroup() as tasks:
            for number, (kind, write) in enumerate(team):
                tasks.create_task(self._keep_writing(kind, write, number))
            try:
                yield
            finally:
                self._go_on = False

    async def _keep_writing(
        self, kind: str, write: Callable[[str], Awaitable[Any]], number: int
    ) -> None:
        book = self._books[kind]
        for turn in count():
            if not self._go_on:
                return
            name = f"{self._round}-{number}-{turn}"
            try:
                book.acknowledged[name] = await write(name)
            except StorageError as error:
                book.failed[name] = error
                await asyncio.sleep(_PAUSE)

    async def _set(self, name: str) -> bool:
        return await self._once.kv.set(name, name)

    async def _insert_patiently(self, name: str) -> Any:
        return await self._insert(self._patient, name)

    async def _insert_hastily(self, name: str) -> Any:
        return await self._insert(self._hasty, name)

    async def _insert(self, storage: StorageClient, name: str) -> Any:
        row = {"text": name, "round": self._round}
        return await storage.rows(TABLE).insert(row, counters={f"rows-{self._round}": 1})

    async def _incr(self, _name: str) -> int:
        return await self._patient.kv.incr(f"hits-{self._round}")

    async def compare(self) -> None:
        """Compare the books of this round with what is stored."""
        for book in self._books.values():
            self.findings.acknowledged += len(book.acknowledged)
            self.findings.failed += len(book.failed)
        for kind in ("patient", "incr"):
            gave_up = self._books[kind].failed
            self.findings.other += [f"{name}: {error}" for name, error in gave_up.items()]
        await self._compare_keys()
        await self._compare_rows()
        await self._compare_count()

    async def _compare_keys(self) -> None:
        book = self._books["set"]
        names = [*book.acknowledged, *book.failed]
        stored = {}
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            values = await asyncio.gather(
                *(self._patient.kv.get(name, timeout=10) for name in some)
            )
            stored.update(zip(some, values, strict=True))
        self.findings.lost += [name for name in book.acknowledged if stored[name] != name]
        self.findings.failed_but_stored += sum(stored[name] == name for name in book.failed)

    async def _compare_rows(self) -> None:
        rows = self._patient.rows(TABLE).iterate(
            {"round": self._round}, columns=["id", "text"], page_size=1000, timeout=10
        )
        ids = {row["id"]: row["text"] async for row in rows}
        stored = Counter(ids.values())
        self.findings.rows += len(ids)
        written = self._books["patient"], self._books["hasty"]
        answers = {name: key for book in written for name, key in book.acknowledged.items()}
        failed = {name for book in written for name in book.failed}
        self.findings.lost += [name for name, key in answers.items() if ids.get(key) != name]
        self.findings.doubled += [name for name, number in stored.items() if number > 1]
        self.findings.failed_but_stored += sum(name in stored for name in failed)
        self.findings.other += [name for name in stored if name not in {*answers, *failed}]
        counted = await self._patient.kv.get(f"rows-{self._round}", 0)
        if counted != len(ids):
            self.findings.other.append(f"rows-{self._round}: {counted} counted, {len(ids)} there")

    async def _compare_count(self) -> None:
        name, book = f"hits-{self._round}", self._books["incr"]
        answers = sorted(book.acknowledged.values())
        counted = await self._patient.kv.get(name, 0)
        # Everyone was answered in the end, so each number was given to one of them.
        if counted < len(answers):
            self.findings.lost.append(f"{name}: {counted} for {len(answers)}")
        elif answers != list(range(1, counted + 1)):
            self.findings.doubled.append(f"{name}: {counted} for {len(answers)}")

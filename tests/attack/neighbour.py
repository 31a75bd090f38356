"""A plugin that only wants to be served: it sends at a fixed rate and notes how that goes.

A process of its own, so that it waits for the service and not for the attacker. It reads how many
seconds to go on from its standard input, and writes what it saw to its standard output.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import defaultdict
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

NAME = "quiet"
TIMEOUT = 5.0
ECHO = "echo"

REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "echo": (ECHO, {"payload": "x" * 60}),
    "ping": ("rosey.db.ping", {}),
    "get": (f"rosey.db.row.{NAME}.select", {"table": "notes", "id": 7}),
    "search": (
        f"rosey.db.row.{NAME}.search",
        {"table": "notes", "filters": {"text": {"$like": "%9%"}}, "limit": 10},
    ),
    "set": (f"rosey.db.kv.{NAME}.set", {"key": "k", "value": 1}),
    "insert": (f"rosey.db.row.{NAME}.insert", {"table": "notes", "data": {"text": "new"}}),
}


async def main(url: str, user: str, password: str, rate: float) -> None:
    """Serve phases until the input ends; one of no seconds makes the table."""
    how = {"user": user, "password": password} if user else {}
    client = await nats.connect(url, **how, max_reconnect_attempts=-1)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        if float(line):
            print(json.dumps(await phase(client, float(line), rate)), flush=True)
        else:
            await prepare(client)
            print("{}", flush=True)
    await client.close()


async def echo(url: str, user: str, password: str) -> None:
    """Answer every request with its payload."""
    how = {"user": user, "password": password} if user else {}
    client = await nats.connect(url, **how, max_reconnect_attempts=-1)

    async def answer(message: Msg) -> None:
        await client.publish(message.reply, message.data)

    await client.subscribe(ECHO, cb=answer)
    await client.flush()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def prepare(client: Client) -> None:
    """Make the table, with a thousand rows."""
    fields = [{"name": "text", "type": "text"}]
    schema = {"table": "notes", "schema": {"fields": fields}}
    await ask(client, f"rosey.db.row.{NAME}.schema.register", schema)
    rows = [{"text": f"note {number}"} for number in range(1_000)]
    await ask(client, f"rosey.db.row.{NAME}.insert_batch", {"table": "notes", "rows": rows})


async def ask(client: Client, subject: str, body: dict[str, Any]) -> bool:
    """Send a request; return whether it was answered well."""
    reply = await client.request(subject, json.dumps(body).encode(), timeout=TIMEOUT)
    return b'"success":false' not in reply.data


async def phase(client: Client, seconds: float, rate: float) -> dict[str, Any]:
    """Send at a fixed rate; return for each kind the seconds from the planned moments."""
    took: dict[str, list[float]] = defaultdict(list)
    lost: dict[str, int] = defaultdict(int)

    async def one(kind: str, planned: float) -> None:
        subject, body = REQUESTS[kind]
        try:
            is_well = await ask(client, subject, body)
        except Exception:  # noqa: BLE001 - whatever it is, the request was lost
            is_well = False
        if is_well:
            took[kind].append(time.perf_counter() - planned)
        else:
            took[kind].append(max(TIMEOUT, time.perf_counter() - planned))
            lost[kind] += 1

    start = time.perf_counter()
    tasks = []
    kinds = list(REQUESTS)
    for number in range(int(seconds * rate)):
        planned = start + number / rate
        await asyncio.sleep(max(0.0, planned - time.perf_counter()))
        tasks.append(asyncio.create_task(one(kinds[number % len(kinds)], planned)))
    await asyncio.gather(*tasks)
    return {
        kind: {
            "p50": at(took[kind], 0.5),
            "p99": at(took[kind], 0.99),
            "lost": lost[kind],
            "sent": len(took[kind]),
        }
        for kind in kinds
    }


def at(values: list[float], share: float) -> float:
    """Return the value below which a share of the values lies, in milliseconds."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 2)


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role == "echo":
        asyncio.run(echo(*arguments))
    else:
        asyncio.run(main(*arguments[:3], float(arguments[3])))

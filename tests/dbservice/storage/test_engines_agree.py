"""One generated stream of requests, answered alike by every engine (SPEC 2.5, 3.1).

`ROSEY_STREAM_OPS` sets how many requests, `ROSEY_SEED` which ones; the seed is printed. A run of
100,000 or more also asserts that every operation, operator and error code came often enough. With
`ROSEY_STREAM_WORKERS` so many processes read the SQLite file, and the database in memory is read in
this one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dbservice.protocol import OPERATIONS, ErrorCode, Reason
from dbservice.protocol.filters import Logic, Operator
from dbservice.protocol.limits import MAX_REPLY
from dbservice.protocol.updates import UpdateOperator
from dbservice.runtime.clock import ManualClock
from dbservice.server.service import DatabaseService
from tests import SEED
from tests.dbservice.storage import typed_stream
from tests.dbservice.storage.operation_stream import Call, OperationStream, tables, write_migrations
from tests.dbservice.storage.replies import UNDER_PRESSURE, alike, without_times

Json = dict[str, Any]

SHORT = 1_500
LONG = 125_000
OFTEN = 500
OPERATIONS_ASKED = int(os.environ.get("ROSEY_STREAM_OPS", SHORT))
WORKERS = int(os.environ.get("ROSEY_STREAM_WORKERS", "0"))

UNIQUE_KEYS = [key for table in tables().values() for key in table.uniques]


class _NoNats:
    """Stands where a connection would: requests come in directly."""

    is_connected = False
    max_payload = MAX_REPLY


@asynccontextmanager
async def opened(
    url: str, root: Path, clock: ManualClock, workers: int
) -> AsyncIterator[DatabaseService]:
    nats: Any = _NoNats()
    service = DatabaseService(url, nats, migrations=[root], clock=clock, workers=workers)
    await service.database.open()
    try:
        yield service
    finally:
        await service.database.close()


async def test_the_engines_answer_one_stream_of_requests_alike(
    tmp_path: Path, empty_postgres: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Failures of the engine are asked for here, and each would be logged with a traceback.
    caplog.set_level(logging.CRITICAL, "dbservice")
    print(f"ROSEY_SEED={SEED}, {OPERATIONS_ASKED} operations")
    root = tmp_path / "migrations"
    root.mkdir()
    write_migrations(root)
    clock = ManualClock(1_700_000_000.0)
    urls = ["sqlite+aiosqlite://", f"sqlite+aiosqlite:///{tmp_path / 'rosey.db'}", empty_postgres]
    stream = OperationStream(SEED, root, clock.advance)
    met: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        services = [
            await stack.enter_async_context(opened(url, root, clock, workers))
            for url, workers in zip(urls, (0, WORKERS, 0), strict=True)
        ]
        for number, call in enumerate(stream):
            if number == OPERATIONS_ASKED:
                break
            if number and number % 10_000 == 0:
                print(f"{number:,} requests without a difference", flush=True)
            reply = await agreed(services, call, number)
            count(met, call, reply)
            stream.learn(call, reply)
    tell(met)
    if OPERATIONS_ASKED >= LONG:
        assert {what: met[what] for what in expected() if met[what] < OFTEN} == {}


async def agreed(services: Sequence[DatabaseService], call: Call, number: int) -> Json:
    """Return the reply to a request, which is the same from every engine."""
    if call.before is not None:
        call.before()
    answers = await asyncio.gather(
        *(service.execute(call.subject, call.payload) for service in services)
    )
    replies = [json.loads(answer) for answer in answers]
    forms = [compared(call, reply) for reply in replies]
    for form, name in zip(forms[1:], ("SQLite file", "PostgreSQL"), strict=True):
        if not alike(forms[0], form) and not name_two_keys(forms[0], form):
            pytest.fail(
                f"request {number} of seed {SEED}, {call.subject} ({call.what}):\n"
                f"{call.payload.decode(errors='replace')[:3000]}\n"
                f"  SQLite memory: {json.dumps(forms[0])[:3000]}\n  {name}: "
                f"{json.dumps(form)[:3000]}"
            )
    first: Json = replies[0]
    assert first["success"] or first["error"]["code"] != ErrorCode.INTERNAL_ERROR, (call, first)
    return first


# --- what SPEC leaves open -----------------------------------------------------------------------


def compared(call: Call, reply: Json) -> Any:
    """Return a reply without what SPEC leaves open."""
    without_times(reply)
    if not reply["success"]:
        return refusal(call, reply["error"])
    match call.compare:
        case "in any order" if "rows" in reply:
            reply["rows"].sort(key=canonical)
        case "as a sample" if "rows" in reply:
            rows = reply["rows"]
            shown = [sorted(row) for row in rows] if reply["truncated"] else rows
            return {**reply, "rows": sorted(shown, key=canonical)}
        case "as typed lines":
            return {"lines": typed_lines(reply["text"])}
        case "as lines":
            return {"lines": [told(json.loads(line)) for line in reply["text"].splitlines()]}
    without_the_engine(call, reply)
    return reply


def without_the_engine(call: Call, reply: Json) -> None:
    """Remove from a reply what names the engine, or is its own."""
    match call.what:
        case "row.schema.describe":
            # The engine names the index of a UNIQUE that has no name.
            for index in reply["indexes"]:
                if index["name"].startswith("sqlite_autoindex_") or index["name"].endswith("_key"):
                    index["name"] = ""
            reply["indexes"].sort(key=canonical)
        case "migrate.apply":
            # PostgreSQL takes these words for booleans without a word.
            told = reply["warnings"]
            reply["warnings"] = [one for one in told if one["code"] != "BOOLEAN_AS_WORD"]
            for step in reply["migrations"]:
                step.pop("executed", None)  # each engine has its own section of the file
        case "migrate.verify":
            for check in reply["checks"]:
                if not check["passed"]:
                    del check["message"]  # ends in the engine's own words
        case "service.info":
            del reply["engine"], reply["uptime_s"]


def refusal(call: Call, error: Json) -> Any:
    """Return an error without the engine's own words, which the author of some SQL is told."""
    if call.compare == "as sql":
        return error["code"]
    if error["code"] == ErrorCode.MIGRATION_FAILED:
        reason = error["details"].pop("reason")
        error["message"] = error["message"].replace(reason, "")
    return {"success": False, "error": error}


def name_two_keys(left: Any, right: Any) -> bool:
    """Return whether two refusals name two unique keys of which a row meets both."""
    errors = [reply.get("error", {}).get("details", {}) for reply in (left, right)]
    return all(
        error.get("constraint") == "unique" and error.get("columns") in UNIQUE_KEYS
        for error in errors
    )


def told(line: Json) -> Json:
    """Return a line of an export: it names its engine, and has documents in the engine's text."""
    line.pop("engine", None)
    line.pop("checksum", None)  # of the text, in which the engine stands
    if line["is"] == "row" and line["values"][1] is not None:
        line["values"][1] = json.loads(line["values"][1], parse_int=number)
    return line


def typed_lines(text: str) -> list[Json]:
    """Return the tables and rows of an export, documents as what they mean."""
    lines = [line for line in map(json.loads, text.splitlines()) if line["is"] in ("table", "row")]
    documents: list[int] = []
    for line in lines:
        if line["is"] == "table":
            documents = [place for place, name in enumerate(line["columns"]) if name == "j"]
            continue
        for place in documents:
            if isinstance(line["values"][place], str):
                line["values"][place] = json.loads(line["values"][place])
    return lines


def number(digits: str) -> int | float:
    """Return a number as the service reads it: one beyond 64 bits was a float when it came."""
    value = int(digits)
    return value if -(2**63) <= value < 2**63 else float(value)


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


# --- what came ---------------------------------------------------------------------------------


def count(met: Counter[str], call: Call, reply: Json) -> None:
    if reply["success"]:
        met[f"operation {call.what}"] += 1
        met.update(set(call.labels))
        met["replayed"] += "replayed" in reply
        rows = reply.get("rows")
        met["rows compared"] += len(rows) if isinstance(rows, list) else 0
        return
    error = reply["error"]
    met[f"code {error['code']}"] += 1
    if "reason" in error.get("details", {}):
        met[f"reason {error['details']['reason']}"] += 1
    met[f"refused {call.what}"] += 1


def expected() -> list[str]:
    """Return everything that has to come often in a long stream."""
    operations = [f"operation {family}.{name}" for family, name in OPERATIONS]
    filters = [f"filter {name}" for name in (*Operator, *Logic, "$not (column)", "plain")]
    updates = [f"update {name}" for name in UpdateOperator]
    computations = [f"aggregate {name}" for name in ("$count", "$sum", "$avg", "$min", "$max")]
    codes = [f"code {code}" for code in ErrorCode if code not in UNDER_PRESSURE]
    more = ["sort asc", "sort desc", "sort $random", "after", "having", "group_by", "returning"]
    more += ["counters", "replayed", "ttl", "if_absent", "if_value", "global kv"]
    more += [*(f"reason {reason}" for reason in Reason), "upsert operations"]
    more += [*typed_stream.LABELS, *(f"refused {what}" for what in typed_stream.REFUSED)]
    return [*operations, *filters, *updates, *computations, *codes, *more]


def tell(met: Counter[str]) -> None:
    for what, number in sorted(met.items()):
        print(f"{number:8} {what}")
    print("in test_engines_under_pressure.py:", *UNDER_PRESSURE)

"""Checks compose into one answer, which is shared and tells anybody only what anybody may know."""

from __future__ import annotations

import asyncio
import json

import pytest

from dbservice.runtime.health import Probe, Unwell, health_endpoint, readiness_endpoint
from dbservice.runtime.http import Request

FAILED = "unhealthy: the check failed; the log of this process says why"


async def well():
    return "whatever"


async def open_circuit():
    raise Unwell("circuit breaker open")


async def telling_too_much():
    raise ConnectionError("cannot reach postgresql://admin:secret@db.internal")


async def late():
    raise TimeoutError("no reply from 10.0.0.7")


async def hanging():
    await asyncio.Event().wait()


async def asked(endpoint):
    response = await endpoint(Request("/health"))
    return response.status, json.loads(response.body)


async def test_all_is_well():
    checks = {"nats": well, "database": well}

    assert await asked(health_endpoint(checks)) == (
        200,
        {"status": "healthy", "checks": {"nats": "healthy", "database": "healthy"}},
    )
    assert await asked(readiness_endpoint(checks)) == (200, {"status": "ready"})


async def test_nothing_to_check_is_well():
    assert await asked(health_endpoint({})) == (200, {"status": "healthy", "checks": {}})


@pytest.mark.parametrize(
    ("check", "outcome"),
    [
        (open_circuit, "unhealthy: circuit breaker open"),
        (telling_too_much, FAILED),
        (late, "unhealthy: no answer in time"),
        (hanging, "unhealthy: no answer within 0.01 s"),
    ],
)
async def test_one_check_that_fails(check, outcome):
    checks = {"nats": well, "other": check}

    assert await asked(health_endpoint(checks, timeout=0.01)) == (
        503,
        {"status": "unhealthy", "checks": {"nats": "healthy", "other": outcome}},
    )
    assert await asked(readiness_endpoint(checks, timeout=0.01)) == (
        503,
        {"status": "not ready", "reason": f"other: {outcome}"},
    )


async def test_what_nobody_may_know_stands_in_the_log(caplog):
    _, told = await asked(readiness_endpoint({"database": telling_too_much}))
    assert "secret" not in str(told)
    assert "The check database failed: cannot reach postgresql://" in caplog.text


async def test_readiness_names_every_check_that_fails():
    checks = {"circuit_breaker": open_circuit, "nats": well, "cache": telling_too_much}

    assert (await asked(readiness_endpoint(checks)))[1]["reason"] == (
        f"circuit_breaker: unhealthy: circuit breaker open; cache: {FAILED}"
    )


async def test_checks_run_side_by_side():
    both_are_here = asyncio.Barrier(2)

    status, _ = await asked(
        health_endpoint({"a": both_are_here.wait, "b": both_are_here.wait}, timeout=5)
    )

    assert status == 200


class Counted:
    """A check that counts its rounds, and how many run at once."""

    def __init__(self):
        self.rounds = self.running = self.most = 0
        self.gate = asyncio.Event()

    async def __call__(self):
        self.rounds += 1
        self.running += 1
        self.most = max(self.most, self.running)
        await self.gate.wait()
        self.running -= 1


async def test_a_hundred_who_ask_at_once_get_one_answer():
    check = Counted()
    endpoint = readiness_endpoint({"service": check}, timeout=5)
    asking = [asyncio.create_task(asked(endpoint)) for _ in range(100)]
    await asyncio.sleep(0)
    check.gate.set()
    assert {status for status, _ in await asyncio.gather(*asking)} == {200}
    assert await asked(endpoint) == (200, {"status": "ready"})
    assert (check.rounds, check.most) == (1, 1)


async def test_an_answer_that_is_too_old_is_not_shared():
    check = Counted()
    check.gate.set()
    probe = Probe({"service": check}, shared_for=0)
    await probe.outcomes()
    await probe.outcomes()
    assert (check.rounds, check.most) == (2, 1)


async def test_who_goes_away_takes_nobody_along():
    check = Counted()
    probe = Probe({"service": check}, timeout=5)
    first = asyncio.create_task(probe.outcomes())
    second = asyncio.create_task(probe.outcomes())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    check.gate.set()
    assert await second == {"service": "healthy"}
    assert check.rounds == 1

"""Checks compose into one answer."""

from __future__ import annotations

import asyncio
import json

import pytest

from dbservice.runtime.health import health_endpoint, readiness_endpoint
from dbservice.runtime.http import Request


async def well():
    return "whatever"


async def open_circuit():
    raise RuntimeError("open")


async def silent_failure():
    raise KeyError


async def late():
    raise TimeoutError("no reply from the service")


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
        (open_circuit, "unhealthy: open"),
        (silent_failure, "unhealthy: KeyError"),
        (late, "unhealthy: no reply from the service"),
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


async def test_readiness_names_every_check_that_fails():
    checks = {"circuit_breaker": open_circuit, "nats": well, "cache": silent_failure}

    assert (await asked(readiness_endpoint(checks)))[1]["reason"] == (
        "circuit_breaker: unhealthy: open; cache: unhealthy: KeyError"
    )


async def test_checks_run_side_by_side():
    both_are_here = asyncio.Barrier(2)

    status, _ = await asked(
        health_endpoint({"a": both_are_here.wait, "b": both_are_here.wait}, timeout=5)
    )

    assert status == 200

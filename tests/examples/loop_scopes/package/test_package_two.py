"""A loop for all modules of the package."""

import asyncio

import pytest
from visits import Visits

from package import LOOPS

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_visits(storage, rosey_plugin):
    visits = await rosey_plugin(Visits, namespace="visits", migrate=False)
    assert await visits.note("alice") == 1
    assert await storage("visits").kv.get("alice") == 1
    LOOPS.add(asyncio.get_running_loop())
    assert len(LOOPS) == 1

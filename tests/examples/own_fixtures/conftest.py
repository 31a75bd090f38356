"""What this suite wants otherwise."""

from datetime import UTC, datetime

import pytest
import pytest_asyncio
from dbservice.runtime.clock import ManualClock
from seats import Seats

OPENING_NIGHT = datetime(2030, 1, 1, 20, tzinfo=UTC)


@pytest.fixture
def rosey_clock():
    """The service's clock, set to the evening that the tests are about."""
    return ManualClock(OPENING_NIGHT.timestamp())


@pytest.fixture
def storage(storage):
    """Storage clients that do not try again."""

    def make(plugin, **options):
        return storage(plugin, **{"retries": 0, **options})

    return make


@pytest_asyncio.fixture
async def db_service(db_service):
    """The service, with seats in it before any test asks."""
    seats = db_service.directly("seats")
    await seats.migrations.apply()
    await seats.rows("seats").insert_many([{"id": 1}, {"id": 2}, {"id": 3, "taken_by": "alice"}])
    return db_service


@pytest_asyncio.fixture
async def plugin(rosey_plugin):
    """The plugin under test."""
    return await rosey_plugin(Seats, namespace="seats")

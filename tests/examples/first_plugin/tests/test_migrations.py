"""The migrations, up and down; `pytest --rosey-check-migrations` looks at far more."""

import pytest

pytestmark = pytest.mark.asyncio


async def test_they_can_be_taken_back(rosey_migrations):
    await rosey_migrations.apply("karma-board")
    assert await rosey_migrations.tables("karma-board") == ["karma_board__people"]
    await rosey_migrations.rollback_all("karma-board")
    assert await rosey_migrations.tables("karma-board") == []

"""A plugin author's own suite: a plugin, its migrations directory, one test file, no conftest."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.process

PLUGIN = """
from dbservice.client import StorageClient

class Trivia:
    def __init__(self, nats, *, namespace):
        self.questions = StorageClient(nats, namespace).rows("questions")

    async def initialize(self):
        assert await self.questions.count() == 1

    async def ask(self):
        return (await self.questions.random())[0]["text"]

    async def add(self, text, answer):
        return await self.questions.insert({"text": text, "answer": answer})
"""

MIGRATION = """
-- Description: questions and their answers

-- UP
CREATE TABLE questions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    text TEXT NOT NULL UNIQUE,
    answer TEXT NOT NULL
);
INSERT INTO questions (text, answer) VALUES ('What; is -- this?', 'a question');

-- DOWN
DROP TABLE questions;
"""

TESTS = """
import pytest
from dbservice.client import ConstraintViolation
from trivia import Trivia

pytestmark = pytest.mark.asyncio

async def test_the_seeded_question(rosey_plugin):
    trivia = await rosey_plugin(Trivia, namespace="trivia")
    assert await trivia.ask() == "What; is -- this?"

async def test_each_test_starts_anew(rosey_plugin):
    trivia = await rosey_plugin(Trivia, namespace="trivia")
    assert await trivia.add("Who?", "you") == 2
    with pytest.raises(ConstraintViolation, match="text"):
        await trivia.add("Who?", "me")

async def test_under_another_namespace(rosey_plugin, plugin_namespace):
    trivia = await rosey_plugin(Trivia, namespace=plugin_namespace, migrations="trivia")
    assert await trivia.questions.count() == 1

async def test_the_migration_goes_down(rosey_migrations):
    await rosey_migrations.apply("trivia")
    assert await rosey_migrations.tables("trivia") == ["trivia__questions"]
    await rosey_migrations.rollback_all("trivia")
    assert await rosey_migrations.tables("trivia") == []
"""


@pytest.mark.parametrize("mode", ["strict", "auto"])
@pytest.mark.parametrize("bus", [(), ("--rosey-real-nats", "--rosey-nats=binary")])
def test_it_passes_on_both_buses_in_both_modes(pytester, mode, bus):
    pytester.makepyfile(trivia=PLUGIN, test_trivia=TESTS)
    directory = pytester.mkdir("migrations") / "trivia"
    directory.mkdir()
    (directory / "001_create_questions.sql").write_text(MIGRATION, "utf-8")
    result = pytester.runpytest_subprocess("-o", f"asyncio_mode={mode}", *bus)
    result.assert_outcomes(passed=4)

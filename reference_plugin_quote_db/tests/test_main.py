"""`python -m reference_plugin_quote_db`: the plugin with nothing else running."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dbservice.cli.failure import CommandFailed
from reference_plugin_quote_db.__main__ import chat, migrate
from reference_plugin_quote_db.legacy import QuoteDBPlugin as Legacy


@pytest.fixture
def typed(tmp_path: Path) -> Path:
    script = tmp_path / "typed"
    script.write_text('!quote add "Hi-keeba!" Joel\n!quote count\n')
    return script


@pytest.mark.process
def test_a_chat_in_a_process_of_its_own(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "reference_plugin_quote_db", "--user", "Joel"],
        input='!quote add "Hi-keeba!" Joel\n!quote 6\n!quote delete 1\nexit\n!quote 1\n',
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        cwd=tmp_path,
        check=False,
    )
    assert ran.stdout.splitlines() == [
        "Quote #6 added",
        "#6: 'Hi-keeba!' — Joel",
        "You can only delete your own quotes",
    ], ran.stderr
    assert ran.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_keeps_the_quotes(
    typed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    database = tmp_path / "quotes.db"
    for _ in range(2):
        with typed.open() as stream:
            monkeypatch.setattr(sys, "stdin", stream)
            chat(user="Joel", role="user", database=database)
    assert capsys.readouterr().out.splitlines() == [
        "Quote #6 added",
        "Total quotes: 6",
        "Quote #7 added",
        "Total quotes: 7",
    ]

    with pytest.raises(SystemExit) as left:
        migrate("status", "--db", str(database))
    assert left.value.code == 0
    assert "Up to date: 3 migrations applied" in capsys.readouterr().out


def test_the_prompt_goes_back_to_the_legacy_file(
    typed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "old.db"
    monkeypatch.setenv("QUOTE_DB_LEGACY", "true")
    monkeypatch.setenv("QUOTE_DB_LEGACY_FILE", str(path))
    with pytest.raises(CommandFailed, match="there is no file"):
        chat(user="Joel")
    assert not path.exists()

    async def make() -> None:
        old = Legacy(str(path))
        await old.initialize()
        await old.close()

    asyncio.run(make())
    with typed.open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        chat(user="Joel")
    assert capsys.readouterr().out.splitlines() == ["Quote #1 added", "Total quotes: 1"]
    assert "are not in that file" in caplog.text

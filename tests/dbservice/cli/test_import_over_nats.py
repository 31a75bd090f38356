"""`import-legacy --nats`: into a service that runs."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from reference_plugin_quote_db.legacy import QuoteDBPlugin

pytestmark = pytest.mark.process


@pytest.fixture
def quotes_db(tmp_path):
    async def fill(path: str) -> None:
        plugin = QuoteDBPlugin(path)
        await plugin.initialize()
        await plugin.add_quotes(
            [{"text": f"Quote {number}", "added_by": "bob"} for number in range(20)]
        )
        await plugin.close()

    path = str(tmp_path / "quotes.db")
    asyncio.run(fill(path))
    return path


@pytest.fixture
def import_legacy(tmp_path, nats_server, quotes_db):
    nats = ("--nats", nats_server.url)

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "reference_plugin_quote_db", "import-legacy", quotes_db, *nats],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_an_import_into_a_running_service(serve, rosey, nats_server, import_legacy, tmp_path):
    served = serve("--nats", nats_server.url, "--db", str(tmp_path / "rosey.db"))
    too_early = import_legacy()
    assert too_early.returncode == 1
    assert "rosey migrate quote-db apply" in too_early.stderr

    assert rosey("migrate", "quote-db", "apply", ROSEY_NATS=nats_server.url).returncode == 0
    imported = import_legacy()
    assert imported.returncode == 0, imported.stderr
    assert imported.stdout.startswith("Read 20 quotes, 20 are in the service\n")
    assert served.stop() == 0


def test_an_import_without_a_service(import_legacy):
    nobody = import_legacy()
    assert nobody.returncode == 3
    assert "No database service answers" in nobody.stderr

"""`rosey serve` as a process whose server, disk or time comes to an end (SPEC 3.5, 3.7)."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import nats
import pytest
from nats.errors import NoRespondersError

from dbservice.cli.failure import CommandFailed
from dbservice.cli.serving import _Ends

pytestmark = [pytest.mark.asyncio, pytest.mark.process]

PATIENCE = 20.0
"""Seconds after which a wait is given up; it bounds a broken run and measures nothing."""


class Serving:
    """A service that finds no reason to withdraw."""

    async def withdrawn(self) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait, bounded, for something that another process does."""
    deadline = time.monotonic() + PATIENCE
    while not await asyncio.to_thread(condition):
        if time.monotonic() > deadline:
            pytest.fail(f"waited in vain for: {what}")
        await asyncio.sleep(0.005)


def status_of(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def place_of(served) -> str:
    return served.ready_line.rpartition("http=")[2].strip()


async def _sent(client) -> None:
    """Wait until the server has what was published: nats-py's PING may overtake it, but once."""
    await asyncio.sleep(0)
    await client.flush()
    await client.flush()


async def ask(client, subject: str, payload: dict) -> dict:
    data = json.dumps(payload).encode()
    return json.loads((await client.request(f"rosey.db.{subject}", data, timeout=30)).data)


# -- the NATS server -------------------------------------------------------------------------------


async def test_a_restart_of_the_nats_server_is_ridden_out(serve, own_server, tmp_path):
    served = serve("--nats", own_server.url, "--db", str(tmp_path / "db"), "--http", "127.0.0.1:0")
    ready = f"{place_of(served)}/ready"
    client = await nats.connect(own_server.url, reconnect_time_wait=0.05, error_cb=_ignore)
    await ask(client, "kv.shop.set", {"key": "k", "value": 1})
    assert status_of(ready) == (200, '{"status":"ready"}')

    own_server.kill()
    await until(lambda: status_of(ready)[0] == 503, "/ready to notice that NATS is gone")
    _, told = status_of(ready)
    assert json.loads(told)["reason"] == "nats: unhealthy: not connected to the NATS server"
    code, health = await asyncio.to_thread(status_of, f"{place_of(served)}/health")
    assert code == 503
    assert json.loads(health)["checks"]["database"] == "healthy"

    own_server.start()
    await until(lambda: status_of(ready)[0] == 200, "/ready to notice that NATS is back")
    again = await nats.connect(own_server.url)
    assert (await ask(again, "kv.shop.get", {"key": "k"}))["value"] == 1
    assert (await ask(again, "kv.shop.incr", {"key": "n"}))["value"] == 1
    log = served.log.read_text("utf-8")
    assert log.count("is lost; trying to get it back") == 1
    assert log.count("connected to the NATS server again") == 1
    await again.close()
    await client.close()
    assert served.stop() == 0


async def _ignore(_error: Exception) -> None:
    """Say nothing: the server was killed on purpose."""


async def test_it_ends_while_the_nats_server_is_gone(serve, own_server, tmp_path):
    served = serve("--nats", own_server.url, "--db", str(tmp_path / "db"))
    own_server.kill()
    await until(lambda: "is lost" in served.log.read_text("utf-8"), "the loss to be noticed")
    assert served.stop() == 0


async def test_a_server_that_hangs_is_not_ready(serve, own_server, tmp_path):
    served = serve("--nats", own_server.url, "--db", str(tmp_path / "db"), "--http", "127.0.0.1:0")
    own_server.pause()
    code, told = await asyncio.to_thread(status_of, f"{place_of(served)}/ready")
    assert code == 503
    assert "nats: unhealthy" in json.loads(told)["reason"]
    own_server.resume()
    await until(lambda: status_of(f"{place_of(served)}/ready")[0] == 200, "the server to be back")


async def test_a_connection_that_is_closed_for_good_ends_the_command():
    ends = _Ends()
    await ends.callbacks()["closed_cb"]()
    with pytest.raises(CommandFailed, match="ended the connection for good") as ended:
        await ends.wait_for_one(Serving())
    assert ended.value.exit_code == 3


# -- the database ----------------------------------------------------------------------------------


async def test_a_disk_that_takes_no_more_is_ridden_out(serve, nats_server, tmp_path):
    """The kernel refuses to let the file grow: the error comes from write(2) itself."""
    served = serve("--nats", nats_server.url, "--db", str(tmp_path / "rosey.db"))
    client = await nats.connect(nats_server.url)
    await ask(client, "kv.shop.set", {"key": "before", "value": 1})
    _, unlimited = resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE)
    full = (tmp_path / "rosey.db-wal").stat().st_size
    resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (full, unlimited))
    refused = await asyncio.gather(
        *(ask(client, "kv.shop.set", {"key": f"k{n}", "value": "x" * 60_000}) for n in range(5))
    )
    assert [reply["error"]["code"] for reply in refused] == ["DATABASE_UNAVAILABLE"] * 5
    assert (await ask(client, "kv.shop.get", {"key": "before"}))["value"] == 1

    resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
    assert (await ask(client, "kv.shop.set", {"key": "after", "value": 2}))["success"]
    assert (await ask(client, "kv.shop.list", {}))["keys"] == ["after", "before"]
    await client.close()
    assert served.stop() == 0


# -- ending ----------------------------------------------------------------------------------------

HELD = """
import asyncio, sys
from dbservice.storage.database import Database

execute = Database.execute

async def held(self, work, namespace, *rest, **named):
    if namespace.plugin == "held":
        print("taken", flush=True)
        await asyncio.Event().wait()
    return await execute(self, work, namespace, *rest, **named)

Database.execute = held
from dbservice.cli import main
main(["serve", *sys.argv[1:]])
"""


@pytest.fixture
def serve_held(tmp_path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], Path]]]:
    """Start a `rosey serve` that never finishes the requests of the plugin `held`."""
    log = tmp_path / "held.log"
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> tuple[subprocess.Popen[str], Path]:
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-c", HELD, *arguments],
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("rosey: ready"), log.read_text("utf-8")
        return process, log

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def test_a_second_signal_ends_it_at_once(serve_held, nats_server):
    process, log = serve_held("--nats", nats_server.url, "--db", ":memory:")
    client = await nats.connect(nats_server.url)
    held = asyncio.create_task(ask(client, "kv.held.get", {"key": "k"}))
    assert await asyncio.to_thread(process.stdout.readline) == "taken\n"
    process.send_signal(signal.SIGTERM)
    await until(lambda: "told to end" in log.read_text("utf-8"), "the first signal to be heard")
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, PATIENCE) == -signal.SIGTERM
    held.cancel()
    await client.close()


async def test_what_never_ends_does_not_keep_it_from_ending(serve_held, nats_server):
    process, log = serve_held(
        *("--nats", nats_server.url, "--db", ":memory:"),
        *("--drain-timeout", "0.3", "--max-in-flight", "1"),
    )
    client = await nats.connect(nats_server.url)
    held = asyncio.create_task(ask(client, "kv.held.get", {"key": "k"}))
    assert await asyncio.to_thread(process.stdout.readline) == "taken\n"
    waiting = asyncio.create_task(ask(client, "kv.shop.get", {"key": "k"}))
    await _sent(client)
    process.send_signal(signal.SIGTERM)
    reply = await waiting
    assert reply["error"]["code"] == "SHUTTING_DOWN"
    assert await asyncio.to_thread(process.wait, PATIENCE) == 0
    assert "1 requests are refused, 1 go without an answer" in log.read_text("utf-8")
    with pytest.raises(NoRespondersError):
        await ask(client, "ping", {})
    assert not held.done()  # and nothing that it has sent can still come
    held.cancel()
    await client.close()


async def test_requests_without_pause_lose_no_reply_when_it_ends(serve, own_server, tmp_path):
    """Each one is answered, or there is nobody to take it; none waits in vain."""
    served = serve("--nats", own_server.url, "--db", str(tmp_path / "db"))
    client = await nats.connect(own_server.url)
    begun = asyncio.Event()
    outcomes: list[str] = []

    async def ask_on() -> None:
        while True:
            try:
                reply = await ask(client, "kv.shop.incr", {"key": "n"})
            except NoRespondersError:
                outcomes.append("nobody")
                return
            outcomes.append("answered" if reply["success"] else reply["error"]["code"])
            begun.set()

    asking = [asyncio.create_task(ask_on()) for _ in range(50)]
    await begun.wait()
    stopping = asyncio.create_task(asyncio.to_thread(served.stop))
    await asyncio.gather(*asking)
    assert await stopping == 0
    assert set(outcomes) <= {"answered", "nobody", "SHUTTING_DOWN"}
    serve("--nats", own_server.url, "--db", str(tmp_path / "db"))
    kept = await ask(client, "kv.shop.get", {"key": "n"})
    assert kept["value"] == outcomes.count("answered")
    await client.close()


# -- configuration and observation -----------------------------------------------------------------


async def test_the_configuration_is_logged_once_and_without_secrets(
    serve, nats_server, tmp_path, monkeypatch
):
    monkeypatch.setenv("ROSEY_NATS", nats_server.url.replace("://", "://user:sesame@"))
    monkeypatch.setenv("ROSEY_DB", str(tmp_path / "from-the-environment.db"))
    monkeypatch.setenv("ROSEY_MAX_QUEUED", "77")
    monkeypatch.setenv("ROSEY_SWEEP_INTERVAL", "12.5")
    served = serve("--max-in-flight", "9", "--http", "127.0.0.1:0")
    lines = [json.loads(line) for line in served.log.read_text("utf-8").splitlines()]
    [told] = [line for line in lines if line["message"] == "configuration"]
    assert lines.index(told) == 0
    assert told["nats"] == nats_server.url.replace("://", "://***@")
    assert told["db"].endswith("from-the-environment.db")
    assert (told["max_in_flight"], told["max_queued"], told["sweep_interval"]) == (9, 77, 12.5)
    assert "sesame" not in served.log.read_text("utf-8") + served.ready_line
    assert served.stop() == 0


@pytest.mark.parametrize("name", ["asyncio", "uvloop", None])
async def test_it_runs_on_the_event_loop_that_is_asked_for(serve, nats_server, tmp_path, name):
    pytest.importorskip("uvloop")
    asked = () if name is None else ("--loop", name)
    served = serve("--nats", nats_server.url, "--db", str(tmp_path / "db"), *asked)
    told = json.loads(served.log.read_text("utf-8").splitlines()[0])
    assert told["loop"] == (name or "uvloop")
    assert served.stop() == 0


async def test_without_uvloop_asking_for_it_is_a_usage_error(rosey, tmp_path):
    (tmp_path / "uvloop.py").write_text("raise ImportError('as if it were not there')")
    refused = rosey("serve", "--loop", "uvloop", PYTHONPATH=str(tmp_path))
    assert refused.returncode == 2
    assert refused.stderr == (
        "rosey: --loop uvloop: uvloop is not installed. "
        "`pip install 'pytest-rosey[fast]'` brings it.\n"
    )


async def test_the_metrics_page(serve, nats_server, tmp_path):
    served = serve("--nats", nats_server.url, "--db", str(tmp_path / "db"), "--http", "127.0.0.1:0")
    client = await nats.connect(nats_server.url)
    await ask(client, "kv.shop.set", {"key": "k", "value": 1})
    code, page = await asyncio.to_thread(status_of, f"{place_of(served)}/metrics")
    assert code == 200
    line = 'rosey_db_requests_total{code="OK",family="kv",operation="set"} 1.0'
    assert line in page.splitlines()
    assert "rosey_db_commit_batch_size_count" in page
    await client.close()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--max-in-flight", "0"), "max-in-flight"),
        (("--drain-timeout", "-1"), "drain-timeout"),
        (("--max-queued", "many"), "max-queued"),
    ],
)
async def test_a_limit_out_of_range_is_a_usage_error(rosey, arguments, told):
    refused = rosey("serve", *arguments)
    assert refused.returncode != 0
    assert told in refused.stderr + refused.stdout
    assert "Traceback" not in refused.stderr


async def test_the_first_page_of_help_names_the_commands_of_other_packages(rosey):
    told = rosey("--help", COLUMNS="100").stdout
    for command in ("bench", "chat", "check", "doctor", "new"):
        assert re.search(rf"│ {command} +[A-Z].+\.", told)
    assert "Of pytest-rosey" not in told
    assert "# rosey: allow" in rosey("check", "--help").stdout  # the command's own page


async def test_the_help_reads_like_a_manual(rosey):
    told = rosey("serve", "--help", COLUMNS="100").stdout
    for variable in ("NATS", "DB", "HTTP", "MIGRATIONS", "LOG_LEVEL", "MAX_QUEUED"):
        assert f"ROSEY_{variable}" in told
    for word in ("Exit codes", "SIGTERM", "Example", "/metrics", "[default: 4096]"):
        assert word in told
    assert not [line for line in told.splitlines() if len(line) > 100]

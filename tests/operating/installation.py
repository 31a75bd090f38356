"""An installation as an operator has it, and the questions that they ask it."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import nats
from nats.errors import Error

from dbservice.client import StorageClient, StorageError
from dbservice.protocol.subjects import command_subject
from pytest_rosey.servers.nats.binary import BinaryServer
from tests.dbservice.cli.conftest import Served

Ask = Callable[[Any], Awaitable[tuple[bool, str]]]

POLLS = """
from pathlib import Path

class Polls:
    def __init__(self, nats, *, namespace="polls"):
        pass

def migration_root():
    return Path(__file__).parent / "migrations"
"""
"""A plugin without a line about health; whoever runs it asks what its requests would meet."""

DATABASE = "rosey.db"
TABLE = (
    "-- UP\nCREATE TABLE polls (id INTEGER PRIMARY KEY, title TEXT);\n-- DOWN\nDROP TABLE polls;\n"
)
ENTRY_POINTS = """
[rosey.plugins]
polls = polls_plugin:Polls
[rosey.migrations]
polls = polls_plugin:migration_root
"""


def install_polls(directory: Path) -> Path:
    """Write a package with a plugin and its migration, as a wheel would install it."""
    migrations = directory / "polls_plugin" / "migrations" / "polls"
    migrations.mkdir(parents=True)
    (directory / "polls_plugin" / "__init__.py").write_text(POLLS)
    (migrations / "001_create_polls.sql").write_text(TABLE)
    info = directory / "polls_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: polls-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return directory


@dataclass
class Installation:
    """A nats-server, a service and two plugins, a process each.

    Attributes:
        server: the nats-server.
        directory: where the processes work; in it, `packages` has the second plugin.
        command: runs a `rosey` command to its end.
        starting: starts one that goes on.
        http: where each process that was started serves its pages.
        service: the one that was started last.
    """

    server: BinaryServer
    directory: Path
    command: Callable[..., CompletedProcess[str]]
    starting: Callable[..., Served]
    http: dict[str, str] = field(default_factory=dict)
    service: Served = field(init=False)

    def rosey(self, *words: str) -> CompletedProcess[str]:
        """Run a command to its end."""
        return self.command(*words, "--nats", self.server.url, **self._environment)

    def serve(self, database: str = DATABASE) -> None:
        """Start the service."""
        self.service = self._start("service", "serve", "--db", database)

    def start(self, plugin: str) -> None:
        """Start a plugin."""
        self._start(plugin, "plugin", "start", plugin)

    def _start(self, name: str, *words: str) -> Served:
        words = (*words, "--nats", self.server.url, "--http", "127.0.0.1:0")
        started = self.starting(*words, **self._environment)
        self.http[name] = started.ready_line.rpartition("http=")[2].strip()
        return started

    def kill(self) -> None:
        """End the service at once."""
        self.signal(signal.SIGKILL)
        self.service.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send the service a signal."""
        self.service.process.send_signal(number)

    async def answers(self) -> dict[str, tuple[bool, str]]:
        """Ask everybody at once; return who said yes, and the words."""
        asked = {
            f"{name} {page}": asyncio.to_thread(page_says, f"{self.http[name]}{page}")
            for name in self.http
            for page in ("/ready", "/health")
        }
        asked["polls read"] = requests_say(self.server.url, read)
        asked["polls write"] = requests_say(self.server.url, write)
        asked["!quote count"] = requests_say(self.server.url, count)
        asked["migrate quote-db status"] = asyncio.to_thread(self._status_says)
        return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))

    def _status_says(self) -> tuple[bool, str]:
        ran = self.rosey("migrate", "quote-db", "status")
        said = (ran.stdout + ran.stderr).partition("\n")[0]
        return ran.returncode == 0 and said.startswith("Up to date"), said

    @property
    def _environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.directory / "packages")}


def page_says(url: str) -> tuple[bool, str]:
    """Return whether a page is well, and what of it is not: `nats: not connected …`."""
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return response.status == 200, json.load(response)["status"]
    except urllib.error.HTTPError as error:
        with error:
            return False, _unwell(json.load(error))
    except TimeoutError:
        return False, "no answer"
    except OSError:
        return False, "nobody listens"


def _unwell(page: dict[str, Any]) -> str:
    if "reason" in page:
        return str(page["reason"]).replace("unhealthy: ", "")
    checks = page["checks"].items()
    unwell = [f"{name}: {said}" for name, said in checks if said != "healthy"]
    return "; ".join(unwell).replace("unhealthy: ", "")


async def requests_say(
    url: str, ask: Callable[[Any], Awaitable[tuple[bool, str]]]
) -> tuple[bool, str]:
    """Ask over a connection of its own."""
    try:
        client = await nats.connect(
            url, max_reconnect_attempts=1, reconnect_time_wait=0.05, error_cb=_ignore
        )
    except (OSError, Error):
        return False, "no NATS server"
    try:
        return await ask(client)
    except (StorageError, Error) as error:
        return False, type(error).__name__
    finally:
        await client.close()


async def count(client: Any) -> tuple[bool, str]:
    """Send `!quote count` as the chat gateway does."""
    payload = json.dumps({"user": "ada", "role": "user", "args": ""}).encode()
    reply = await client.request(command_subject("quote-db", "count"), payload, timeout=20)
    answer = json.loads(reply.data)
    return answer["success"], answer["reply"]


async def read(client: Any) -> tuple[bool, str]:
    """Read as the other plugin would."""
    await StorageClient(client, "polls").rows("polls").count()
    return True, "counted"


async def write(client: Any) -> tuple[bool, str]:
    """Write as the other plugin would."""
    await StorageClient(client, "polls").rows("polls").insert({"title": "Lunch?"})
    return True, "acknowledged"


async def _ignore(_error: Exception) -> None:
    """Say nothing: what is broken here is broken on purpose."""

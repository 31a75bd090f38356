"""No test reaches a NATS server outside this machine by mistake (SPEC 5.3)."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport
from nats.errors import NoServersError

from pytest_rosey import connections
from pytest_rosey.connections import Connections, _watched
from pytest_rosey.marks import current_run

pytest_plugins = ["pytester"]

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
"""

# Not loopback by name, yet nothing of this leaves the machine: port 1 refuses.
ELSEWHERE = "nats://0.0.0.0:1"
# nats-py's defaults would try for two minutes.
ONCE: dict[str, Any] = {"max_reconnect_attempts": 1, "reconnect_time_wait": 0.001}
REFUSED = pytest.fail.Exception


async def test_connecting_elsewhere_fails_and_says_how_to_allow_it() -> None:
    with pytest.raises(REFUSED) as refused:
        await nats.connect("nats://user:secret@nats.example.com:4222")
    assert str(refused.value) == (
        "A test tried to connect to the NATS server at nats.example.com, which is not on this "
        "machine. Was a mock or a fixture forgotten? If the test is to talk to that server, allow "
        "it:\n"
        "  - --rosey-nats=nats://nats.example.com:PORT runs the tests on it\n"
        "  - rosey_allow_hosts = nats.example.com in the ini file\n"
        '  - @pytest.mark.rosey_allow_hosts("nats.example.com") on the test'
    )


async def test_code_that_swallows_errors_does_not_hide_it() -> None:
    async def forgiving() -> None:
        with suppress(Exception):
            await nats.connect(["nats://127.0.0.1:1", ELSEWHERE], dont_randomize=True, **ONCE)

    with pytest.raises(REFUSED):
        await forgiving()


async def test_outside_of_a_test_it_fails_too() -> None:
    connecting = nats.connect(ELSEWHERE, **ONCE)
    with pytest.raises(REFUSED):
        await asyncio.create_task(connecting, context=contextvars.Context())


def test_a_host_that_is_allowed_for_the_run(pytestconfig: pytest.Config) -> None:
    watching = Connections(pytestconfig)
    watching.allow("Nats-Of-The-Run")
    watching._check("nats://nats-of-the-run:4222")
    with pytest.raises(REFUSED):
        watching._check("nats://nats-of-the-run.example.com:4222")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST"])
async def test_this_machine_is_allowed(host: str) -> None:
    with pytest.raises(NoServersError):
        await nats.connect(f"nats://{host}:1", **ONCE)


@pytest.mark.rosey_allow_hosts("0.0.0.*")
class TestMarked:
    async def test_a_marker_allows_a_host(self) -> None:
        with pytest.raises(NoServersError):
            await nats.connect(ELSEWHERE, **ONCE)

    async def test_and_no_other(self) -> None:
        with pytest.raises(REFUSED):
            await nats.connect("nats://0.0.1.0:1")

    @pytest.mark.process
    @pytest.mark.parametrize(
        ("ini", "arguments", "passed"),
        [
            ("", [], 0),
            ("rosey_allow_hosts = nats.example.com 0.0.0.0", [], 1),
            ("rosey_allow_hosts = 0.*", [], 1),
        ],
    )
    def test_the_ini_file(
        self, project: pytest.Pytester, ini: str, arguments: list[str], passed: int
    ) -> None:
        project.makeini(f"{INI}{ini}")
        project.makepyfile(CONNECTS)
        before = (TcpTransport.connect, Client.connect)
        result = project.runpytest_inprocess("-p", "no:randomly", *arguments)
        result.assert_outcomes(passed=passed, failed=1 - passed)
        assert (TcpTransport.connect, Client.connect) == before

    def test_the_failure_shows_the_line_of_the_test(self, project: pytest.Pytester) -> None:
        project.makepyfile(CONNECTS)
        result = project.runpytest_inprocess()
        result.stdout.fnmatch_lines(
            [
                ">*await nats.connect(",
                "E *Failed: A test tried to connect to the NATS server at 0.0.0.0, which is not *",
            ]
        )
        result.stdout.no_fnmatch_line("*pytest_rosey?connections.py*")

    def test_a_marker_without_hosts_is_an_error(self, project: pytest.Pytester) -> None:
        project.makepyfile("import pytest\n@pytest.mark.rosey_allow_hosts()\ndef test_x(): pass")
        result = project.runpytest_inprocess()
        assert result.ret != 0
        result.stdout.fnmatch_lines(
            ["*::test_x: @pytest.mark.rosey_allow_hosts takes the names of hosts, *got nothing.*"]
        )


CONNECTS = """
import pytest

async def test_x():
    import nats
    with pytest.raises(nats.errors.NoServersError):
        await nats.connect(
            "nats://0.0.0.0:1", max_reconnect_attempts=1, reconnect_time_wait=0.001
        )
"""


@pytest.mark.process
def test_it_waits_for_whoever_imports_nats_first(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import sys

        def pytest_sessionstart():
            assert "nats" not in sys.modules
        """
    )
    project.makepyfile(CONNECTS)
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *Failed: A test tried to connect to the NATS server at *"])


@pytest.fixture
def awaited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Where a module `imported_later` may lie, which is waited for in nats-py's place."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(connections, "_CLIENT_MODULE", "imported_later")
    yield tmp_path / "imported_later"
    sys.modules.pop("imported_later", None)


def test_what_is_awaited_is_found_once_and_in_the_usual_way(
    monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config, awaited: Path
) -> None:
    awaited.with_suffix(".py").write_text("loaded = True")
    armed: list[bool] = []
    monkeypatch.setattr(
        Connections, "_arm", lambda _: armed.append(sys.modules["imported_later"].loaded)
    )
    before = list(sys.meta_path)
    Connections(pytestconfig).start()
    finder, *others = sys.meta_path
    assert finder.find_spec("imported", None) is None
    assert (armed, others) == ([], before)
    assert importlib.import_module("imported_later").loaded
    assert (armed, sys.meta_path) == ([True], before)


@pytest.mark.usefixtures("awaited")
def test_what_is_awaited_may_never_come(pytestconfig: pytest.Config) -> None:
    before = list(sys.meta_path)
    watching = Connections(pytestconfig)
    watching.start()
    watching.stop()
    assert sys.meta_path == before
    watching.start()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("imported_later")
    watching.stop()
    assert sys.meta_path == before


def test_what_is_awaited_may_be_a_folder(pytestconfig: pytest.Config, awaited: Path) -> None:
    awaited.mkdir()
    Connections(pytestconfig).start()
    assert importlib.import_module("imported_later").__path__


@pytest.mark.process
def test_without_the_plugin_nothing_is_watched(project: pytest.Pytester) -> None:
    project.makepyfile(CONNECTS)
    project.runpytest_subprocess("-p", "no:rosey").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1.nip.io",
        "localhost.example.com",
        "notlocalhost",
        "x127.0.0.1",
        "127.0.0.1000",
        "128.0.0.1",
    ],
)
async def test_a_name_that_only_looks_like_loopback_is_refused(host: str) -> None:
    with pytest.raises(REFUSED, match="which is not on this machine"):
        await nats.connect(f"nats://{host}:1", **ONCE)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.10", "[::1]"])
async def test_loopback_is_the_users_own(host: str) -> None:
    with pytest.raises(NoServersError):
        await nats.connect(f"nats://{host}:1", allow_reconnect=False, **ONCE)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_websockets_are_watched_as_well(scheme: str) -> None:
    with pytest.raises(REFUSED, match=r"the NATS server at nats\.example\.com"):
        await nats.connect(f"{scheme}://nats.example.com:8080", **ONCE)
    gc.collect()  # of a session that is not closed there would be a warning, which is an error


ASKS_AT_HOME = """
import contextlib
import nats

async def test_it(nats_client):
    with contextlib.suppress(BaseException):
        await nats.connect(
            "nats://localhost:{port}", max_reconnect_attempts=1, reconnect_time_wait=0.001
        )
"""


def test_the_default_port_is_not_the_bus_of_a_test(project: pytest.Pytester) -> None:
    """Even where the test swallows it: it would talk to whatever server runs on the machine."""
    project.makepyfile(ASKS_AT_HOME.format(port=4222))
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*is at the URL that the fixture nats_url gives*"])


def test_another_port_of_this_machine_is_the_users_own(project: pytest.Pytester) -> None:
    project.makepyfile(ASKS_AT_HOME.format(port=1))
    project.runpytest_inprocess().assert_outcomes(passed=1)


async def test_without_a_bus_the_default_port_is_the_users_own() -> None:
    with suppress(Exception):  # whether somebody listens there or not
        client = await nats.connect("nats://localhost:4222", allow_reconnect=False, **ONCE)
        await client.close()


async def test_a_subscription_without_a_callback_is_left_alone(nats_client: Client) -> None:
    subscription = await nats_client.subscribe("a", "workers")
    await nats_client.publish("a", b"heard")
    assert (await subscription.next_msg(5)).data == b"heard"


async def test_everything_may_be_given_by_position(nats_client: Client) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(message: Msg) -> None:
        await heard.put(message.data)

    subscription = await nats_client.subscribe("a", "", hear, None, 1)
    for data in (b"first", b"second"):
        await nats_client.publish("a", data)
    assert await asyncio.wait_for(heard.get(), 5) == b"first"
    await nats_client.flush()
    assert (subscription.delivered, heard.empty()) == (1, True)


async def test_a_failure_that_is_seen_twice_is_told_once() -> None:
    """JetStream subscribes with a callback of its own around that of the test."""
    run = current_run.get()
    assert run is not None

    async def fails(_: object) -> None:
        raise ValueError

    with pytest.raises(ValueError) as failed:
        await _watched(_watched(fails, run), run)(None)
    assert run.broken_callbacks == [failed.value]
    run.broken_callbacks.clear()


async def test_a_client_is_opened_where_its_own_method_is_called(nats_url: str) -> None:
    client = Client()
    await client.connect(nats_url)
    run = current_run.get()
    assert run is not None
    assert run.opened[client].rpartition(":")[0] == __file__
    await client.close()

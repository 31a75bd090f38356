"""Which bus a test gets: the in-process one or a real nats-server (SPEC 5.3)."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import NonCallableMagicMock

import pytest

from pytest_rosey import NatsServer
from pytest_rosey.buses import bus
from pytest_rosey.buses.proxy import Proxy
from pytest_rosey.servers.address import LOOPBACK, Address
from pytest_rosey.servers.errors import ServerControlError
from pytest_rosey.servers.nats import ServerUnavailable, find_binary

pytest_plugins = ["pytester"]

needs_binary = pytest.mark.skipif(
    find_binary().path is None, reason="no nats-server binary; the extra 'real' brings one"
)
BINARY = "--rosey-nats=binary"
ECHO = """
import pytest

async def echo(message):
    await message.respond(message.data)

async def roundtrip(client):
    await client.subscribe("echo", cb=echo)
    assert (await client.request("echo", b"hello")).data == b"hello"
    return client.connected_url.hostname
"""


def run(project: pytest.Pytester, body: str, *arguments: str) -> pytest.RunResult:
    project.makepyfile(ECHO + body)
    return project.runpytest_inprocess(*arguments)


async def test_the_bus_is_in_process_by_default(nats_client: Any) -> None:
    assert nats_client.connected_url.hostname == "embedded"


def test_queue_groups_fall_the_same_way_in_every_run(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import asyncio, pathlib

        async def test_x(nats_client):
            taken = []
            for member in "abc":
                async def take(message, member=member):
                    taken.append(member)
                await nats_client.subscribe("work", queue="workers", cb=take)
            for _ in range(20):
                await nats_client.publish("work", b"")
            while len(taken) < 20:
                await asyncio.sleep(0)
            with open("taken", "a") as file:
                print("".join(sorted(taken)), file=file)
        """
    )
    for _ in range(2):
        project.runpytest_inprocess().assert_outcomes(passed=1)
    first, second = (project.path / "taken").read_text("utf-8").split()
    assert first == second
    assert len(set(first)) > 1


@pytest.mark.process
@needs_binary
def test_a_real_server_for_every_test(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
SEEN = set()

@pytest.mark.parametrize("n", [1, 2])
async def test_x(n, nats_client, nats_server):
    assert await roundtrip(nats_client) == "127.0.0.1"
    assert nats_server.provider == "binary"
    SEEN.add((nats_server.url, nats_client.client_id))

def test_one_server_and_a_client_for_each_test():
    assert len({url for url, _ in SEEN}) == 1
    assert len(SEEN) == 2
""",
        BINARY,
    )
    result.assert_outcomes(passed=3)
    result.stdout.re_match_lines(
        [
            (
                r"rosey: nats=binary 2\.\S+ at nats://127\.0\.0\.1:\d+ \(binary nats-server .*: "
                r"--rosey-nats=binary\), db=memory \(default\)"
            )
        ]
    )


@pytest.mark.process
@needs_binary
def test_the_service_on_a_real_server(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
async def test_x(storage, db_service, nats_client):
    assert nats_client.connected_url.hostname == "127.0.0.1"
    await storage("quote-db").kv.set("k", 1)
    assert await storage("quote-db").kv.get("k") == 1
    assert [request.subject for request in db_service.requests] == [
        "rosey.db.kv.quote-db.set", "rosey.db.kv.quote-db.get"
    ]
""",
        BINARY,
    )
    result.assert_outcomes(passed=1)


def test_without_a_server_the_test_that_needs_one_fails_and_the_run_goes_on(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(*_: object, **__: object) -> None:
        raise ServerUnavailable("none on this machine")

    monkeypatch.setattr("pytest_rosey.servers.nats.choose", choose)
    project.makepyfile(
        """
        import pytest

        @pytest.mark.rosey_nats("real")
        async def test_real(nats_client):
            pass

        async def test_fake(nats_client):
            pass
        """
    )
    result = project.runpytest_inprocess("-p", "no:randomly")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*none on this machine*"])


@pytest.mark.process
@needs_binary
def test_the_marker_decides_whatever_the_command_line_says(project: pytest.Pytester) -> None:
    body = """
@pytest.mark.rosey_nats("fake")
async def test_fake(nats_client):
    assert await roundtrip(nats_client) == "embedded"

@pytest.mark.rosey_nats("real")
async def test_real(nats_client):
    assert await roundtrip(nats_client) == "127.0.0.1"

@pytest.mark.rosey_nats("fake", "real")
class TestBoth:
    HOSTS = []

    async def test_both(self, nats_client, storage):
        self.HOSTS.append(await roundtrip(nats_client))
        await storage("quote-db").kv.set("k", 1)

    def test_without_a_bus_it_runs_once(self):
        assert self.HOSTS == ["embedded", "127.0.0.1"]
"""
    for arguments in ([], [BINARY]):
        result = run(project, body, "-v", *arguments)
        result.assert_outcomes(passed=5)
        result.stdout.fnmatch_lines(["*TestBoth::test_both[[]fake[]]*", "*test_both[[]real[]]*"])


def test_a_test_that_cannot_run_on_each_bus_is_told_why(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import pytest

        def pytest_collection_modifyitems(items):
            items[0].add_marker(pytest.mark.rosey_nats("fake", "real"))
        """
    )
    result = run(
        project,
        """
async def test_marked_by_a_hook(nats_client): pass

@pytest.mark.rosey_nats("fake", "real")
def test_asks_late(request): request.getfixturevalue("nats_client")
""",
    )
    result.assert_outcomes(failed=1, errors=1)
    told = "*::test_{}: @pytest.mark.rosey_nats can run a test on several buses only if*"
    result.stdout.fnmatch_lines([told.format("marked_by_a_hook"), told.format("asks_late")])


@pytest.mark.process
@needs_binary
def test_fake_nats_stays_on_its_own_bus(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
async def test_x(fake_nats):
    fake_nats.respond("a.b", {})
    await fake_nats.request("a.b")
    assert fake_nats.connected_url.hostname == "embedded"
""",
        BINARY,
    )
    result.assert_outcomes(passed=1)


@pytest.mark.process
@needs_binary
def test_a_failure_on_a_real_server_shows_its_log(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
@pytest.mark.rosey_nats("fake", "real")
async def test_x(nats_client):
    assert False
""",
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*_ test_x[[]fake[]] _*",
            "*_ test_x[[]real[]] _*",
            "*- nats-server log -*",
            "*Server is r*",
        ]
    )
    assert result.stdout.str().count("nats-server log") == 1


@needs_binary
@pytest.mark.rosey_nats("real")
async def test_a_client_rides_out_a_restart(nats_client: Any, nats_server: NatsServer) -> None:
    back = asyncio.Event()

    async def reconnected() -> None:
        back.set()

    nats_client._reconnected_cb = reconnected
    await asyncio.to_thread(nats_server.restart)
    async with asyncio.timeout(10):
        await back.wait()
    await nats_client.flush()


@pytest.mark.process
@needs_binary
def test_under_xdist_every_worker_has_a_server(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest, pathlib

        @pytest.mark.parametrize("n", range(6))
        async def test_x(n, storage, nats_server, worker_id):
            assert await storage("quote-db").kv.incr("n") == 1
            pathlib.Path(f"{worker_id}.url").write_text(nats_server.url)
        """
    )
    result = project.runpytest_subprocess("-n2", BINARY)
    result.assert_outcomes(passed=6)
    urls = [path.read_text("utf-8") for path in project.path.glob("*.url")]
    assert len(set(urls)) == len(urls) == 2


def test_a_server_that_is_not_there_ends_the_run(project: pytest.Pytester) -> None:
    result = run(project, "def test_x(): pass", "--rosey-nats=nats://127.0.0.1:1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: No NATS server answers at nats://127.0.0.1:1*"])


def test_collecting_starts_no_server(project: pytest.Pytester) -> None:
    result = run(project, "def test_x(): pass", "--co", "--rosey-nats=nats://127.0.0.1:1")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["rosey: nats=real (--rosey-nats), not started to collect, db=*"])


async def test_a_proxy_closes_though_somebody_is_on_the_way_to_the_server() -> None:
    connections: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: connections.append(writer), LOOPBACK, 0)
    on_the_way = asyncio.Event()

    def target() -> Address:
        on_the_way.set()
        return Address(*silent.sockets[0].getsockname())

    proxy = Proxy(target, lambda _: False)
    here = await proxy.open()
    _, writer = await asyncio.open_connection(here.host, here.port)
    await on_the_way.wait()
    await proxy.close()
    for each in (writer, *connections):
        each.close()
    silent.close()


async def test_faults_on_a_server_that_asks_for_tls_are_refused() -> None:
    server = NonCallableMagicMock(NatsServer, asks_for_tls=True)
    with pytest.raises(ServerControlError, match="this server asks for TLS"):
        await bus.RealBus(server).tap(lambda _: False)


async def test_what_is_waited_for_in_vain_is_named(
    nats_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "_LONGEST_WAIT", 0)
    with pytest.raises(TimeoutError, match="The client of nats_client is still connected after"):
        await bus.until_gone([nats_client])

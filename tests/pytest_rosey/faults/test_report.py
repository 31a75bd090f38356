"""What `nats_faults` says: of faults that make no sense, and in the report of a failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_rosey import NatsFaults
from pytest_rosey.servers.nats import BinaryServer, find_binary

pytest_plugins = ["pytester"]

needs_binary = pytest.mark.skipif(
    find_binary().path is None, reason="no nats-server binary; the extra 'real' brings one"
)


def test_the_report_of_a_failure_lists_what_was_injected_and_what_it_hit(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(
        """
        async def test_x(nats_faults, storage):
            nats_faults.drop_reply("rosey.db.kv.*.set", times=1)
            nats_faults.error("rosey.db.row.>", "OVERLOADED", probability=0.5)
            nats_faults.slow_database(0)
            await nats_faults.disconnect()
            await nats_faults.reconnect()
            await storage("notes").kv.set("k", 1, timeout=0.05)

        async def test_passes(nats_faults):
            nats_faults.drop_reply("a.b")
        """
    )
    result = project.runpytest_inprocess("-p", "no:randomly")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*- nats_faults -*",
            "- drop_reply('rosey.db.kv.[*].set', times=1): hit 1 (rosey.db.kv.notes.set)",
            "- error('rosey.db.row.>', 'OVERLOADED', probability=0.5): hit nothing",
            "- slow_database(0)",
            "- disconnect()",
            "- reconnect()",
            "(dice seeded with *)",
        ],
        consecutive=True,
    )
    assert result.stdout.str().count("- nats_faults -") == 1


@pytest.mark.parametrize(
    "options", [[], ["-Werror", "-q"], pytest.param(["-n2"], marks=pytest.mark.process)]
)
def test_a_fault_that_hit_nothing_is_told_at_the_end(
    project: pytest.Pytester, options: list[str]
) -> None:
    project.makepyfile(
        """
        async def test_typo(nats_faults, storage):
            nats_faults.drop_reply("rosey.db.kv.nots.set", times=1)
            nats_faults.slow_database(0)
            nats_faults.slow_database(0.001)
            await storage("notes").kv.set("k", 1)

        async def test_nothing_is_sent(nats_faults, storage):
            nats_faults.fail_database()

        async def test_stopped_before(nats_faults, storage):
            nats_faults.fail_database(times=2)
            assert False
        """
    )
    result = project.runpytest_inprocess("-p", "no:randomly", *options)
    result.assert_outcomes(failed=1, passed=2)
    told = [line for line in result.outlines if line.startswith("rosey: test_")]
    file = "rosey: test_a_fault_that_hit_nothing_is_told_at_the_end.py"
    assert sorted(told) == [
        f"{file}::test_nothing_is_sent: nats_faults.fail_database(): hit nothing",
        f"{file}::test_typo: nats_faults.drop_reply('rosey.db.kv.nots.set', times=1): hit nothing",
    ]


def test_random_faults_fall_the_same_way_in_every_run(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        async def test_x(nats_faults, nats_client):
            async def echo(message):
                with open("taken", "a") as file:
                    file.write(message.data.decode())
                await message.respond(b"")

            await nats_client.subscribe("echo", cb=echo)
            fault = nats_faults.no_responders("echo", probability=0.5)
            for letter in "abcdefghijklmnopqrst":
                try:
                    await nats_client.request("echo", letter.encode())
                except Exception:
                    pass
            with open("taken", "a") as file:
                print(f" {len(fault.hits)}", file=file)
        """
    )
    for _ in range(2):
        project.runpytest_inprocess().assert_outcomes(passed=1)
    first, second = (project.path / "taken").read_text("utf-8").splitlines()
    assert first == second
    letters, hits = first.split()
    assert len(letters) + int(hits) == 20
    assert 0 < int(hits) < 20


BUSES = pytest.mark.parametrize("bus", ["fake", pytest.param("real", marks=needs_binary)])


@BUSES
@pytest.mark.parametrize(
    "fault",
    [
        "await nats_faults.kill_server()",
        "await nats_faults.pause_server()",
        "await nats_faults.disconnect()",
        "await nats_faults.kill_service()",
        "nats_faults.drop_request('>')",
        "nats_faults.slow_database(60)",
        "nats_faults.late('>', 60)",
    ],
)
def test_faults_end_before_the_fixtures_are_torn_down(
    project: pytest.Pytester, bus: str, fault: str
) -> None:
    project.makepyfile(
        f"""
        import asyncio
        import pytest

        pytestmark = pytest.mark.rosey_nats("{bus}")

        class Plugin:
            def __init__(self, nats):
                self.nats = nats

            async def close(self):
                if "kill_service" not in {fault!r}:
                    assert (await self.nats.request("rosey.db.ping", b"", timeout=10)).data

        async def test_x(nats_faults, rosey_plugin, plugin_namespace):
            await rosey_plugin(Plugin, namespace=plugin_namespace, migrate=False)
            {fault}

        async def test_y(storage):
            await storage("notes").kv.set("k", 1)
        """
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=2)


def test_clients_in_the_middle_of_an_attempt_are_waited_for(project: pytest.Pytester) -> None:
    """nats-py says of them that they connect, not that they reconnect."""
    project.makepyfile(
        """
        class Plugin:
            def __init__(self, nats):
                self.nats = nats

            async def close(self):
                assert self.nats.is_connected

        async def test_x(nats_faults, rosey_plugin, plugin_namespace):
            await rosey_plugin(Plugin, namespace=plugin_namespace, migrate=False)
            await nats_faults.kill_server()
            for client in nats_faults._bus.clients:
                client._status = client.CONNECTING
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=1)


@pytest.mark.process
@needs_binary
def test_a_server_given_by_its_url_is_not_ours_to_kill(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from pytest_rosey.servers.nats import ServerControlError

        async def test_x(nats_faults, storage):
            with pytest.raises(ServerControlError, match="cannot be killed: it was given by"):
                await nats_faults.kill_server()
            await nats_faults.disconnect()
            await nats_faults.reconnect()
            await storage("notes").kv.set("k", 1)
        """
    )
    path = find_binary().path
    assert path is not None
    with BinaryServer(path) as server:
        project.runpytest_inprocess(f"--rosey-nats={server.url}").assert_outcomes(passed=1)


def test_a_service_fault_without_a_service(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        async def test_x(nats_faults):
            nats_faults.fail_database()
        """
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E *RuntimeError: This fault hits the database service, and this test has none: name *"]
    )


def test_asked_for_too_late(project: pytest.Pytester) -> None:
    project.makepyfile("def test_x(nats_client, request): request.getfixturevalue('nats_faults')")
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*nats_faults came after the first client, whose messages *"])


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda f: f.drop_reply("a.b", times=0), "times must be at least 1, got 0"),
        (lambda f: f.fail_database(times=0), "times must be at least 1, got 0"),
        (lambda f: f.delay("a.b", -1), "seconds must not be negative, got -1"),
        (lambda f: f.deny("a..b"), "'a..b' is not a subject"),
        (lambda f: f.deny("a.b", probability=0), "probability must be above 0 and at most 1"),
        (
            lambda f: f.error("a.b", "OVERLOADDED"),
            "'OVERLOADDED' is not an error code of the contract. Did you mean 'OVERLOADED'",
        ),
    ],
)
async def test_faults_that_make_no_sense(
    nats_faults: NatsFaults, ask: Callable[[NatsFaults], Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text.replace(".", r"\.")):
        ask(nats_faults)

"""What tests leave on JetStream of a server of the run: told, and removed (SPEC 5.1)."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from pytest_rosey import marks
from pytest_rosey.servers.nats import NatsServer, ServerUnavailable, jetstream

LIFTED_BY = "`rosey_strict_cleanup = false` in the ini file lifts this check, and keeps them."

_CONNECT_THEMSELVES = frozenset({"nats_server", "nats_url"})


class StreamWatch:
    """A plugin of pytest, registered when the server is started.

    Args:
        server: whose streams.
    """

    def __init__(self, server: NatsServer) -> None:
        self._server = server
        self._kept: jetstream.Inventory = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[object]
    ) -> Generator[None, object, object]:
        """Let stay what a fixture makes that outlives the test."""
        if fixturedef.scope == "function":
            return (yield)
        before = self._inventory()
        result = yield
        after = self._inventory()
        for stream, consumer in jetstream.left(before, after):
            made = frozenset({consumer}) if consumer else after[stream]
            self._kept[stream] = self._kept.get(stream, frozenset()) | made
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Look at what is there when all fixtures of a test have been torn down."""
        try:
            return (yield)
        finally:
            run, names = marks.run_of(item), getattr(item, "fixturenames", ())
            if run.asked_jetstream or _CONNECT_THEMSELVES.intersection(names):
                self._take_back(run)

    def _take_back(self, run: marks.Run) -> None:
        self._server.start()  # a test may have ended it
        left = jetstream.left(self._kept, self._inventory())
        for stream, consumer in left:
            jetstream.remove(self._server.url, stream, consumer)
        if left and run.is_complete:
            listed = "".join(f"\n  - {_described(*each)}" for each in left)
            pytest.fail(
                f"The test left on JetStream:{listed}\nThey were removed; delete them before the "
                f"test ends.\n{LIFTED_BY}",
                pytrace=False,
            )

    def _inventory(self) -> jetstream.Inventory:
        try:
            return jetstream.inventory(self._server.url)
        except ServerUnavailable:  # killed, or with a configuration that lets in others only
            return {}


def _described(stream: str, consumer: str) -> str:
    if consumer:
        return f"consumer '{consumer}' of stream '{stream}'"
    for prefix, what in (("KV_", "key-value bucket"), ("OBJ_", "object store")):
        if stream.startswith(prefix):
            return f"{what} '{stream.removeprefix(prefix)}'"
    return f"stream '{stream}'"

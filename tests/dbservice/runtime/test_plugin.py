"""One protocol for plugins, and one sentence for what is not like it."""

from __future__ import annotations

from typing import Any

import pytest

from dbservice.runtime import plugin
from dbservice.runtime.plugin import PluginError


class Bare:
    def __init__(self, client: Any) -> None:
        self.client = client


class Whole(Bare):
    errors = (KeyError,)
    best_effort = ("kv:cache:*",)

    def __init__(self, client: Any, *, namespace: str = "whole", size: int = 1) -> None:
        super().__init__(client)
        self.namespace = namespace
        self.size = size
        self.calls: list[str] = []

    async def initialize(self) -> None:
        self.calls.append("initialize")

    def close(self) -> None:
        self.calls.append("close")

    async def readiness(self) -> None:
        self.calls.append("readiness")

    def http_routes(self) -> dict[str, Any]:
        return {"/about": None}


async def test_what_a_plugin_has_is_used() -> None:
    made = plugin.construct(Whole, "client", namespace="other", size=3)
    assert (made.client, made.namespace, made.size) == ("client", "other", 3)
    await plugin.start(made)
    await plugin.check_readiness(made)
    await plugin.stop(made)
    assert made.calls == ["initialize", "readiness", "close"]
    assert list(plugin.routes_of(made)) == ["/about"]


async def test_what_it_lacks_is_not_missed() -> None:
    made = plugin.construct(Bare, "client", namespace="bare")
    await plugin.start(made)
    await plugin.check_readiness(made)
    await plugin.stop(made)
    assert plugin.routes_of(made) == {}


def test_a_namespace_that_was_given_by_name_wins_over_none() -> None:
    assert plugin.construct(Whole, "client").namespace == "whole"


@pytest.mark.parametrize("name", plugin.METHODS)
def test_a_method_that_means_something_else(name: str) -> None:
    async def other(self: Any, quote_id: int) -> None:
        """Do something with a quote."""

    kind = type("Mine", (Bare,), {name: other})
    for examined in (kind, kind("client")):
        with pytest.raises(PluginError) as told:
            plugin.check(examined)
        assert f"cannot be called as {name}(): missing a required argument: 'quote_id'. A" in str(
            told.value
        )
        assert "Rename yours if it means something else" in str(told.value)
    with pytest.raises(PluginError, match=rf"Mine\.{name}\("):
        plugin.construct(kind, "client")


def test_an_attribute_that_is_no_method() -> None:
    with pytest.raises(PluginError, match=r"Mine\.close is True: expected a method"):
        plugin.check(type("Mine", (), {"close": True}))


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("errors", ValueError), ("errors", (3,)), ("best_effort", "kv:*"), ("best_effort", (3,))],
)
def test_what_is_declared_wrongly(attribute: str, value: object) -> None:
    with pytest.raises(PluginError, match=rf"Mine\.{attribute} is .*: expected a tuple of"):
        plugin.check(type("Mine", (), {attribute: value}))


def test_a_constructor_without_a_client() -> None:
    class Alone:
        """Takes nothing."""

    with pytest.raises(PluginError, match=r"Alone.* cannot be called as Alone\(client\): too many"):
        plugin.construct(Alone, "client")


def test_a_constructor_that_wants_more() -> None:
    class Greedy:
        def __init__(self, client: Any, database: str) -> None:
            self.database = database

    with pytest.raises(PluginError, match="missing a required argument: 'database'"):
        plugin.construct(Greedy, "client", namespace="greedy")
    assert plugin.construct(Greedy, "client", database="x").database == "x"


def test_what_a_constructor_itself_raises_is_not_taken_for_a_wrong_signature() -> None:
    def make(client: Any) -> Any:
        raise TypeError("from inside")

    with pytest.raises(TypeError, match=r"^from inside$") as told:
        plugin.construct(make, "client")
    assert not isinstance(told.value, PluginError)

"""What fixtures give has a public name, for annotations in an editor (SPEC 5.1)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_rosey
from pytest_rosey import fixtures

GIVES = {
    "cleanup_plugin_namespace": "NamespaceCleaner",
    "db_service": "ServiceUnderTest",
    "fake_nats": "FakeNats",
    "make_nats_response": "Callable[..., Msg]",
    "mock_nats": "Any",
    "nats_client": "Client",
    "nats_faults": "NatsFaults",
    "nats_server": "NatsServer",
    "nats_url": "str",
    "plugin_namespace": "str",
    "rosey_benchmark": "RoseyBenchmark",
    "rosey_chat": "RoseyChat",
    "rosey_clock": "RoseyClock | VirtualTime",
    "rosey_events": "RoseyEvents",
    "rosey_explore": "RoseyExplore",
    "rosey_migrations": "MigrationRunner",
    "rosey_plugin": "PluginFactory",
    "storage": "Callable[..., StorageClient]",
}
"""Every public fixture, and the type that it is annotated with."""

ELSEWHERE = {"Any", "Callable", "Client", "Msg", "StorageClient", "str"}
"""Names of Python, of nats-py (Client, Msg) and of dbservice.client."""


def _annotated() -> Iterator[tuple[str, ast.expr]]:
    for file in Path(fixtures.__file__).parent.glob("*.py"):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and _is(node):
                assert node.returns is not None
                yield node.name, _given(node.returns)


def _is(function: ast.FunctionDef) -> bool:
    return any(ast.unparse(each).startswith("pytest.fixture") for each in function.decorator_list)


def _given(returned: ast.expr) -> ast.expr:
    """Return what a fixture gives that yields it."""
    is_generator = isinstance(returned, ast.Subscript) and ast.unparse(returned.value) == "Iterator"
    return returned.slice if is_generator else returned


def test_all_fixtures_and_what_they_give() -> None:
    assert {name: ast.unparse(given) for name, given in _annotated()} == GIVES


@pytest.mark.parametrize("given", GIVES.values(), ids=GIVES)
def test_what_it_gives_has_a_public_name(given: str) -> None:
    names = {node.id for node in ast.walk(ast.parse(given)) if isinstance(node, ast.Name)}
    assert names - ELSEWHERE <= set(pytest_rosey.__all__)

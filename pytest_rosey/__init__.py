"""The pytest plugin of pytest-rosey, and the names that tests may import from it.

Nothing is imported until it is asked for: every pytest run of an environment loads this module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_rosey.benchmarks import RoseyBenchmark
    from pytest_rosey.checks.failure import CheckFailed
    from pytest_rosey.checks.under_check import MigrationWarning, PluginMigrations
    from pytest_rosey.clients import WrongLoopError
    from pytest_rosey.clock import RoseyClock, VirtualTime
    from pytest_rosey.explore.invariants import RoseyExplore
    from pytest_rosey.faults.injection import Fault, NatsFaults
    from pytest_rosey.fixtures.chat import ChatReply, RoseyChat, RoseyEvents
    from pytest_rosey.fixtures.migration_runner import MigrationRunner
    from pytest_rosey.fixtures.namespace_cleaner import NamespaceCleaner
    from pytest_rosey.fixtures.plugin_factory import PluginFactory
    from pytest_rosey.servers.nats import NatsServer
    from pytest_rosey.service.under_test import ServedRequest, ServiceUnderTest
    from pytest_rosey.stubs.contract import ContractError
    from pytest_rosey.stubs.fake import FakeNats, UnstubbedRequest
    from pytest_rosey.stubs.mocks import make_nats_response
    from pytest_rosey.stubs.requests import SentRequest
    from pytest_rosey.stubs.stub import Stub

__all__ = [
    "ChatReply",
    "CheckFailed",
    "ContractError",
    "FakeNats",
    "Fault",
    "MigrationRunner",
    "MigrationWarning",
    "NamespaceCleaner",
    "NatsFaults",
    "NatsServer",
    "PluginFactory",
    "PluginMigrations",
    "RoseyBenchmark",
    "RoseyChat",
    "RoseyClock",
    "RoseyEvents",
    "RoseyExplore",
    "SentRequest",
    "ServedRequest",
    "ServiceUnderTest",
    "Stub",
    "UnstubbedRequest",
    "VirtualTime",
    "WrongLoopError",
    "make_nats_response",
]

_HOMES = {
    "ChatReply": "fixtures.chat",
    "CheckFailed": "checks.failure",
    "ContractError": "stubs.contract",
    "FakeNats": "stubs.fake",
    "Fault": "faults.injection",
    "MigrationRunner": "fixtures.migration_runner",
    "MigrationWarning": "checks.under_check",
    "NamespaceCleaner": "fixtures.namespace_cleaner",
    "NatsFaults": "faults.injection",
    "NatsServer": "servers.nats",
    "PluginFactory": "fixtures.plugin_factory",
    "PluginMigrations": "checks.under_check",
    "RoseyBenchmark": "benchmarks",
    "RoseyExplore": "explore.invariants",
    "RoseyChat": "fixtures.chat",
    "RoseyClock": "clock",
    "RoseyEvents": "fixtures.chat",
    "SentRequest": "stubs.requests",
    "ServedRequest": "service.under_test",
    "ServiceUnderTest": "service.under_test",
    "Stub": "stubs.stub",
    "UnstubbedRequest": "stubs.fake",
    "VirtualTime": "clock",
    "WrongLoopError": "clients",
    "make_nats_response": "stubs.mocks",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

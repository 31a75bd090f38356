"""The markers, and what our fixtures need to know about the test they serve (SPEC 5.2, 5.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from pytest_rosey.options import settings

if TYPE_CHECKING:
    from pytest_rosey.faults.injection import NatsFaults

FAKE, REAL = "fake", "real"
_BUSES = (FAKE, REAL)

TIME = "rosey_time"
_VIRTUAL = "virtual"
_TIMES = (_VIRTUAL, "real")

_OUTCOME = pytest.StashKey[BaseException | None]()
_FAULTS = pytest.StashKey["NatsFaults"]()


@dataclass(frozen=True, slots=True)
class FakeRules:
    """What `@pytest.mark.rosey_fake` decides."""

    assert_all_called: bool = True
    contract: bool = True


def declare(config: pytest.Config) -> None:
    """Declare the markers with their full signatures."""
    config.addinivalue_line(
        "markers",
        "rosey_fake(assert_all_called=True, contract=True): "
        "how strict fake_nats is in this test. assert_all_called=False allows stubs that nothing "
        "used; contract=False allows stubs and requests that break the wire contract.",
    )
    config.addinivalue_line(
        "markers",
        'rosey_nats("fake" | "real", ...): '
        "which bus nats_client and all that stands on it use in this test, whatever the command "
        'line says: "fake" is the in-process bus, "real" a nats-server; with both the test runs '
        "twice.",
    )
    config.addinivalue_line(
        "markers",
        'rosey_time("virtual" | "real"): '
        "the time of this test and its fixtures. In virtual time the loop's clock jumps to the "
        "next timer when nothing else is to be done, so that an hour of waits takes milliseconds; "
        "the in-process bus, a database in memory, pytest-rosey[time].",
    )
    config.addinivalue_line(
        "markers",
        'rosey_allow_hosts("host", ...): '
        "NATS servers outside this machine that this test may connect to; * and ? are wildcards.",
    )


def allowed_hosts(item: pytest.Item) -> tuple[str, ...]:
    """Return the hosts that a test, its class and its module allow."""
    hosts: list[str] = []
    for marker in item.iter_markers("rosey_allow_hosts"):
        if marker.kwargs or not marker.args or any(not isinstance(h, str) for h in marker.args):
            given = ", ".join([*map(repr, marker.args), *marker.kwargs]) or "nothing"
            pytest.fail(
                f"{item.nodeid}: @pytest.mark.rosey_allow_hosts takes the names of hosts, "
                f'such as "nats.example.com", got {given}.',
                pytrace=False,
            )
        hosts += marker.args
    return tuple(hosts)


def fake_rules(item: pytest.Item) -> FakeRules:
    """Return how strict `fake_nats` is in a test; a marker on the test beats one on its class."""
    given: dict[str, bool] = {}
    for marker in reversed(list(item.iter_markers("rosey_fake"))):
        _check_rules(item, marker)
        given.update(marker.kwargs)
    rules = FakeRules(**given)
    return FakeRules(rules.assert_all_called, rules.contract and settings(item.config).contract)


def _check_rules(item: pytest.Item, marker: pytest.Mark) -> None:
    unknown = [name for name in marker.kwargs if name not in FakeRules.__slots__]
    if marker.args or unknown:
        given = ", ".join([*map(repr, marker.args), *unknown])
        pytest.fail(
            f"{item.nodeid}: @pytest.mark.rosey_fake takes assert_all_called=True|False and "
            f"contract=True|False, got {given}.",
            pytrace=False,
        )


def repeat_on_each_bus(metafunc: pytest.Metafunc) -> None:
    """Parametrize a test that names several buses, if it uses one at all."""
    buses = _named(metafunc.definition)
    if len(buses) > 1 and "_rosey_bus" in metafunc.fixturenames:
        metafunc.parametrize("_rosey_bus", buses, indirect=True)


def is_in_virtual_time(item: pytest.Item) -> bool:
    """Return whether a test is to run in virtual time."""
    marker = item.get_closest_marker(TIME)
    if marker is None:
        return settings(item.config).time == _VIRTUAL
    if len(marker.args) != 1 or marker.kwargs or marker.args[0] not in _TIMES:
        given = ", ".join([*map(repr, marker.args), *marker.kwargs]) or "nothing"
        pytest.fail(
            f'{item.nodeid}: @pytest.mark.{TIME} takes "virtual" or "real", got {given}.',
            pytrace=False,
        )
    return bool(marker.args[0] == _VIRTUAL)


def uses_real_bus(item: pytest.Item) -> bool:
    """Return whether a test gets a real server, before its fixtures are set up."""
    if "_rosey_bus" not in getattr(item, "fixturenames", ()):
        return False
    repeated = getattr(item, "callspec", None)
    bus = repeated.params.get("_rosey_bus") if repeated is not None else None
    return (bus or _bus_named_for(item)) == REAL


def bus_of(request: pytest.FixtureRequest) -> str:
    """Return which bus the requesting test gets: `fake` or `real`."""
    repeated: str | None = getattr(request, "param", None)
    if repeated is not None:
        return repeated
    return _bus_named_for(request.node)


def _bus_named_for(item: pytest.Item) -> str:
    named = _named(item)
    return named[0] if named else (REAL if settings(item.config).real_nats else FAKE)


def _named(node: pytest.Item) -> tuple[str, ...]:
    marker = node.get_closest_marker("rosey_nats")
    if marker is None:
        return ()
    named = marker.args
    if not named or marker.kwargs or any(bus not in _BUSES for bus in named):
        pytest.fail(
            f'{node.nodeid}: @pytest.mark.rosey_nats takes "fake", "real", or both, '
            f"got {', '.join(map(repr, named)) or 'nothing'}.",
            pytrace=False,
        )
    return named


def remember_outcome(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Keep the exception of a failed set-up or test for the tear-down of its fixtures."""
    if call.when == "teardown":
        # It holds frames, and the item lives as long as the session.
        item.stash[_OUTCOME] = None
    else:
        item.stash[_OUTCOME] = call.excinfo.value if call.excinfo is not None else None


def note_faults(item: pytest.Item, faults: NatsFaults) -> None:
    """Remember the faults of a test, to end them with it and to report them."""
    item.stash[_FAULTS] = faults


def end_faults(item: pytest.Item) -> None:
    """Let the fixtures of a test be torn down in peace."""
    if (faults := item.stash.get(_FAULTS, None)) is not None:
        faults.lift()


def report_of_faults(item: pytest.Item) -> str:
    """Return what was injected into a test, for its failure report; empty for nothing."""
    faults = item.stash.get(_FAULTS, None)
    return "" if faults is None else faults.report()


def forget_faults(item: pytest.Item) -> None:
    """Let go of the faults of a test that is over, and with them of its bus."""
    if _FAULTS in item.stash:
        del item.stash[_FAULTS]


def failure_of(item: pytest.Item) -> BaseException | None:
    """Return what made the test or its set-up fail, during the tear-down of its fixtures."""
    return item.stash.get(_OUTCOME, None)

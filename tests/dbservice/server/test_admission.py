"""Who is served next, who waits and who is turned away, without any I/O."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbservice.protocol.names import namespace
from dbservice.server.admission import Admission, Limits, newcomers_with
from dbservice.server.incoming import read
from dbservice.storage.database import NEWCOMERS


class Counterpart:
    """Starts what it is told to and finishes it when the test says so."""

    def __init__(
        self, in_flight: int, queued: int, size: int = 2**40, plugin_size: int = 2**40
    ) -> None:
        self.started: list[tuple[str, int]] = []
        self.running: list[tuple[str, int]] = []
        self.admission: Admission[int] = Admission(
            Limits(in_flight, queued, size, plugin_size), self._start
        )
        self._sizes: dict[int, int] = {}
        self._next = 0

    def _start(self, plugin: str, request: int) -> None:
        self.started.append((plugin, request))
        self.running.append((plugin, request))

    def send(self, plugin: str, count: int = 1, size: int = 1) -> list[int]:
        """Offer requests with rising numbers; return those that were refused."""
        refused = []
        for _ in range(count):
            self._next += 1
            self._sizes[self._next] = size
            refused += self.admission.offer(plugin, self._next, size)
        return refused

    def finish(self, index: int = 0) -> str | None:
        """Finish one of those that run; return whose request it made room for, if any."""
        before = len(self.started)
        plugin, request = self.running.pop(index)
        self.admission.finished(plugin, self._sizes[request])
        new = self.started[before:]
        assert len(new) <= 1
        return new[0][0] if new else None


def test_requests_start_at_once_while_there_are_places():
    bus = Counterpart(4, 10)
    assert bus.send("a", 4) == []
    assert bus.started == [("a", 1), ("a", 2), ("a", 3), ("a", 4)]
    assert (bus.admission.active, bus.admission.waiting) == (4, 0)


def test_the_rest_waits_and_starts_in_order():
    bus = Counterpart(1, 10)
    bus.send("a", 3)
    assert bus.started == [("a", 1)]
    assert bus.finish() == "a"
    assert bus.finish() == "a"
    assert bus.started == [("a", 1), ("a", 2), ("a", 3)]
    assert bus.finish() is None
    assert (bus.admission.active, bus.admission.waiting) == (0, 0)


def test_a_request_of_a_quiet_plugin_waits_for_one_turn():
    bus = Counterpart(2, 5000)
    bus.send("noisy", 1000)
    bus.send("quiet")
    turns = [bus.finish(), bus.finish()]
    assert turns == ["noisy", "quiet"]


def test_plugins_take_turns_however_much_each_wants():
    bus = Counterpart(1, 100)
    bus.send("running")
    bus.send("a", 30)
    bus.send("b", 3)
    bus.send("c", 2)
    turns = [bus.finish() for _ in range(9)]
    assert turns == ["a", "b", "c", "a", "b", "c", "a", "b", "a"]


def test_a_newcomer_comes_before_those_who_have_had_their_turn():
    bus = Counterpart(1, 100)
    bus.send("running")
    bus.send("a", 5)
    bus.send("b", 5)
    assert bus.finish() == "a"
    bus.send("c")
    assert [bus.finish() for _ in range(3)] == ["b", "c", "a"]


def test_one_plugin_alone_leaves_an_eighth_of_the_places_to_the_others():
    bus = Counterpart(16, 100)
    bus.send("noisy", 50)
    assert bus.admission.active == 14
    bus.send("quiet", 2)
    assert [plugin for plugin, _ in bus.started[-2:]] == ["quiet", "quiet"]
    assert bus.admission.active == 16


def test_a_share_is_counted_right_after_requests_have_finished():
    bus = Counterpart(8, 100)
    bus.send("noisy", 9)
    for _ in range(3):
        bus.finish()
    bus.send("noisy", 5)
    assert len(bus.running) == 7
    bus.send("quiet", 1)
    assert len(bus.running) == 8


def test_a_plugin_that_holds_its_share_does_not_block_the_turn_of_others():
    bus = Counterpart(16, 100)
    bus.send("noisy", 20)
    bus.send("quiet", 3)
    assert bus.finish(14) == "quiet"
    assert bus.finish(0) == "noisy"


def test_a_full_waiting_room_turns_away():
    bus = Counterpart(1, 2)
    assert bus.send("a", 3) == []
    assert bus.send("a", 2) == [4, 5]
    assert bus.admission.is_full


def test_the_longest_queue_gives_way_to_a_plugin_that_waits_less():
    bus = Counterpart(1, 4)
    bus.send("noisy", 5)
    assert bus.send("quiet", 1) == [5]
    assert bus.send("quiet", 1) == [4]
    assert bus.send("quiet", 1) == [8]
    assert [bus.finish() for _ in range(4)] == ["noisy", "quiet", "noisy", "quiet"]


def test_nobody_gives_way_to_a_plugin_that_would_then_wait_for_as_much():
    bus = Counterpart(1, 5)
    bus.send("noisy", 6)
    assert bus.send("quiet", 2) == [6, 5]
    assert bus.send("quiet", 1) == [9]  # it waits for two, the other for three
    assert bus.send("noisy", 1) == [10]


def test_one_plugin_has_so_many_bytes_and_no_more():
    bus = Counterpart(1, 100, size=100, plugin_size=30)
    assert bus.send("noisy", 4, size=10) == [4]
    assert bus.send("quiet", 1, size=10) == []
    bus.finish()
    assert bus.send("noisy", 2, size=10) == [7]


def test_those_with_most_bytes_waiting_give_way_to_one_with_less():
    bus = Counterpart(1, 100, size=100, plugin_size=60)
    assert bus.send("a", 6, size=10) == []
    assert bus.send("b", 4, size=10) == []
    assert bus.admission.is_full
    assert bus.send("quiet", 1, size=20) == [6, 5]
    assert bus.send("b", 1, size=10) == [12]
    assert sorted(bus.admission.dismiss()) == [2, 3, 4, 7, 8, 9, 10, 11]
    assert not bus.admission.is_full


def test_a_request_that_gave_way_gives_its_bytes_back():
    bus = Counterpart(1, 3, size=1000, plugin_size=50)
    bus.send("noisy", 4, size=10)
    assert bus.send("quiet", 1, size=10) == [4]
    bus.finish()
    assert bus.send("noisy", 1, size=20) == []


def test_who_gave_way_counts_with_what_still_waits():
    bus = Counterpart(1, 10, size=40)
    bus.send("a", size=10)
    bus.send("b", 3, size=10)
    assert bus.send("c", size=10) == [4]
    assert bus.send("c", size=10) == [6], "b and c would have as much waiting"


def test_nobody_is_asked_to_give_way_after_being_dismissed():
    bus = Counterpart(1, 10, size=30)
    bus.send("a", size=10)
    bus.send("b", 2, size=10)
    bus.admission.dismiss()
    bus.send("c", size=15)
    assert bus.send("d", size=10) == [4]


def test_no_plugin_is_remembered_that_asks_for_nothing_any_more():
    """Messages choose the names, so that whatever was kept of each would grow without end."""
    bus = Counterpart(2, 10)
    for plugin in "abc":
        bus.send(plugin, 2)
    while bus.running:
        bus.finish()
    assert not bus.admission._taken


def test_it_tells_how_long_the_oldest_request_has_waited():
    bus = Counterpart(1, 10)
    bus.send("a")
    assert bus.admission.waited == 0
    bus.send("a")
    assert bus.admission.waited > 0


def test_newcomers_leave_a_place_to_those_who_are_known():
    bus = Counterpart(16, 100)
    for turn in range(20):
        bus.send(f"?{turn}")
    assert bus.admission.active == 15
    assert bus.send("known") == []
    assert bus.started[-1][0] == "known"
    assert bus.finish(15) is None, "the place of one who is known goes to no newcomer"
    assert bus.finish() == "?15"


def test_without_a_waiting_room_what_cannot_start_is_turned_away():
    bus = Counterpart(1, 0)
    assert bus.send("a", 2) == [2]
    assert bus.send("b", 1) == [3]


def test_who_is_dismissed_never_starts():
    bus = Counterpart(1, 10)
    bus.send("a", 3)
    bus.send("b", 1)
    assert bus.admission.dismiss() == [2, 3, 4]
    assert bus.finish() is None
    assert bus.admission.waiting == 0


@settings(max_examples=200, deadline=None)
@given(
    in_flight=st.integers(1, 20),
    queued=st.integers(0, 20),
    steps=st.lists(st.one_of(st.sampled_from("abcd"), st.integers(0, 1000)), max_size=120),
)
def test_no_request_is_lost_and_no_place_left_empty(in_flight, queued, steps):
    bus = Counterpart(in_flight, queued)
    refused: list[int] = []
    for step in steps:
        if isinstance(step, str):
            refused += bus.send(step)
        elif bus.running:
            bus.finish(step % len(bus.running))
        admission = bus.admission
        assert admission.active == len(bus.running) <= in_flight
        assert admission.waiting <= queued
        assert len(bus.started) + len(refused) + admission.waiting == bus._next
        held = Counter(plugin for plugin, _ in bus.running)
        share = in_flight - in_flight // 8
        assert max(held.values(), default=0) <= share
        if admission.waiting and admission.active < in_flight:
            assert share in held.values()
    while bus.running:
        bus.finish()
    assert bus.admission.waiting == 0
    assert sorted([number for _, number in bus.started] + refused) == list(range(1, bus._next + 1))
    for plugin in "abcd":
        numbers = [number for name, number in bus.started if name == plugin]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    ("subject", "payload", "plugin"),
    [
        ("rosey.db.kv.quote-db.get", b"", "quote-db"),
        ("rosey.db.row.quote_db.insert", b"{", "quote_db"),
        ("rosey.db.migrate.quote-db.apply", b"", "quote-db"),
        ("rosey.db.kv.get", b'{"key": "k", "plugin_name": "quote-db"}', "quote-db"),
        ("rosey.db.kv.get", b'{"plugin_name": "Quote DB"}', None),
        ("rosey.db.kv.get", b'{"plugin_name": 5}', None),
        ("rosey.db.kv.get", b"\xff", None),
        ("rosey.db.kv.get", b"", None),
        ("rosey.db.kv.get", b'{"a": ' + b"[" * 100_000, None),
        ("rosey.db.ping", b"", None),
        ("rosey.db.row.Quote.insert", b"", None),
        ("rosey.db.nothing.at.all", b"", None),
    ],
)
def test_whom_a_request_counts_against(subject, payload, plugin):
    namespace = read(subject, payload, taken_at=0).namespace
    assert (namespace and namespace.plugin) == plugin


def test_those_who_own_nothing_yet_are_sixteen_at_the_most():
    turns = Counter(newcomers_with(namespace(f"plugin-{number}")) for number in range(1_000))
    assert len(turns) == 16
    assert all(turn.startswith(NEWCOMERS) for turn in turns)

"""The trie of subscriptions against the plain definition of matching."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from dbservice.embedded.interest import Interest, Subscription, covers, is_valid_pattern

TOKENS = st.sampled_from([b"a", b"b", b"*", b">", b""])
SUBJECTS = st.lists(TOKENS, min_size=1, max_size=4).map(b".".join)
PATTERNS = SUBJECTS.filter(is_valid_pattern)


def subscription(pattern: bytes, order: int) -> Subscription:
    return Subscription(cast("Any", None), pattern, None, b"%d" % order, order)


@settings(max_examples=300, deadline=None)
@given(patterns=st.lists(PATTERNS, max_size=8), subject=SUBJECTS, data=st.data())
def test_match_finds_what_covers_says(
    patterns: list[bytes], subject: bytes, data: st.DataObject
) -> None:
    interest = Interest()
    everything = [subscription(pattern, order) for order, pattern in enumerate(patterns)]
    for each in everything:
        interest.add(each)
    removed = data.draw(st.sets(st.sampled_from(everything))) if everything else set()
    for each in removed:
        interest.remove(each)
    left = [each for each in everything if each not in removed]
    assert interest.match(subject) == [each for each in left if covers(each.pattern, subject)]
    assert list(interest) == left


@given(patterns=st.lists(PATTERNS, max_size=8))
def test_removing_everything_leaves_no_branch(patterns: list[bytes]) -> None:
    interest = Interest()
    everything = [subscription(pattern, order) for order, pattern in enumerate(patterns)]
    for each in everything:
        interest.add(each)
    for each in everything:
        interest.remove(each)
    assert interest._root.is_empty()
    assert len(interest) == 0


def test_the_rules_of_wildcards() -> None:
    assert covers(b"a.*", b"a.b")
    assert not covers(b"a.*", b"a.b.c")
    assert not covers(b"a.>", b"a")
    assert covers(b"a.>", b"a.b.c")
    assert covers(b"a.*", b"a.>")
    assert not covers(b"a.b", b"a.*")
    assert not covers(b">", b"a..b")

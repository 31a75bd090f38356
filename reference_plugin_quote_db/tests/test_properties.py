"""What holds for any text: generated, not thought up."""

from __future__ import annotations

import html

import pytest

pytest.importorskip("hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st

from dbservice.runtime.clock import ManualClock
from reference_plugin_quote_db import validation
from reference_plugin_quote_db.chat.parser import join, parse, text_and_author
from reference_plugin_quote_db.errors import ValidationError
from reference_plugin_quote_db.moderation import Moderator
from reference_plugin_quote_db.parts.cache import SIZE, RowCache
from reference_plugin_quote_db.quotes import containing
from reference_plugin_quote_db.validation import escaped

MODERATOR = Moderator(["badword", "shit"])
TEXTS = st.text(max_size=1100)
SEPARATORS = st.sampled_from(["", " ", ".", "-_", " * "])

pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")


@given(TEXTS)
def test_a_text_is_refused_or_kept_clean(text: str) -> None:
    try:
        kept = validation.quote_text(text)
    except ValidationError:
        return
    assert 1 <= len(kept) <= validation.MAX_TEXT
    assert kept == kept.strip()
    assert "\0" not in kept
    assert validation.quote_text(kept) == kept
    assert kept.encode()


@given(TEXTS)
def test_a_name_is_refused_or_printable(name: str) -> None:
    for rule, longest in (
        (validation.author, validation.MAX_AUTHOR),
        (validation.username, validation.MAX_USERNAME),
    ):
        try:
            kept = rule(name)
        except ValidationError:
            continue
        assert 1 <= len(kept) <= longest
        assert not set(kept) & set("\n\r\t\0\u200b\u202e")
        assert rule(kept) == kept


@given(TEXTS)
def test_no_line_of_chat_breaks_the_parser(text: str) -> None:
    command = parse(text)
    try:
        said, author = text_and_author(command.arguments)
    except ValidationError:
        return
    assert isinstance(said, str)
    assert author is None or isinstance(author, str)


@given(st.text(min_size=1, max_size=50).filter(str.strip), st.sampled_from(["Joel", "Tom Servo"]))
def test_a_list_of_words_is_the_text_and_its_author(text: str, author: str) -> None:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert text_and_author(f"{quoted} {author}") == (text, author)
    assert join(["one", author]).startswith("one ")


@given(st.text(min_size=1, max_size=60).filter(lambda text: text.strip() and text.isprintable()))
def test_every_wildcard_of_a_query_is_escaped(query: str) -> None:
    pattern = containing("text", query)["text"]["$ilike"]
    assert pattern[0] == pattern[-1] == "%"
    inner = pattern[1:-1]
    literal, at = [], 0
    while at < len(inner):
        assert inner[at] not in "%_"
        at += inner[at] == "\\"
        literal.append(inner[at])
        at += 1
    assert "".join(literal) == query.strip()


@given(st.text())
def test_escaped_text_has_no_markup_and_loses_nothing(text: str) -> None:
    safe = escaped({"text": text, "id": 1, "tags": [text]})
    assert not set(safe["text"]) & set("<>\"'")
    assert html.unescape(safe["text"]) == html.unescape(html.escape(text))
    assert safe["tags"] == [safe["text"]]


@given(st.data(), SEPARATORS)
def test_no_disguise_of_a_word_passes(data: st.DataObject, between: str) -> None:
    alikes = {"b": "bB8", "a": "aA@4а", "d": "dD", "w": "wW", "o": "oO0о", "r": "rR"}  # noqa: RUF001
    letters = [
        data.draw(st.sampled_from(alikes[letter])) * data.draw(st.integers(1, 3))
        for letter in "badword"
    ]
    assert MODERATOR.is_unwanted(f"so {between.join(letters)} then")


@given(st.text(max_size=200))
def test_sanitizing_twice_changes_nothing(text: str) -> None:
    once = MODERATOR.sanitized(text)
    assert MODERATOR.sanitized(once) == once
    assert not set(once) & set("*_~`\n\t\u200b")


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("pgdw"), st.integers(1, 4), st.integers(0, 200))))
def test_the_cache_agrees_with_a_simple_one(steps: list[tuple[str, int, int]]) -> None:
    clock = ManualClock(0)
    cache = RowCache(clock, ("id", "score"))
    simple: dict[int, tuple[float, int]] = {}
    for action, quote_id, number in steps:
        if action == "p":
            row = {"text": "", "author": "", "added_by": "", "timestamp": 1, "score": number}
            cache.put([{"id": quote_id, **row}], cache.moment())
            simple[quote_id] = clock.time() + 300, number
        elif action == "d":
            cache.drop(quote_id)
            simple.pop(quote_id, None)
        elif action == "w":
            clock.advance(number)
        kept = cache.get(quote_id)
        expires_at, score = simple.get(quote_id, (0, 0))
        assert (kept["score"] if kept else None) == (score if expires_at > clock.time() else None)
    assert len(cache) <= SIZE

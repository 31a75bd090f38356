"""The moderation: what it finds, what it leaves alone, what it takes out."""

from __future__ import annotations

from pathlib import Path

import pytest

from reference_plugin_quote_db import moderation
from reference_plugin_quote_db.errors import ValidationError
from reference_plugin_quote_db.moderation import Moderator, words_in

MODERATOR = Moderator(["shit", "fuck", "ass", "badword1"])


@pytest.mark.parametrize(
    "text",
    [
        "shit",
        "What a SHIT day",
        "shiiiit",
        "s h i t",
        "s.h.i.t",
        "s_h-i t",
        "$h1t",
        "sh!t",
        "shit!",
        "(shit)",
        "_shit_",
        "ｓｈｉｔ",  # noqa: RUF001 - full width
        "ѕhіt",  # noqa: RUF001 - Cyrillic
        "fuсk",  # noqa: RUF001 - Cyrillic
        "fμck fυck",  # noqa: RUF001 - Greek
        "fück",
        "f\u200bu\u200bck",
        "f\u00aduck",
        "𝖋𝖚𝖈𝖐",  # noqa: RUF001 - Fraktur
        "a55",
        "asssss",
        "badword1",
    ],
)
def test_disguises_are_seen_through(text: str) -> None:
    assert MODERATOR.is_unwanted(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "class",
        "as",
        "Scunthorpe, Penistone and Cockermouth",
        "assassin",
        "push it",
        "Is this a test? 100 % sure: 1337",
        "Я читаю книгу",
        "你好",
    ],
)
def test_innocent_texts_are_left_alone(text: str) -> None:
    assert not MODERATOR.is_unwanted(text)


@pytest.mark.parametrize(
    ("text", "sanitized"),
    [
        ("See http://evil.example/x?y now", "See [URL removed] now"),
        ("HTTPS://EVIL.example", "[URL removed]"),
        ("go to www.evil.example", "go to [URL removed]"),
        ("ht\u200btp://evil.example", "[URL removed]"),
        ("**bold** _it_ ~no~ `code`", "bold it no code"),
        ("  two\n\n lines\t ", "two lines"),
        ("zero\u200b\ufeff width", "zero width"),
    ],
)
def test_sanitizing(text: str, sanitized: str) -> None:
    assert MODERATOR.sanitized(text) == sanitized
    assert MODERATOR.sanitized(sanitized) == sanitized


def test_a_word_that_only_markdown_divides_is_found() -> None:
    with pytest.raises(ValidationError, match="inappropriate"):
        MODERATOR.approved("sh**it")
    assert MODERATOR.approved("all *fine*") == "all fine"


def test_the_list_is_a_file_and_can_be_another(tmp_path: Path) -> None:
    file = tmp_path / "words"
    file.write_text("# comment\nspam  # another\n\n", "utf-8")
    assert words_in(file) == ["spam"]
    assert Moderator(words_in(file)).is_unwanted("5p4m")
    assert not Moderator(words_in(file)).is_unwanted("shit")
    assert not Moderator([]).is_unwanted("anything")
    assert Moderator().is_unwanted("bullshit")


@pytest.mark.parametrize(
    "text",
    ["see https://example.com/badword1", "www.badword1.example", "so badword1", "bad*word1*"],
)
def test_what_sanitizing_takes_away_is_judged_too(text: str) -> None:
    with pytest.raises(ValidationError, match="inappropriate content"):
        Moderator().approved(text)


@pytest.mark.parametrize("text", ["anything goes!", "", "so! what?", "badword1"])
def test_without_words_nothing_is_unwanted(text: str) -> None:
    assert not Moderator(words=[]).is_unwanted(text)
    assert not Moderator(words=["", " "]).is_unwanted(text)


def test_every_look_alike_is_seen_through() -> None:
    for letter, alikes in moderation._ALIKE.items():  # noqa: SLF001 - the list is what is tested
        unwanted = Moderator(words=[f"zz{letter}"]).is_unwanted
        assert all(unwanted(f"zz{alike}") for alike in alikes), letter
        assert not unwanted("zz"), letter


@pytest.mark.parametrize(
    ("disguised", "letter"), list(zip("01345789@$!|+(€£", "oieastbgasiltcel", strict=True))
)
def test_every_digit_and_sign_for_a_letter_is_seen_through(disguised: str, letter: str) -> None:
    assert Moderator(words=[f"z{letter}z"]).is_unwanted(f"z{disguised}z")


@pytest.mark.parametrize("mark", ["\u0301", "\u20dd", "\u200b"], ids=ascii)
def test_marks_within_a_word_do_not_hide_it(mark: str) -> None:
    assert Moderator().is_unwanted(f"bad{mark}word1")


def test_the_refusal_says_no_more_than_it_must() -> None:
    with pytest.raises(ValidationError) as told:
        Moderator().approved("so badword1")
    assert str(told.value) == "Quote contains inappropriate content"

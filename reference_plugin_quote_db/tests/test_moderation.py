"""The moderation: what it finds, what it leaves alone, what it takes out."""

from __future__ import annotations

from pathlib import Path

import pytest

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

"""What users type, taken apart, and the table of actions. Nothing here needs a bus."""

from __future__ import annotations

import pytest

from reference_plugin_quote_db.chat.parser import (
    Command,
    join,
    number,
    parse,
    text_and_author,
    unquoted,
)
from reference_plugin_quote_db.errors import ValidationError


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("!quote", Command("random")),
        ("", Command("random")),
        ("!quote random", Command("random")),
        ("!quote 42", Command("get", "42")),
        ("!quote #42", Command("get", "#42")),
        ("!quote get 42", Command("get", "42")),
        ("get 42", Command("get", "42")),
        ("  !QUOTE   Get\t42  ", Command("get", "42")),
        ("!quote 42 tapes", Command("42", "tapes")),
        ("!quote add  two  blanks ", Command("add", "two  blanks")),
        ("!quote add one\ntwo", Command("add", "one\ntwo")),
        ("!quoteadd x", Command("!quoteadd", "x")),
    ],
)
def test_parse(line: str, command: Command) -> None:
    assert parse(line) == command


@pytest.mark.parametrize(
    ("arguments", "text", "author"),
    [
        ('"text with spaces" Author', "text with spaces", "Author"),
        ('"text with spaces" Some Author', "text with spaces", "Some Author"),
        ('"text" "Some Author"', "text", "Some Author"),
        ('"text"', "text", ""),
        ('"two\nlines" Author', "two\nlines", "Author"),
        ('"he said \\"no\\"" Author', 'he said "no"', "Author"),
        ('"a path C:\\new" Author', "a path C:\\new", "Author"),
        ("“smart “ quotes” Author", "smart “ quotes", "Author"),
        ('“she said "no"” Author', 'she said "no"', "Author"),
        ("text -- Author", "text", "Author"),
        ("text -- Some Author", "text", "Some Author"),
        ("one -- two -- Author", "one -- two", "Author"),
        ('"text" -- Author', "text", "Author"),
        ('"one -- two" Author', "one -- two", "Author"),
        ('"Hello" she said -- Author', '"Hello" she said', "Author"),
        ("text --", "text", ""),
        ("-- Author", "", "Author"),
        ("no author at all", "no author at all", None),
        ("a--b and --c", "a--b and --c", None),
        ("it's 5\" long", "it's 5\" long", None),
        ('"sci"-fi', '"sci"-fi', None),
        ("", "", None),
    ],
)
def test_text_and_author(arguments: str, text: str, author: str | None) -> None:
    assert text_and_author(arguments) == (text, author)


def test_a_quote_that_is_not_closed_is_refused() -> None:
    with pytest.raises(ValidationError, match='closing "'):
        text_and_author('"text Author')


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        ("#42", 42),
        ("007", 7),
        ("", 0),
        ("-1", 0),
        ("4.5", 0),
        ("42x", 0),
        ("1_0", 0),
        ("٤٢", 0),
        ("9" * 19, 9999999999999999999),
        ("9" * 5000, 0),
    ],
)
def test_number(text: str, value: int) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    ("text", "inside"),
    [('"star wars"', "star wars"), ("star wars", "star wars"), ('"a" b', '"a" b'), ('"', '"')],
)
def test_unquoted(text: str, inside: str) -> None:
    assert unquoted(text) == inside


@pytest.mark.parametrize(
    ("words", "text", "author"),
    [
        (["text with spaces", "Some Author"], "text with spaces", "Some Author"),
        (["text", "with", "spaces", "--", "Author"], "text with spaces", "Author"),
        (['he said "no"', "Author"], 'he said "no"', "Author"),
        (["all", "text"], "all text", None),
    ],
)
def test_words_of_a_list_keep_their_bounds(words: list[str], text: str, author: str | None) -> None:
    assert text_and_author(join(words)) == (text, author)

"""The rules for what users type (SPEC 11.4, 11.6, 11.7)."""

from __future__ import annotations

import pytest

from reference_plugin_quote_db import validation
from reference_plugin_quote_db.errors import ValidationError

EMPTY = "Quote text cannot be empty"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Keep circulating the tapes", "Keep circulating the tapes"),
        ("  Test\n", "Test"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("bell\x07 and escape\x1b and \x85", "bell and escape and"),
        ("¿Dónde está? 你好 👨‍👩‍👧", "¿Dónde está? 你好 👨‍👩‍👧"),
        ("x" * 1000, "x" * 1000),
        ("€" * 1000, "€" * 1000),
        ("  " + "x" * 1000 + "  ", "x" * 1000),
    ],
)
def test_text_is_kept_without_blanks_and_controls(given: str, kept: str) -> None:
    assert validation.quote_text(given) == kept


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", EMPTY),
        (" \t\n", EMPTY),
        ("\x07", EMPTY),
        ("\u200b\ufeff", EMPTY),
        ("x" * 1001, "Quote text too long (max 1000 characters)"),
        ("nul\0here", "Quote text contains null bytes"),
        ("half a pair \ud83d", "Quote text contains invalid characters"),
        (42, "Quote text must be text, not int"),
        (None, "Quote text must be text, not NoneType"),
    ],
)
def test_text_is_refused(given: str, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        validation.quote_text(given)
    assert str(raised.value) == message


def test_a_validation_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="cannot be empty"):
        validation.quote_text("")


@pytest.mark.parametrize("nobody", [None, "", "   "])
def test_nobody_is_unknown(nobody: str | None) -> None:
    assert validation.author(nobody) == "Unknown"


@pytest.mark.parametrize(
    "name", ["Alice", "O'Brien", "J. R. R. Tolkien", "Zoë", "山田\u3000太郎", "@bob#1", "x" * 100]
)
def test_author_may_be_any_printable_name(name: str) -> None:
    assert validation.author(f" {name} ") == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x" * 101, "Author name too long (max 100 characters)"),
        ("two\nlines", "Author name contains invalid characters"),
        ("zero\u200bwidth", "Author name contains invalid characters"),
        ("right\u202eto left", "Author name contains invalid characters"),
        ("nul\0", "Author name contains invalid characters"),
        ("\ud800", "Author name contains invalid characters"),
        (7, "Author name must be text, not int"),
    ],
)
def test_author_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        validation.author(name)
    assert str(raised.value) == message


def test_strict_authors_are_ascii_names() -> None:
    assert validation.author("O'Brien-Smith Jr. 2", strict=True) == "O'Brien-Smith Jr. 2"
    with pytest.raises(ValidationError, match="invalid characters"):
        validation.author("Zoë", strict=True)


def test_username_is_kept_as_given() -> None:
    assert validation.username(" Crow T. Robot ") == "Crow T. Robot"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "Username cannot be empty"),
        ("  ", "Username cannot be empty"),
        ("x" * 51, "Username too long (max 50 characters)"),
        ("a\tb", "Username contains invalid characters"),
    ],
)
def test_username_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        validation.username(name)
    assert str(raised.value) == message


def test_users_are_compared_without_case() -> None:
    assert validation.same_user("Bob", "bOB")
    assert not validation.same_user("Bob", "Bobby")


@pytest.mark.parametrize("number", [1, 42, 2**63 - 1])
def test_quote_id(number: int) -> None:
    assert validation.quote_id(number) == number


@pytest.mark.parametrize("number", [0, -1, 2**63, True, 4.0, "42", None])
def test_quote_id_is_refused(number: int) -> None:
    with pytest.raises(ValidationError) as raised:
        validation.quote_id(number)
    assert str(raised.value) == "Invalid quote ID (must be positive integer)"


@pytest.mark.parametrize("number", [1, 100])
def test_limit(number: int) -> None:
    assert validation.limit(number) == number


@pytest.mark.parametrize("number", [0, -5, 101, False, 2.0, "10"])
def test_limit_is_refused(number: int) -> None:
    with pytest.raises(ValidationError) as raised:
        validation.limit(number)
    assert str(raised.value) == "Invalid limit (must be 1-100)"


@pytest.mark.parametrize("number", [0, -1, 1.5, True])
def test_page_is_refused(number: int) -> None:
    with pytest.raises(ValidationError, match="Invalid page"):
        validation.page(number)


def test_search_query_is_cleaned() -> None:
    assert validation.search_query(" star\x07 wars ") == "star wars"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "Search query cannot be empty"),
        (" \x00 ", "Search query cannot be empty"),
        ("x" * 1001, "Search query too long (max 1000 characters)"),
    ],
)
def test_search_query_is_refused(query: str, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        validation.search_query(query)
    assert str(raised.value) == message

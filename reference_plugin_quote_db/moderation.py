"""Cleaning texts, and finding words that nobody wants to read, however they are disguised."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Final
from unicodedata import category, normalize

from reference_plugin_quote_db.errors import ValidationError

WORD_LIST: Final = Path(__file__).with_name("moderation_words.txt")

_URL: Final = re.compile(r"(?:\bhttps?://|\bwww\.)\S+", re.IGNORECASE)
_MARKDOWN: Final = re.compile(r"[*_~`]")
_BLANKS: Final = re.compile(r"\s+")

# NFKC leaves these alone: they are letters of their own, and only look like Latin ones.
_ALIKE: Final = {
    "a": "аαɑ",  # noqa: RUF001 - that they look alike is why they are here
    "b": "ьβв",
    "c": "сϲ",  # noqa: RUF001
    "d": "ԁđ",
    "e": "еεє",
    "f": "ƒ",
    "g": "ɡ",  # noqa: RUF001
    "h": "һнħ",
    "i": "іιɩı",  # noqa: RUF001
    "j": "ј",  # noqa: RUF001
    "k": "кκ",
    "l": "ӏł",
    "m": "м",
    "n": "пη",
    "o": "оοσøօ",
    "p": "рρ",  # noqa: RUF001
    "q": "ԛ",  # noqa: RUF001
    "r": "гɾ",
    "s": "ѕ",  # noqa: RUF001
    "t": "тτ",
    "u": "υս",  # noqa: RUF001
    "v": "νѵ",  # noqa: RUF001
    "w": "ԝшω",
    "x": "хχ",
    "y": "уγү",  # noqa: RUF001
}
_LOOK_ALIKES: Final = str.maketrans(
    {alike: letter for letter, alikes in _ALIKE.items() for alike in alikes}
)
_LEET: Final = str.maketrans("01345789@$!|+(€£", "oieastbgasiltcel")


class Moderator:
    """Cleans and judges texts.

    Args:
        words: what may not occur; by default those of `moderation_words.txt`.
    """

    def __init__(self, words: Iterable[str] | None = None) -> None:
        self._unwanted = _default_pattern() if words is None else _pattern(words)

    def sanitized(self, text: str) -> str:
        """Return a text without links, Markdown, invisible characters and runs of blanks."""
        # First what is invisible: it could hide a link.
        text = "".join(char for char in text if category(char) != "Cf")
        text = _URL.sub("[URL removed]", text)
        return _BLANKS.sub(" ", _MARKDOWN.sub("", text)).strip()

    def is_unwanted(self, text: str) -> bool:
        """Return whether a text has one of the words, plain or disguised."""
        plain = folded(text)
        return any(self._unwanted.search(form) for form in (plain, plain.translate(_LEET)))

    def approved(self, text: str) -> str:
        """Return a text sanitized.

        Raises:
            ValidationError: if it has one of the words.
        """
        # As it came, too: what Markdown marks divide may be a word without them.
        sanitized = self.sanitized(text)
        if self.is_unwanted(text) or self.is_unwanted(sanitized):
            raise ValidationError("Quote contains inappropriate content")
        return sanitized


def words_in(file: Path) -> list[str]:
    """Return the words of a list: one a line, `#` begins a comment."""
    lines = (line.partition("#")[0].strip() for line in file.read_text("utf-8").splitlines())
    return [line for line in lines if line]


@cache
def _default_pattern() -> re.Pattern[str]:
    return _pattern(words_in(WORD_LIST))


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    """Return one pattern for all words, in one piece or with something between all letters."""
    plain = {folded(word) for word in words}
    forms = [
        between.join(_letters(word))
        for word in sorted(plain | {word.translate(_LEET) for word in plain})
        for between in ("", r"[\W_]+")
        if word
    ]
    if not forms:
        return re.compile(r"(?!)")
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(forms)})(?![^\W_])")


def _letters(word: str) -> list[str]:
    """Return a pattern for each run of a letter: as often as in the word, or oftener."""
    runs = ((letter, len(list(run))) for letter, run in groupby(word))
    return [f"{re.escape(letter)}{{{length},}}" for letter, length in runs]


def folded(text: str) -> str:
    """Return a text in small Latin letters, as far as its letters look like some."""
    # Before NFKC, too: it makes another letter of some look-alikes, as of the lunate sigma.
    text = normalize("NFKC", text.translate(_LOOK_ALIKES))
    text = normalize("NFD", text.casefold())
    # Accents and invisible characters.
    text = "".join(char for char in text if category(char) not in {"Mn", "Me", "Cf"})
    return text.translate(_LOOK_ALIKES)

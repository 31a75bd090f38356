"""What came of the exploration: a record for each test, as it travels between processes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class PlaceFound:
    """One place.

    Attributes:
        place: as a command names it: `3:reply-lost`.
        call: the call, with its arguments.
        name: of the call, without them.
        request: what it asked: family, operation, and table where there is one.
        fault: its name.
        mark: the verdict.
        expected: what should have been, where it is broken.
        found: what was.
    """

    place: str
    call: str
    name: str
    request: str
    fault: str
    mark: str
    expected: str = ""
    found: str = ""


@dataclass(slots=True)
class TestFound:
    """One test.

    Attributes:
        nodeid: which.
        reason: why it was not explored; empty if it was.
        possible: places that there are.
        places: those that were explored.
        plain_seconds: what the test itself took.
        seconds: what the places took.
        degrades: what its marker lets answer otherwise.
        partial: what its marker and its plugins let be changed in part.
    """

    nodeid: str
    reason: str = ""
    possible: int = 0
    places: list[PlaceFound] = field(default_factory=list)
    plain_seconds: float = 0.0
    seconds: float = 0.0
    degrades: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()

    @property
    def left_out(self) -> int:
        """How many places were not explored."""
        return self.possible - len(self.places)

    def as_json(self) -> dict[str, Any]:
        """Return this as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> TestFound:
        """Return what `as_json` was called on."""
        places = [PlaceFound(**place) for place in given.pop("places")]
        return cls(**given, places=places)

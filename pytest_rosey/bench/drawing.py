"""Just enough SVG: scales, shapes, text. Coordinates are pixels from the top left corner."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final, Literal

INK: Final = "#1f2937"
MUTED: Final = "#6b7280"
GRID: Final = "#e5e7eb"

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True, slots=True)
class Log:
    """A logarithmic scale from values to pixels.

    Attributes:
        low: the smallest value, above 0.
        high: the largest value.
        start: the pixel of the smallest.
        end: the pixel of the largest.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of a value: the nearest end if it is beyond, the middle of one value."""
        if self.low == self.high:
            return (self.start + self.end) / 2
        inside = min(max(value, self.low), self.high)
        share = math.log(inside / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, steps: Sequence[int] = (1,)) -> list[float]:
        """Return the powers of ten on the scale, and their multiples by `steps`."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        found = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        return [value for value in found if self.low * 0.999 <= value <= self.high * 1.001]


@dataclass(frozen=True, slots=True)
class Linear:
    """A scale from 0 to a value; attributes as `Log`."""

    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        return self.start + value / self.high * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round values from 0 on, about five."""
        rough = self.high / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        return [number * step for number in range(int(self.high / step) + 1)]


def log_around(values: Sequence[float], start: float, end: float) -> Log:
    """Return a scale that shows all values with a little room at both ends."""
    return Log(min(values) / 1.25, max(values) * 1.25, start, end)


@dataclass
class Drawing:
    """One picture.

    Attributes:
        width: in pixels; the page may scale it.
        height: in pixels.
        title: what is seen, for those who cannot see it.
    """

    width: float
    height: float
    title: str
    parts: list[str] = field(default_factory=list)

    def line(
        self, x1: float, y1: float, x2: float, y2: float, colour: str = GRID, width: float = 1
    ) -> None:
        """Draw a straight line."""
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-width="{width:g}"/>'
        )

    def path(self, points: Sequence[tuple[float, float]], colour: str) -> None:
        """Draw a line through points."""
        through = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(
            f'<polyline points="{through}" fill="none" stroke="{colour}" stroke-width="2" '
            'stroke-linejoin="round"/>'
        )

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        colour: str,
        *,
        opacity: float = 1,
        tip: str = "",
    ) -> None:
        """Draw a filled rectangle; `tip` is shown when the mouse rests on it."""
        shown = f"<title>{escape(tip)}</title>" if tip else ""
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" '
            f'rx="2" fill="{colour}" fill-opacity="{opacity:g}">{shown}</rect>'
        )

    def dot(self, x: float, y: float, colour: str, radius: float = 3.5, tip: str = "") -> None:
        """Draw a point."""
        shown = f"<title>{escape(tip)}</title>" if tip else ""
        self.parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}">{shown}</circle>'
        )

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        anchor: Anchor = "start",
        colour: str = INK,
        size: float = 12,
        bold: bool = False,
    ) -> None:
        """Write words; `y` is their base line."""
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" '
            f'font-size="{size:g}"{weight}>{escape(words)}</text>'
        )

    def svg(self) -> str:
        """Return the picture as an element for a page."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'width="{self.width:g}" role="img" aria-label="{escape(self.title)}" '
            'font-family="system-ui, sans-serif">'
            f"<title>{escape(self.title)}</title>{''.join(self.parts)}</svg>"
        )


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Move labels apart so that none is nearer to another than `gap`; their order stays."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = list(places)
    for before, index in itertools.pairwise(order):
        moved[index] = max(moved[index], moved[before] + gap)
    return moved

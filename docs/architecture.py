"""The picture of the packages: an arrow for every import that no other arrow stands for.

`python docs/architecture.py` draws it from the imports of the code; a test holds the committed one
against them.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path

import grimp

FILE = Path(__file__).parent / "_static/architecture.svg"
PACKAGES = ("pytest_rosey", "reference_plugin_quote_db", "dbservice")
COLUMNS = {
    "sql": 0, "sqltext": 0, "scaffold": 2, "bus": 2, "runtime": 2,
    "client": 3, "reference_plugin_quote_db": 3,
}  # fmt: skip
"""Where a package does not stand in column 1, so that arrows do not run through others."""
WIDTH, HEIGHT, BOX, LINE = 224, 62, 186, 32

Edges = AbstractSet[tuple[str, str]]


def imports() -> Edges:
    """Return which package imports which; tests, the legacy plugin and the prompt are left out."""
    graph = grimp.build_graph(*PACKAGES)
    found = set()
    for module in graph.modules:
        if not {"tests", "legacy", "__main__"} & set(module.split(".")):
            for imported in graph.find_modules_directly_imported_by(module):
                found.add((_package(module), _package(imported)))
    return {(above, below) for above, below in found if above != below and above and below}


def _package(module: str) -> str:
    package, *rest = module.split(".")
    return package if package != "dbservice" else rest[0] if rest else ""


def needed(edges: Edges) -> list[tuple[str, str]]:
    """Return the edges without those that a longer way stands for."""
    below: dict[str, set[str]] = {}
    for name in sorted({name for edge in edges for name in edge}, key=lambda r: height(r, edges)):
        direct = {lower for upper, lower in edges if upper == name}
        below[name] = direct.union(*(below[lower] for lower in direct))
    return sorted(
        (upper, lower)
        for upper, lower in edges
        if not any(lower in below[other] for up, other in edges if up == upper)
    )


def height(name: str, edges: Edges) -> int:
    """Return how many packages stand below a package, on the longest way."""
    return max((1 + height(lower, edges) for upper, lower in edges if upper == name), default=0)


def svg() -> str:
    """Return the picture, on a ground of its own: it is read in the light and in the dark."""
    edges = imports()
    names = sorted({name for edge in edges for name in edge})
    top = max(height(name, edges) for name in names)
    places = {
        name: (COLUMNS.get(name, 1) * WIDTH + 110, (top - height(name, edges)) * HEIGHT + 36)
        for name in names
    }
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 910 {top * HEIGHT + 72}" '
            'font-family="sans-serif" font-size="14" text-anchor="middle">'
        ),
        "<title>The packages, and what they import</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8"',
        ' markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#57606a"/></marker></defs>',
        '<rect width="100%" height="100%" rx="8" fill="#f6f8fa"/>',
    ]
    lines += [_arrow(*places[upper], *places[lower]) for upper, lower in needed(edges)]
    for name, (x, y) in places.items():
        lines.append(
            f'<rect x="{x - BOX // 2}" y="{y - LINE // 2}" width="{BOX}" height="{LINE}" rx="5" '
            'fill="white" stroke="#57606a"/>'
            f'<text x="{x}" y="{y + 5}" fill="#1b1f24">{name}</text>'
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


def _arrow(x: int, y: int, to_x: int, to_y: int) -> str:
    half, top, free = BOX // 2, to_y - LINE // 2, to_x + BOX // 2 + 12
    is_long = to_y - y > HEIGHT
    if is_long and to_x > x:  # out to the side, and down where no package stands
        way = f"M{x + half} {y}H{free - 8}q8 0 8 8V{to_y - 8}q0 8 -8 8H{to_x + half}"
    elif is_long and to_x < x:
        way = f"M{x - half} {y}H{to_x + 8}q-8 0 -8 8V{top}"
    else:
        way = f"M{x} {y + LINE // 2}C{x} {top - 10} {to_x} {to_y - HEIGHT + LINE} {to_x} {top}"
    return f'<path d="{way}" fill="none" stroke="#57606a" marker-end="url(#tip)"/>'


if __name__ == "__main__":
    FILE.write_text(svg(), "utf-8")

"""Random rows, filters, orders and updates for the table `quotes` of the tests."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

TYPES = {
    "id": "integer",
    "author": "text",
    "score": "integer",
    "rating": "float",
    "active": "boolean",
    "seen": "datetime",
    "tags": "json",
}
COLUMNS = [name for name in TYPES if name != "id"]

# A small alphabet, so that values and patterns meet; it has every character that LIKE, GLOB, SQL
# or case folding treats in a way of its own. U+212A is left out: its lower case is an ASCII letter,
# and SPEC 2.5 leaves ASCII patterns to the engine.
letters = st.sampled_from(
    "aAbB\N{LATIN SMALL LETTER E WITH ACUTE}É%_\\*?[]^-'\" ßİıΣσς漢😀\n\uffee"
)
texts = st.text(letters, max_size=4) | st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0\u212a"), max_size=6
)
integers = st.sampled_from([0, 1, -1, 2, 5, 2**53 + 1, 2**63 - 1, -(2**63)]) | st.integers(
    -(2**63), 2**63 - 1
)
floats = st.sampled_from([0.0, 1.0, -1.0, 0.1, 0.5, 1e16, 5e-324, -1.7976931348623157e308])
floats |= st.floats(allow_nan=False, allow_infinity=False)
offsets = st.integers(-12 * 60, 12 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.sampled_from(
    ["2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01T02:00:00+02:00", "1999-12-31T23:59:59.9"]
) | st.datetimes(
    datetime(1, 1, 3),
    datetime(9999, 12, 29),
    timezones=st.none() | offsets,
).map(datetime.isoformat)
documents = st.recursive(
    st.none() | st.booleans() | st.sampled_from([0, 1, 1.0, -1, "a", "é"]) | integers | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab%é"), inner, max_size=2)
    ),
    max_leaves=4,
)
arrays = st.lists(documents, max_size=3)

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": texts,
    "integer": integers,
    "float": floats,
    "boolean": st.booleans(),
    "datetime": moments,
    "json": documents.filter(lambda value: value is not None),
}


def value_of(column: str) -> st.SearchStrategy[Any]:
    """Return values of a column's type."""
    return VALUES[TYPES[column]]


rows = st.fixed_dictionaries({column: st.none() | value_of(column) for column in COLUMNS})


def _pattern_from(parts: list[str]) -> str:
    return "".join(parts)


patterns = st.lists(
    st.sampled_from(["%", "_", "\\%", "\\_", "\\\\", "\\a"])
    | letters.filter(lambda letter: letter != "\\"),
    max_size=5,
).map(_pattern_from)


@st.composite
def operators(draw: st.DrawFn, column: str) -> dict[str, Any]:
    """Return an object of one or two operators that a column's type has."""
    of_type = TYPES[column]
    values = value_of(column)
    choices: dict[str, st.SearchStrategy[Any]] = {
        "$eq": st.none() | values,
        "$ne": st.none() | values,
        "$exists": st.booleans(),
        "$null": st.booleans(),
    }
    if of_type == "json":
        choices["$contains"] = documents
    else:
        lists = st.lists(st.none() | values, max_size=4) | st.lists(
            st.none() | values, min_size=33, max_size=40
        )
        choices |= {"$in": lists, "$nin": lists}
    if of_type not in ("json", "boolean"):
        choices |= dict.fromkeys(("$gt", "$gte", "$lt", "$lte"), values)
        choices["$between"] = st.lists(values, min_size=2, max_size=2)
    if of_type == "text":
        choices |= {"$like": patterns, "$ilike": patterns}
    names = draw(st.lists(st.sampled_from(sorted(choices)), min_size=1, max_size=2, unique=True))
    drawn = {name: draw(choices[name]) for name in names}
    return {"$not": drawn} if draw(st.integers(0, 4)) == 0 else drawn


def _is_plain(value: Any) -> bool:
    return not isinstance(value, dict) or not any(key.startswith("$") for key in value)


conditions = st.sampled_from(list(TYPES)).flatmap(
    lambda column: st.fixed_dictionaries(
        {column: operators(column) | (st.none() | value_of(column)).filter(_is_plain)}
    )
)
filters = st.recursive(
    conditions,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$and": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$or": parts}),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"$nor": parts}),
        inner.map(lambda part: {"$not": part}),
        st.tuples(inner, inner).map(lambda pair: {**pair[0], **pair[1]}),
    ),
    max_leaves=6,
)

sorts = st.lists(
    st.fixed_dictionaries(
        {
            "field": st.sampled_from([name for name in TYPES if name != "tags"]),
            "order": st.sampled_from(["asc", "desc"]),
        }
    ),
    max_size=3,
    unique_by=lambda key: key["field"],
)


@st.composite
def operations(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Return an update of one or two columns."""
    columns = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=2, unique=True))
    return {column: draw(_operation(column)) for column in columns}


@st.composite
def _operation(draw: st.DrawFn, column: str) -> dict[str, Any]:
    of_type = TYPES[column]
    values = value_of(column)
    choices: dict[str, st.SearchStrategy[Any]] = {
        "$set": st.none() | values,
        "$unset": st.just(value=True),
    }
    if of_type in ("integer", "float"):
        choices |= dict.fromkeys(("$inc", "$dec", "$mul"), values)
    if of_type in ("integer", "float", "datetime"):
        choices |= dict.fromkeys(("$max", "$min"), values)
    if of_type == "json":
        choices |= dict.fromkeys(("$push", "$pull", "$addToSet"), documents)
        choices["$set"] = st.none() | arrays
    name = draw(st.sampled_from(sorted(choices)))
    return {name: draw(choices[name])}

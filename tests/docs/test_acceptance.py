"""docs/acceptance.toml names what exists, and misses no criterion that a test is marked with."""

from __future__ import annotations

import ast
import tomllib
from typing import Any

import pytest

from tests import ROOT

GROUPS = tomllib.loads((ROOT / "docs/acceptance.toml").read_text("utf-8"))
CRITERIA = [criterion for group in GROUPS.values() for criterion in group["criterion"]]

REPORT = (ROOT / "docs/explanation/performance.md").read_text("utf-8")


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda criterion: criterion["id"])
def test_it_is_shown_measured_or_says_why_not(criterion: dict[str, Any]) -> None:
    assert len({"shown", "measured", "figure", "not_met", "not_here"} & criterion.keys()) == 1
    for reference in criterion.get("shown", ()):
        path, _, function = reference.partition("::")
        assert (ROOT / path).exists(), f"{path} is gone"
        assert function in functions(path), f"{path} has no {function}"
    for line in criterion.get("measured", ()):
        assert f"| {line} |" in REPORT, f"the performance report has no line '{line}'"


def functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_mark_names_a_criterion() -> None:
    known = {criterion["id"] for criterion in CRITERIA}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in MARKS:
                assert ast.literal_eval(node.args[0]) in known


MARKS = {"criterion", "pytest.mark.acceptance"}

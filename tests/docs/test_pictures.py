"""The pictures show what pytest says today, and what the code imports."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest

from tests import ROOT

pytestmark = pytest.mark.process


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["contract-check.svg", "exploration.svg"])
def test_they_are_current(name: str) -> None:
    pictures = _script("pictures")
    drawn = pictures.svg(pictures.PICTURES[name](), name.removesuffix(".svg"))
    assert drawn == (ROOT / "docs/_static" / name).read_text("utf-8"), (
        "run `python docs/pictures.py`"
    )


def test_the_architecture_is_that_of_the_imports() -> None:
    drawn = _script("architecture").svg()
    written = (ROOT / "docs/_static/architecture.svg").read_text("utf-8")
    assert drawn == written, "run `python docs/architecture.py`"

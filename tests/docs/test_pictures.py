"""The pictures of the README show what pytest says today."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest

from tests import ROOT

pytestmark = pytest.mark.process


def _pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs/pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pictures"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["contract-check.svg", "exploration.svg"])
def test_they_are_current(name: str) -> None:
    pictures = _pictures()
    drawn = pictures.svg(pictures.PICTURES[name](), name.removesuffix(".svg"))
    assert drawn == (ROOT / "docs/_static" / name).read_text(), "run `python docs/pictures.py`"

"""The lines of the proof name tests that are there."""

from __future__ import annotations

import pytest

from tests import ROOT
from tests.proof.lines import LINES


@pytest.mark.parametrize("line", LINES, ids=[line.name for line in LINES])
def test_what_a_line_of_the_proof_names_is_there(line):
    place = line.tests.split()[0]
    module = place.replace(".", "/") + ".py"
    assert (ROOT / (place if place.startswith("tests/") else module)).exists()
    for test in line.found:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text("utf-8")

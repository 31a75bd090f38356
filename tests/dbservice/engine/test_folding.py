"""Which characters are the same but for their case."""

from __future__ import annotations

import sys

from dbservice.engine.folding import capitals_and_smalls, in_small


def test_no_character_that_has_a_lower_case_is_left_out() -> None:
    characters = map(chr, range(sys.maxunicode + 1))
    smalls = {each: in_small(each) for each in characters if in_small(each) != each}
    assert dict(zip(*capitals_and_smalls(), strict=True)) == smalls

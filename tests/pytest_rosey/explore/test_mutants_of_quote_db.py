"""The exploration finds what is wrong in mutants of the reference plugin."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests import ROOT
from tests.pytest_rosey.explore.mutants.of_quote_db import MUTANTS, PluginMutant

pytestmark = pytest.mark.process

PACKAGE = "reference_plugin_quote_db"
SHOWN_BY = {
    "the counter beside the row": "add_quote- and without",
    "the cache is dropped only when the deletion was acknowledged": "delete_quote- and without",
    "the event before the commit": "add_quote- and without",
    "a vote that is sent again without a key": "upvote_quote- and without",
    "a write queue that acknowledges early": "add_quote_queued and without",
    "a rate limit that is taken twice": "add_quote_ratelimited and without",
    "a breaker that never closes": "top_quotes and repeats",
    "a total that counts what failed": "count_quotes and without",
}
"""The coroutine of `test_exploration.py` that is enough to show it."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_mutant_is_found(tmp_path, mutant: PluginMutant):
    for name in (PACKAGE, "migrations"):
        shutil.copytree(ROOT / name, tmp_path / name)
    file = tmp_path / PACKAGE / mutant.file
    assert file.read_text("utf-8").count(mutant.old) == 1, mutant.name
    file.write_text(file.read_text("utf-8").replace(mutant.old, mutant.new), "utf-8")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
    )
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"),
            *(f"{PACKAGE}/tests/test_exploration.py", "-k", SHOWN_BY[mutant.name]),
            "--rosey-explore-json=found.json",
        ],
        cwd=tmp_path,
        # All places: the sample that the suite explores by default may miss the one that shows it.
        env={**os.environ, "PYTHONPATH": str(tmp_path), "ROSEY_EXPLORE_PLACES": "500"},
        check=False,
    )
    found = json.loads((tmp_path / "found.json").read_text("utf-8"))
    assert "✗" in [place["mark"] for test in found["tests"] for place in test["places"]]

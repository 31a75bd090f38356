"""What an operator installs: rules, dashboard, units and containers, held against what runs.

promtool, amtool and systemd-analyze are asked where this machine has them
(`apt-get install prometheus prometheus-alertmanager systemd`); where not, the test says so.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import reference_plugin_quote_db
from dbservice.embedded import Stack
from dbservice.server.metrics import ServiceMetrics
from reference_plugin_quote_db import QuoteDBPlugin
from tests import ROOT
from tests.docs import documents

MONITORING = Path(reference_plugin_quote_db.__file__).with_name("monitoring")
RULES = [
    rule
    for group in yaml.safe_load((MONITORING / "alert_rules.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
FILES = {
    block.argument: block.source
    for block in documents.blocks("how-to/production.md")
    if block.kind == "file"
}


def asked(tool: str, *arguments: str | Path) -> str:
    """Run a tool that this machine may not have, and return what it prints."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not on this machine")
    ran = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


# -- monitoring ---------------------------------------------------------------------------------


@pytest.mark.process
def test_each_rule_fires_and_none_without_a_reason() -> None:
    tests = yaml.safe_load((MONITORING / "alert_rules_test.yml").read_text("utf-8"))["tests"]
    firing = {
        sample["labels"].removeprefix('{alertname="').removesuffix('"}')
        for test in tests
        for expected in test["promql_expr_test"]
        for sample in expected["exp_samples"]
    }
    assert firing == {rule["alert"] for rule in RULES}
    assert "SUCCESS" in asked("promtool", "check", "rules", MONITORING / "alert_rules.yml")
    assert "SUCCESS" in asked("promtool", "test", "rules", MONITORING / "alert_rules_test.yml")


@pytest.mark.process
def test_alertmanager_takes_its_file() -> None:
    assert "SUCCESS" in asked("amtool", "check-config", MONITORING / "alertmanager.yml")


def test_every_alert_has_its_entry_in_the_runbook() -> None:
    runbook = (documents.DOCS / "how-to/runbook.md").read_text("utf-8")
    alerts = [rule["alert"] for rule in RULES]
    assert sorted(re.findall(r"^## (\w+)$", runbook, re.MULTILINE)) == sorted(alerts)
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/how-to/runbook.md, {rule['alert']}"


async def test_every_metric_that_is_asked_for_is_exported() -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions += [rule["expr"] for rule in RULES]
    wanted = set(re.findall(r"\b(?:quote|rosey_db)_\w+", "\n".join(expressions)))
    assert len(wanted) >= 14
    assert wanted - await exported() == set()


async def exported() -> set[str]:
    """Return the names of all samples of a service and a plugin that have done some work."""
    service = ServiceMetrics()
    async with Stack(metrics=service) as stack:
        plugin: Any = QuoteDBPlugin(await stack.connect())
        await stack.migrate("quote-db")
        await plugin.initialize()
        for number in range(12):  # more than one user may add
            await plugin.handle_command("ada", "user", f'!quote add "Quote {number}" Joel')
        pages = [service.page(), plugin.metrics_page()[1]]
        await plugin.close()
    return {name for page in pages for name in re.findall(r"^(\w+)", page.decode(), re.MULTILINE)}


# -- what runs it -------------------------------------------------------------------------------


@pytest.mark.process
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for name in ("rosey.service", "rosey-plugin@.service"):
        # The command of this environment; the page's is looked for, too.
        command = str(Path(sys.executable).with_name("rosey"))
        unit = tmp_path / name.replace("@", "@quote-db")
        unit.write_text(FILES[name].replace("/opt/rosey/bin/rosey", command), "utf-8")
        told = asked("systemd-analyze", "verify", "--man=no", unit)
        assert unit.name not in told, told


def test_the_containers_run_commands_that_exist() -> None:
    services = yaml.safe_load(FILES["compose.yaml"])["services"]
    assert {
        tuple(service["command"][:2]) for name, service in services.items() if name != "nats"
    } == {
        ("rosey", "serve"),
        ("rosey", "plugin"),
    }
    assert all(
        set(service.get("depends_on", ())) <= services.keys() for service in services.values()
    )
    lines = [line for line in FILES["Dockerfile"].splitlines() if not line.startswith("#")]
    assert [line.split()[0] for line in lines] == ["FROM", "RUN", "RUN", "USER"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    named = re.search(r"pytest-rosey\[([\w,]+)\]", FILES["Dockerfile"])
    assert named
    assert set(named[1].split(",")) <= extras.keys()

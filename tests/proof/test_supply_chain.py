"""What comes with the project from others: their licences, and the lock file of CI."""

from __future__ import annotations

import re
import tomllib
from collections import deque
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import ROOT

PERMISSIVE = re.compile(
    r"\b(0BSD|BSD|MIT|MIT-0|Apache|ISC|PSF|Python Software Foundation|Unlicense)\b"
)
BY_NAME = {
    # The Mozilla licence covers their own files, which nobody here changes or ships.
    "certifi": "MPL-2.0",
    "fqdn": "MPL-2.0",
    "hypothesis": "MPL-2.0",
    "pathspec": "MPL-2.0",
    # Their metadata names no licence; the file LICENSE does.
    "atheris": "Apache-2.0",
}
"""Packages whose licence was read by somebody."""


def licence_of(package: Distribution) -> str:
    """Return what a package says of its licence, in the newest of the three places it may."""
    said = package.metadata
    classifiers = said.get_all("Classifier") or []
    trove = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License ::")]
    text = (said.get("License") or "").partition("\n")[0]
    return said.get("License-Expression") or "; ".join(trove) or text


def test_every_licence_is_known() -> None:
    licences = {canonicalize_name(each.name): licence_of(each) for each in distributions()}
    for name, licence in sorted(licences.items()):
        print(f"{name:30} {BY_NAME.get(name, licence)}")
    unknown = {
        name: licence
        for name, licence in licences.items()
        if name not in BY_NAME and not PERMISSIVE.search(licence)
    }
    assert not unknown, "read their licences, and add them to BY_NAME if they may be used"


def test_the_lock_file_has_what_is_asked_for() -> None:
    """`uv pip compile`, as CONTRIBUTING says it, makes it anew."""
    lock = (ROOT / ".ci/requirements.txt").read_text("utf-8")
    locked = dict(re.findall(r"^([\w.-]+)(?:\[.*\])?==([\w.+!]+)", lock, re.MULTILINE))
    assert lock.count("--hash=sha256:") > len(locked)
    for requirement in asked_for("dev", "proof", "release"):
        name = canonicalize_name(requirement.name)
        assert requirement.specifier.contains(locked[name]), requirement


def asked_for(*extras: str) -> Iterator[Requirement]:
    """Yield what the project and these extras of it ask for; an extra may ask for others."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = deque(project["dependencies"])
    for extra in extras:
        asked.extend(project["optional-dependencies"][extra])
    while asked:
        requirement = Requirement(asked.popleft())
        if requirement.name == project["name"]:
            for extra in requirement.extras:
                asked.extend(project["optional-dependencies"][extra])
        else:
            yield requirement

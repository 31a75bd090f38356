"""Write a plugin project of your own, green from its first run.

What it writes is the example project `first_plugin`, which the project's own tests run, under
another name; there is no second copy.
"""

from __future__ import annotations

import importlib.util
import keyword
import shlex
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from dbservice.cli.failure import USAGE, CommandFailed
from dbservice.cli.options import Output
from dbservice.cli.output import tell
from dbservice.cli.plugins import GROUP
from dbservice.protocol.names import namespace

EXAMPLE: Final = "first_plugin"
PLUGIN: Final = "karma-board"
"""The name of the example's plugin; its package and its class are named after it."""

_LEFT_OUT: Final = frozenset({"__pycache__", ".pytest_cache"})


def new(
    name: str,
    /,
    *,
    directory: Annotated[
        Path | None, Parameter(help="Where to write; by default a folder of that name, here.")
    ] = None,
    output: Output = Output(),  # noqa: B008 - it is frozen
) -> int:
    """Write a plugin project: package, migration, tests of each kind, CI file.

    Its tests are green at once, on the bus inside the test and on a real nats-server, and
    `rosey plugin start NAME` runs it once it is installed.

    Example: `rosey new movie-night`

    Parameters
    ----------
    name
        The plugin's name, for example movie-night.
    """
    package = package_name(name)
    target = directory or Path(name)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        other = target.parent / f"{target.name or name}-plugin"
        raise CommandFailed(
            f"{target} is there already, and nothing is overwritten: name another folder with "
            f"--directory, as --directory {shlex.quote(str(other))}",
            USAGE,
        )
    written = [str(path) for path in write(name, package, target)]
    told = {"success": True, "directory": str(target), "package": package, "files": written}
    text = (
        f"Wrote {len(written)} files to {target}. Next:\n\n"
        f"    cd {shlex.quote(str(target))}\n"
        "    python3 -m venv .venv && . .venv/bin/activate\n"
        "    pip install -e '.[test]'\n"
        "    pytest\n"
    )
    tell(told, text, as_json=output.json)
    return 0


def package_name(name: str) -> str:
    """Return the Python package of a plugin.

    Args:
        name: the plugin's name.

    Raises:
        RequestError: it is none of a plugin.
        CommandFailed: something else is called like that.
    """
    package = namespace(name).plugin.replace("-", "_")
    if keyword.iskeyword(package) or keyword.issoftkeyword(package):
        use = "is a word of the language"
    elif package in sys.stdlib_module_names:
        use = "is a module of the standard library"
    elif package in ("tests", "migrations"):
        use = "is what one folder of the project is called"
    elif importlib.util.find_spec(package) is not None:
        use = "is a package that is installed here"
    elif package in (_as_package(each.name) for each in entry_points(group=GROUP)):
        use = "is a plugin's that is installed here"
    else:
        return package
    raise CommandFailed(
        f"'{name}' cannot be the name: its package would be '{package}', which {use}. Take "
        f"another, for example: rosey new {name}-plugin",
        USAGE,
    )


def write(name: str, package: str, target: Path) -> Iterator[Path]:
    """Write the project, and yield the path of each file.

    Args:
        name: the plugin's name.
        package: its Python package.
        target: the folder; it is made.
    """
    title = "".join(word.capitalize() for word in package.split("_"))
    words = {PLUGIN: name, _as_package(PLUGIN): package, "KarmaBoard": title}

    def renamed(text: str) -> str:
        for word, own in words.items():
            text = text.replace(word, own)
        return text

    example = examples() / EXAMPLE
    for source in sorted(example.rglob("*")):
        relative = source.relative_to(example)
        if source.is_file() and _LEFT_OUT.isdisjoint(relative.parts):
            path = target / renamed(relative.as_posix())
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(renamed(source.read_text("utf-8")), "utf-8")
            yield path


def examples() -> Path:
    """Return the folder of the example projects: a wheel has it inside this package.

    Raises:
        CommandFailed: it is not there.
    """
    package = Path(__file__).resolve().parent
    places = [package / "templates", package.parent / "tests" / "examples"]
    for place in places:
        if (place / EXAMPLE).is_dir():
            return place
    raise CommandFailed(
        f"The example projects are missing: expected '{EXAMPLE}' in {places[0]} (installed) or "
        f"{places[1]} (checkout). Install again: pip install --force-reinstall pytest-rosey"
    )


def _as_package(plugin: str) -> str:
    return plugin.replace("-", "_")

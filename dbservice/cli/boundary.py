"""Where every command ends: whatever went wrong is one sentence and a documented exit code."""

from __future__ import annotations

import asyncio
import codecs
import io
import os
import re
import shlex
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from dbservice.cli.failure import (
    DEFECT,
    HUNG_UP,
    INTERRUPTED,
    REFUSED,
    UNREACHABLE,
    USAGE,
    CommandFailed,
)
from dbservice.client import NoService, RequestTimeout, StorageError
from dbservice.protocol.codec import encode_json
from dbservice.protocol.errors import RequestError, did_you_mean

if TYPE_CHECKING:
    from cyclopts import App, CycloptsError

DEBUG: Final = "ROSEY_DEBUG"
"""The environment variable that adds the traceback."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How a command ended.

    Attributes:
        exit_code: of the process.
        message: the sentence; empty where nobody is left to read it.
        code: which kind of failure, for scripts.
        details: structured facts.
    """

    exit_code: int
    message: str = ""
    code: str = "FAILED"
    details: dict[str, Any] = field(default_factory=dict)


def run(app: App, arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; nothing is raised.

    Args:
        app: the commands.
        arguments: what stands behind the name of the program.
    """
    try:
        _let_every_character_be_written()
        failure, status = None, _result(app, arguments)
    except BaseException as error:  # noqa: BLE001 - this is where they all end
        if os.environ.get(DEBUG):
            traceback.print_exception(error)
        failure, status = _explained(error, app.name[0]), 0
    if failure is None:
        return status
    _tell(failure, as_json="--json" in arguments)
    return failure.exit_code


def _let_every_character_be_written() -> None:
    """Escape a character that the terminal's encoding does not have, as JSON does."""
    codecs.register_error("rosey", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="rosey")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    r"""Return `\u2014` for a dash, in every other encoding than UTF-8 too."""
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return re.sub("....", r"\\u\g<0>", units), error.end


def _result(app: App, arguments: Sequence[str]) -> int:
    try:
        command, bound, _ = app.parse_args(list(arguments), exit_on_error=False, print_error=False)
    except ValueError as error:  # what an option's own type says
        name, colon, rest = str(error).partition(":")
        option = f"--{name.replace('_', '-')}" if colon and name.isidentifier() else name
        raise CommandFailed(f"{option}{colon}{rest}", USAGE) from None
    result = command(*bound.args, **bound.kwargs)
    sys.stdout.flush()
    return result if isinstance(result, int) else 0


def _explained(error: BaseException, program: str) -> Failure:
    match error:
        case CommandFailed():
            return Failure(error.exit_code, str(error), error.code, error.details)
        case NoService() | RequestTimeout():
            return Failure(UNREACHABLE, str(error), error.code, error.details)
        case StorageError():
            return Failure(REFUSED, f"{error.code}: {error.message}", error.code, error.details)
        case RequestError():
            return Failure(USAGE, error.message, error.code, dict(error.details))
        case KeyboardInterrupt() | asyncio.CancelledError():
            return Failure(INTERRUPTED, "Interrupted.", "INTERRUPTED")
        case BrokenPipeError():
            return Failure(HUNG_UP)
        case SystemExit():
            return Failure(error.code if isinstance(error.code, int) else REFUSED)
        case NotADirectoryError():
            return Failure(USAGE, os_sentence(error), "USAGE")
        case OSError():
            return Failure(REFUSED, os_sentence(error))
    return _explained_by_a_library(error, program)


def _explained_by_a_library(error: BaseException, program: str) -> Failure:
    # Only now: these modules are slow to load, and most commands do not end here.
    from cyclopts import CycloptsError

    from dbservice.engine.errors import UnavailableError

    if isinstance(error, CycloptsError):
        return Failure(USAGE, _usage_sentence(error, program), "USAGE")
    if isinstance(error, ImportError):
        told = f"It needs a module that does not import ({error}). See: rosey doctor"
        return Failure(REFUSED, told)
    if isinstance(error, UnavailableError):
        return Failure(UNREACHABLE, str(error), "DATABASE_UNAVAILABLE")
    told = f"{type(error).__name__}: {error}".rstrip(": ")
    return Failure(
        DEFECT,
        f"{program} has a defect ({told}). Please report it with what this prints: "
        f"{DEBUG}=1 {program} {_without_credentials(shlex.join(sys.argv[1:]))}",
        "DEFECT",
    )


def _without_credentials(words: str) -> str:
    """Return a command line without the user, the password and the query of any URL in it."""
    return re.sub(r"(://)[^\s/]*@|\?[^\s]*", r"\1", words)


def _usage_sentence(error: CycloptsError, program: str) -> str:
    from cyclopts import UnknownCommandError, UnusedCliTokensError

    surplus = " ".join(error.unused_tokens or ())
    chain = list(error.command_chain or ())
    if isinstance(error, UnknownCommandError) and error.app is not None:
        said = _unknown_command(surplus.partition(" ")[0], error.app)
    elif isinstance(error, UnusedCliTokensError):
        said = f"'{surplus}' is more than this command takes."
    else:
        said = " ".join(str(error).split())
    return f"{said} See: {' '.join([program, *chain, '--help'])}"


def _unknown_command(got: str, app: App) -> str:
    # The library's own sentence cuts the list, and imports every command for it.
    known = [name for name in app if not name.startswith("-")]
    return f"'{got}' is not a command.{did_you_mean(got, known)} There are: {', '.join(known)}."


def os_sentence(error: OSError) -> str:
    """Return what the operating system says, and of which file, without its number."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}." if error.filename else f"{reason}."


def _tell(failure: Failure, *, as_json: bool) -> None:
    """Write a failure, as far as anybody can still be reached."""
    try:
        if failure.message:
            sys.stderr.write(f"rosey: {failure.message}\n")
            sys.stderr.flush()
            if as_json:
                error: dict[str, Any] = {"code": failure.code, "message": failure.message}
                if failure.details:
                    error["details"] = failure.details
                sys.stdout.write(encode_json({"success": False, "error": error}).decode() + "\n")
        sys.stdout.flush()
    except OSError:
        _let_go_of_stdout()


def _let_go_of_stdout() -> None:
    """Keep the interpreter from writing again, when it ends, to where nothing can be written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)

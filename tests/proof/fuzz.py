"""Feeds the readers of strangers' bytes with inputs that reach new code; keeps what breaks them.

`python -m tests.proof.fuzz --inputs 1000000` shares the inputs among all readers; with the name of
one it feeds that one alone, and with the name of one and a file it reads what an earlier run kept.
A reader fails by an exception that is not documented, or by taking longer than `PATIENCE` for one
input: now and then an input is repeated to the longest that can be sent, where only a reader that
takes linear time comes to an end.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import shutil
import sys
import tempfile
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import atheris

from tests import ROOT, SEED

if TYPE_CHECKING:
    from tests.proof.readers import Reader

INPUTS = int(os.environ.get("ROSEY_FUZZ_INPUTS", "20000"))
FOUND = ROOT / "build/proof/found"
PATIENCE = 60
"""Seconds for the longest input, which takes about one."""

OFTEN = 1_000
"""One input of so many is repeated to the longest."""


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.fuzz", description=__doc__)
    parser.add_argument("reader", nargs="?", help="the name of one; all if absent")
    parser.add_argument("file", nargs="?", type=Path, help="an input that was kept")
    parser.add_argument("--inputs", type=int, default=INPUTS, help="of all readers together")
    options = parser.parse_args()
    if options.file:
        return _replay(options.reader, options.file.read_bytes())
    with atheris.instrument_imports(include=["dbservice", "reference_plugin_quote_db"]):
        from tests.proof.readers import READERS
    chosen = [reader for reader in READERS if options.reader in (None, reader.name)]
    FOUND.mkdir(parents=True, exist_ok=True)
    broken = [
        reader.name for reader in chosen if not _survives(reader, options.inputs // len(chosen))
    ]
    print(f"{len(chosen)} readers, {len(broken)} failed")
    return 1 if broken else 0


def _survives(reader: Reader, inputs: int) -> bool:
    """Feed a reader in a fork, since a fuzzer ends its process; tell what came of it."""
    # No `with`: what ends the fork is an exception, which would take the directory away.
    directory = Path(tempfile.mkdtemp(prefix="rosey-fuzz-"))
    log = directory / "log"
    child = os.fork()
    if not child:
        with log.open("wb") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        _feed(reader, inputs, directory)
    _, status = os.waitpid(child, 0)
    told = log.read_text("utf-8", errors="replace")
    shutil.rmtree(directory)
    if status:
        print(told[-4000:])
    executed = re.search(r"Done (\d+) runs", told)
    verdict = (
        f"FAILED, its input is in {FOUND}" if status or not executed else "none of them a finding"
    )
    print(
        f"{reader.name}: {executed[1] if executed else 0} inputs of seed {SEED}, {verdict}",
        flush=True,
    )
    return verdict.startswith("none")


def _feed(reader: Reader, inputs: int, directory: Path) -> NoReturn:
    logging.disable()  # what is dropped would be told each time
    corpus, words = directory / "corpus", directory / "words"
    corpus.mkdir()
    for number, example in enumerate(reader.examples):
        (corpus / str(number)).write_bytes(example)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in reader.words), "utf-8")
    turns = count(1)

    def one(data: bytes) -> None:
        reader.reads(data)
        if next(turns) % OFTEN == 0:
            reader.reads(repeated(data, reader.longest))

    how = [f"-runs={inputs}", f"-seed={SEED}", f"-dict={words}", f"-timeout={PATIENCE}"]
    how += ["-max_len=2000", f"-artifact_prefix={FOUND / reader.name}-"]
    atheris.Setup([sys.argv[0], *how, str(corpus)], one)
    atheris.Fuzz()


def repeated(data: bytes, size: int) -> bytes:
    """Return an input again and again, up to a size."""
    return (data * (size // max(1, len(data)) + 1))[:size]


def _replay(name: str, data: bytes) -> int:
    from tests.proof.readers import READERS

    reader = next(reader for reader in READERS if reader.name == name)
    reader.reads(data)
    reader.reads(repeated(data, reader.longest))
    print(f"{name} reads {len(data)} bytes")
    return 0


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    sys.exit(main())

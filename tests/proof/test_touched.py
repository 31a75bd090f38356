"""SQLite itself tells every table that hostile requests touch: none is another plugin's.

`ROSEY_TOUCHED_REQUESTS` says how many requests. Half of them name the neighbour's table where they
would name one of their own.
"""

from __future__ import annotations

import json
import os
import random
import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from dbservice.runtime.clock import ManualClock
from tests import SEED
from tests.attack.attacks import setting_up
from tests.attack.fuzz import fuzzed
from tests.dbservice.storage.test_engines_agree import opened

REQUESTS = int(os.environ.get("ROSEY_TOUCHED_REQUESTS", "2000"))
OWN_TABLE = re.compile(rb"\b(many|big|arrays|notes)\b")
NEIGHBOURS = b"quiet__secrets"
FIELDS = b'{"fields":[{"name":"text","type":"text"}]}'
NEIGHBOUR = [
    ("schema.register", b'{"table":"secrets","schema":' + FIELDS + b"}"),
    ("insert", b'{"table":"secrets","data":{"text":"a secret"}}'),
]

touched: Counter[str] = Counter()
"""How often SQLite asked about each table, while it prepared a statement."""


class Watched(sqlite3.Connection):
    """Notes the tables, and asks the service's own authorizer as before."""

    _decide: Callable[..., int] | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        super().set_authorizer(self._note)

    @override
    def set_authorizer(self, authorizer_callback: Any, /) -> None:
        self._decide = authorizer_callback
        super().set_authorizer(self._note)

    def _note(self, action: int, first: str | None, second: str | None, *more: str | None) -> int:
        if action in TABLES:
            touched[(second if action in SECOND else first) or ""] += 1
        return self._decide(action, first, second, *more) if self._decide else sqlite3.SQLITE_OK


SECOND = {sqlite3.SQLITE_ALTER_TABLE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_DROP_INDEX}
"""Actions that name their table second."""

TABLES = SECOND | {
    *(sqlite3.SQLITE_READ, sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE),
    *(sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_DROP_TABLE, sqlite3.SQLITE_CREATE_VIEW),
}


async def test_no_request_touches_another_plugins_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *given, **named: connect(*given, **named, factory=Watched)
    )
    dice, requests = random.Random(SEED), fuzzed(SEED)
    async with opened("sqlite+aiosqlite://", tmp_path, ManualClock(), 0) as service:
        for subject, payload in setting_up():
            assert json.loads(await service.execute(subject, payload))["success"]
        for operation, payload in NEIGHBOUR:
            answer = await service.execute(f"rosey.db.row.quiet.{operation}", payload)
            assert json.loads(answer)["success"]
        assert touched[NEIGHBOURS.decode()], "what is touched is noted"
        touched.clear()
        for _ in range(REQUESTS):
            subject, payload = next(requests)
            if dice.random() < 0.5:
                payload = OWN_TABLE.sub(NEIGHBOURS, payload)
            answer = await service.execute(subject, payload)
            assert b"a secret" not in answer
    assert NEIGHBOURS.decode() not in touched
    assert touched["evil__many"], "some got as far as their own tables"
    print(f"\n{REQUESTS} requests touched {sorted(touched)}")

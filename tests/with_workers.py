"""`pytest -p tests.with_workers --rosey-db=file`: every service on a file has worker processes."""

from __future__ import annotations

from dbservice.server.service import DatabaseService

_defaults = DatabaseService.__init__.__kwdefaults__
assert _defaults is not None
_defaults["workers"] = 2

"""Logs as one JSON object a line, with the correlation id (SPEC 3.7)."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, TextIO

from dbservice.runtime.clock import timestamp
from dbservice.runtime.correlation import current_request_id

# What every record has; whatever else is on one came through `extra=`.
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON.

    The fields are `time` (ISO-8601, UTC), `level`, `logger`, `message`, `request_id` where there
    is one, everything given as `extra=`, and `exception` and `stack` where the record has them.
    A value without a JSON form stands there as text: a log line is never lost over its contents.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        fields = {**_extra(record), **self._standard(record)}
        try:
            return json.dumps(fields, default=str, allow_nan=False)
        except (TypeError, ValueError):
            return json.dumps({str(name): str(value) for name, value in fields.items()})

    def _standard(self, record: logging.LogRecord) -> dict[str, Any]:
        fields = {
            "time": timestamp(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        request_id = record.__dict__.get("request_id") or current_request_id()
        if request_id is not None:
            fields["request_id"] = request_id
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        return fields


def configure_logging(level: int | str = logging.INFO, stream: TextIO | None = None) -> None:
    """Send the logs of the whole process to a stream, as JSON. A second call replaces the first.

    Args:
        level: the lowest level that is logged, as a number or a name such as `INFO`.
        stream: where to; by default standard error, since standard output belongs to the command.

    Raises:
        ValueError: if there is no level of that name.
    """
    root = logging.getLogger()
    root.setLevel(level)
    for handler in list(root.handlers):
        if isinstance(handler.formatter, JsonFormatter):
            root.removeHandler(handler)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root.addHandler(handler)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}

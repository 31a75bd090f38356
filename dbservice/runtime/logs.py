"""Logs as one JSON object a line, with the correlation id (SPEC 3.7)."""

from __future__ import annotations

import json
import logging
import sys
import time
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


class SparingLog:
    """Logs one record of a kind in an interval, and then how many it has left out.

    What others can cause as often as they like (a message, a full disk) must not fill the log.
    Whoever logs has one of its own: what one service left out is no reason for another's silence.
    Kinds are named in the code: what came in a message is none, since each is remembered.

    Args:
        logger: where to.
        interval: seconds between two records of one kind.
    """

    def __init__(self, logger: logging.Logger, interval: float = 10.0) -> None:
        self._logger = logger
        self._interval = interval
        self._kinds: dict[str, tuple[float, int]] = {}

    def info(self, kind: str, message: str, *arguments: object) -> None:
        """Log something of a kind, unless that was done of late."""
        self._log(logging.INFO, kind, message, arguments)

    def warning(self, kind: str, message: str, *arguments: object) -> None:
        """Log a warning of a kind, unless there was one of late."""
        self._log(logging.WARNING, kind, message, arguments)

    def exception(self, kind: str, message: str, *arguments: object) -> None:
        """Log an error of a kind with the traceback at hand, unless there was one of late."""
        self._log(logging.ERROR, kind, message, arguments, with_traceback=True)

    def _log(
        self,
        level: int,
        kind: str,
        message: str,
        arguments: tuple[object, ...],
        *,
        with_traceback: bool = False,
    ) -> None:
        now = time.monotonic()
        due, left_out = self._kinds.get(kind, (now, 0))
        if now < due:
            self._kinds[kind] = (due, left_out + 1)
            return
        self._kinds[kind] = (now + self._interval, 0)
        extra = {"left_out": left_out} if left_out else None
        self._logger.log(level, message, *arguments, exc_info=with_traceback, extra=extra)

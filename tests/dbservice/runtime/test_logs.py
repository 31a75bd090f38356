"""Log lines are JSON whatever they contain."""

from __future__ import annotations

import io
import json
import logging
import math

import pytest

from dbservice.runtime.correlation import bound_request_id
from dbservice.runtime.logs import JsonFormatter, SparingLog, configure_logging


@pytest.fixture
def log():
    """Return a logger, and the lines it wrote, decoded."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("rosey.test")  # noqa: LOG001 - one that nobody else has
    logger.addHandler(handler)
    return logger, lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def root():
    """Return the root logger, and leave it as it was."""
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_a_line_has_the_standard_fields(log):
    logger, lines = log

    logger.info("%s quotes", 3)

    [line] = lines()
    time = line.pop("time")
    assert line == {"level": "INFO", "logger": "rosey.test", "message": "3 quotes"}
    assert time.endswith("Z")
    assert "T" in time


def test_the_time_is_that_of_the_record():
    record = logging.makeLogRecord({"created": 0.25, "msg": "x"})

    assert json.loads(JsonFormatter().format(record))["time"] == "1970-01-01T00:00:00.250000Z"


def test_a_line_has_the_correlation_id(log):
    logger, lines = log

    with bound_request_id("abc"):
        logger.info("within")
        logger.info("said otherwise", extra={"request_id": "def"})
    logger.info("outside")

    assert [line.get("request_id") for line in lines()] == ["abc", "def", None]
    assert "request_id" not in lines()[2]


def test_extra_fields_keep_their_types(log):
    logger, lines = log

    logger.info("x", extra={"quote_id": 42, "tags": ["a"], "nested": {"ok": True}})

    [line] = lines()
    assert (line["quote_id"], line["tags"], line["nested"]) == (42, ["a"], {"ok": True})


def test_extra_fields_do_not_displace_the_standard_ones(log):
    logger, lines = log

    logger.info("x", extra={"level": "none", "time": "never", "logger": "nobody"})

    [line] = lines()
    assert (line["level"], line["logger"]) == ("INFO", "rosey.test")
    assert line["time"] != "never"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (math.nan, "nan"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (1 + 2j, "(1+2j)"),
        ("\ud800", "\ud800"),
        ("two\nlines", "two\nlines"),
    ],
)
def test_no_line_is_lost_over_its_contents(log, value, shown):
    logger, lines = log

    logger.info("x", extra={"value": value})

    [line] = lines()
    assert line["value"] == shown
    assert line["message"] == "x"


def test_a_line_has_the_exception(log):
    logger, lines = log

    try:
        {}["gone"]
    except KeyError:
        logger.exception("failed", stack_info=True)

    [line] = lines()
    assert line["exception"].endswith("KeyError: 'gone'")
    assert line["stack"].startswith("Stack (most recent call last)")


def test_configuring_twice_replaces_the_first(root):
    first, second = io.StringIO(), io.StringIO()

    configure_logging("WARNING", first)
    configure_logging("INFO", second)
    logging.getLogger("rosey.test").info("once")

    assert first.getvalue() == ""
    assert json.loads(second.getvalue())["message"] == "once"


def test_configuring_leaves_the_handlers_of_others(root):
    other = logging.NullHandler()
    root.addHandler(other)

    configure_logging(stream=io.StringIO())

    assert other in root.handlers


def test_an_unknown_level_is_refused(root):
    with pytest.raises(ValueError, match="Unknown level: 'LOUD'"):
        configure_logging("LOUD")


def test_a_kind_is_logged_once_an_interval_and_says_what_it_left_out(caplog, monkeypatch):
    now = 100.0
    monkeypatch.setattr("dbservice.runtime.logs.time.monotonic", lambda: now)
    log = SparingLog(logging.getLogger("sparing"), interval=10)
    for _ in range(765):
        log.warning("disk", "the disk is full: %s", "here")
    log.warning("other", "something else")
    assert [record.getMessage() for record in caplog.records] == [
        "the disk is full: here",
        "something else",
    ]
    now += 10
    log.warning("disk", "the disk is full: %s", "still")
    assert caplog.records[-1].getMessage() == "the disk is full: still"
    assert caplog.records[-1].left_out == 764


def test_a_traceback_is_logged_with_an_exception(caplog):
    log = SparingLog(logging.getLogger("sparing"))
    for _ in range(2):
        try:
            int("odd")
        except ValueError:
            log.exception("odd", "it failed")
    assert [record.exc_info[0] for record in caplog.records] == [ValueError]

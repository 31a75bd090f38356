"""One bus, one database; one file, one service: `rosey` as operators run it."""

from __future__ import annotations

import signal

PATIENCE = 30


def test_a_second_database_does_not_get_on_the_bus(serve, rosey, own_server):
    serve("--nats", own_server.url, "--db", "a.db")
    refused = rosey("serve", "--nats", own_server.url, "--db", "b.db", "--migrate")
    assert refused.returncode == 4
    assert "rosey: ready" not in refused.stdout
    assert "A service of another database answers on this bus" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_one_that_was_silent_is_noticed_when_it_speaks_again(serve, own_server):
    first = serve("--nats", own_server.url, "--db", "a.db")
    first.process.send_signal(signal.SIGSTOP)
    try:
        second = serve("--nats", own_server.url, "--db", "b.db", "--peer-interval", "0.2")
    finally:
        first.process.send_signal(signal.SIGCONT)
    assert second.process.wait(PATIENCE) == 4
    assert "answers on this bus" in second.log.read_text()
    assert first.process.poll() is None


def test_migrate_migrates_its_own_database_before_it_takes_requests(serve, rosey, own_server):
    served = serve("--nats", own_server.url, "--db", "a.db", "--migrate")
    assert served.stop() == 0
    status = rosey("migrate", "quote-db", "status", "--db", "a.db")
    assert status.returncode == 0, status.stderr

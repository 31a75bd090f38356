"""No secret leaves the process, in whatever part of a URL it stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbservice.runtime.redaction import redacted


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://h:1", "nats://h:1"),
        ("nats://u:PW@h:1", "nats://***@h:1"),
        ("nats://PWtoken@h:1", "nats://***@h:1"),
        ("nats://u:PW@a:1,nats://u:PW@b:2", "nats://***@a:1,nats://***@b:2"),
        ("nats://u:PW@a:1,u:PW@b:2", "nats://***@b:2"),
        ("nats://u:P,W@a:1", "nats://***@a:1"),
        ("nats://u:P@W@a:1", "nats://***@a:1"),
        ("nats://u:P/W@a:1", "nats://***"),
        ("nats://u:P?W@a:1", "nats://***"),
        ("nats://u:P://W@a:1", "nats://***"),
        ("u:PW@h:1", "***@h:1"),
        ("h:1", "h:1"),
        ("tls://h:1?token=PW", "tls://h:1"),
        ("postgresql+asyncpg://u:PW@h:5432/db", "postgresql+asyncpg://***@h:5432/db"),
        ("postgresql+asyncpg://h/db?password=PW", "postgresql+asyncpg://h/db"),
        ("postgresql+asyncpg://h/db?sslpassword=PW", "postgresql+asyncpg://h/db"),
        ("postgresql+asyncpg:///db?host=/run&password=P@W", "postgresql+asyncpg:///db"),
        ("sqlite+aiosqlite:////home/me@work/a.db", "sqlite+aiosqlite:////home/me@work/a.db"),
        ("sqlite+aiosqlite:///a.db?key=PW", "sqlite+aiosqlite:///a.db"),
        ("sqlite+aiosqlite://", "sqlite+aiosqlite://"),
        ("unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
        ("tcp://u:PW@docker:2376", "tcp://***@docker:2376"),
        ("ssh://u:PW@docker", "ssh://***@docker"),
        ("https://h/#PW", "https://h/"),
        ("", ""),
    ],
)
def test_what_is_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown


SECRET = st.text(st.characters(exclude_categories=("Cs",)), min_size=1).map(lambda t: f"PW{t}PW")


@given(secret=SECRET, others=st.lists(st.sampled_from(["nats://h:1", "nats://u:PWx@i:2"])))
def test_no_password_is_shown(secret: str, others: list[str]) -> None:
    given = [f"nats://u:{secret}@h:1", f"nats://{secret}@h:1", f"nats://h:1?password={secret}"]
    for url in given:
        assert "PW" not in redacted(",".join([*others, url]))
        assert "PW" not in redacted(",".join([url, *others]))

"""The loop that keeps a connection open: no way for an attempt to fail ends it."""

from collections.abc import Callable
from pathlib import Path

import pika
import pytest
import structlog
from pika.channel import Channel
from pydantic import SecretStr

from ops.local.ports import free_ports
from postroad.broker import connection
from postroad.broker.connection import Connection, Login
from postroad.settings import MessagingSettings
from postroad.testing import eventually

URLS = ("amqp://first/postroad", "amqp://second/postroad")


class BadLogin(Login):
    """Fails as no entry should, for none that is wrong gets past the settings."""

    def parameters(self, url: str, role: str) -> pika.ConnectionParameters:
        raise LookupError(f"a bug, at {url}")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MessagingSettings:
    monkeypatch.setattr(connection, "FIRST_DELAY_S", 0.001)
    file = str(tmp_path / "unread")
    return MessagingSettings.model_validate(
        {
            "broker_urls": URLS,
            "broker_password_file": file,
            "identity_file": file,
            "trust_file": file,
        }
    )


async def test_a_bug_in_an_attempt_is_logged_and_the_next_broker_tried(
    settings: MessagingSettings,
) -> None:
    login = BadLogin(settings, "auth", SecretStr("secret"))

    with structlog.testing.capture_logs() as lines:
        await keep_open(login, lambda: len(lines) >= 3)

    assert [line["broker"] for line in lines[:3]] == [*URLS, URLS[0]]
    assert lines[0]["reason"] == "a bug, at amqp://first/postroad"
    assert isinstance(lines[0]["exc_info"], LookupError)


async def test_a_broker_that_is_away_is_logged_without_a_traceback(
    settings: MessagingSettings,
) -> None:
    url = f"amqp://127.0.0.1:{free_ports(1)[0]}/postroad"
    login = Login(settings.model_copy(update={"broker_urls": (url,)}), "auth", SecretStr("secret"))

    with structlog.testing.capture_logs() as lines:
        await keep_open(login, lambda: bool(lines))

    assert "Connect call failed" in lines[0]["reason"]
    assert "exc_info" not in lines[0]


async def keep_open(login: Login, until: Callable[[], bool]) -> None:
    async def set_up(_connection: Connection, _channel: Channel) -> None:
        raise AssertionError("it was opened")

    kept = Connection(login, "requests", set_up=set_up, on_lost=lambda: None)
    await kept.start()
    try:
        await eventually(until)
    finally:
        await kept.close()

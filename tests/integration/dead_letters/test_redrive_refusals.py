"""Which dead letters may be put back to work, and which stay."""

import json
from time import time
from typing import Any

import pytest

from postroad.contracts.syncs import FetchPage
from postroad.messaging.background_worker import ATTEMPT
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity
from postroad.security.lasting_signatures import LastingSigner
from postroad.security.signatures import read_signature
from postroad.topology.names import QUARANTINE, dead_queue
from tests.integration.dead_letters.running import (
    ASKED,
    DEAD_SYNC,
    JOB,
    SYNC,
    Captured,
    Command,
    Running,
    sign_nothing,
)

pytestmark = pytest.mark.integration


def sign_another_body(signer: LastingSigner, message_id: str) -> str:
    return signer.job(
        audience="catalog",
        name=FetchPage.name,
        body=JOB + b" ",
        message_id=message_id,
        correlation_id="c",
    )


def sign_as_a_stranger(signer: LastingSigner, message_id: str) -> str:
    stranger = Identity.create("catalog")
    return sign_as(KeyRing(stranger, signer._keys.trust), message_id)


def sign_as(keys: KeyRing, message_id: str) -> str:
    return LastingSigner(keys).job(
        audience="catalog",
        name=FetchPage.name,
        body=JOB,
        message_id=message_id,
        correlation_id="c",
    )


def sign_for_another(signer: LastingSigner, message_id: str) -> str:
    return signer.job(
        audience="auth", name=FetchPage.name, body=JOB, message_id=message_id, correlation_id="c"
    )


DISHONEST = pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"signs": sign_nothing}, "unsigned"),
        ({"signs": sign_another_body}, "bad_signature"),
        ({"signs": sign_as_a_stranger}, "unknown_key"),
        ({"signs": sign_for_another}, "wrong_audience"),
        ({"headers": {"CC": [FetchPage.name]}}, "carbon_copy"),
    ],
)


@DISHONEST
def test_what_was_never_honest_stays_whatever_the_force(
    running: Running, command: Command, capsys: Captured, changes: dict[str, Any], reason: str
) -> None:
    running.bury(**changes)

    assert command("redrive", "--yes", "--force") == 0

    assert capsys.readouterr().out == f"1 message stays: {reason}\n"
    running.comes_to(DEAD_SYNC, 1)
    assert running.depth(SYNC) == 0


@DISHONEST
def test_the_quarantine_makes_nothing_honest(
    running: Running, command: Command, capsys: Captured, changes: dict[str, Any], reason: str
) -> None:
    running.bury(**changes)
    assert command("quarantine", "--yes") == 0
    capsys.readouterr()

    assert command("redrive", "--yes", "--force") == 0

    assert capsys.readouterr().out == f"1 message stays: {reason}\n"
    running.comes_to(QUARANTINE, 1)
    assert running.depth(SYNC) == 0


def test_a_letter_signed_with_a_retired_key_may_be_redriven(
    running: Running, command: Command
) -> None:
    running.bury(signed_at=time() - 60)
    trust = json.loads(running.state.trust_file.read_text())
    for key in trust["services"]["catalog"]["keys"]:
        key["retires_at"] = time() - 1
    before = running.state.trust_file.read_text()
    running.state.write_trust(trust)
    try:
        assert command("redrive", "--yes") == 0
    finally:
        running.state.trust_file.write_text(before)

    running.comes_to(SYNC, 1)


def test_a_letter_that_its_reader_accepted_once_may_be_redriven(
    running: Running, command: Command
) -> None:
    running.bury(signs=sign_as_a_stranger, headers={ATTEMPT: 5})

    assert command("redrive", "--yes") == 0

    running.comes_to(SYNC, 1)


def test_what_breaks_its_contract_may_go_to_a_newer_worker(
    running: Running, command: Command, capsys: Captured
) -> None:
    running.bury(body=b'{"sync_id": 1}')

    assert command("redrive", "--reason", "invalid_request", "--yes") == 0

    running.comes_to(SYNC, 1)


def test_what_comes_back_three_times_stays_unless_forced(
    running: Running, command: Command, capsys: Captured
) -> None:
    running.bury()
    for _ in range(3):
        assert command("redrive", "--yes") == 0
        die_again(running)

    assert command("redrive", "--yes") == 0
    assert "1 message stays: redriven 3 times already (--force)" in capsys.readouterr().out
    running.comes_to(DEAD_SYNC, 1)

    assert command("redrive", "--yes", "--force") == 0
    ((properties, _),) = running.take_all(SYNC)
    assert read_signature(properties.headers["signature"]).claims.nth == 4


def die_again(running: Running) -> None:
    with running.connect("catalog") as connection:
        channel = connection.channel()
        method, _, _ = next(channel.consume(SYNC))
        channel.basic_reject(method.delivery_tag, requeue=False)
        channel.cancel()
    running.comes_to(DEAD_SYNC, 1)


def test_requests_are_not_put_back(running: Running, command: Command, capsys: Captured) -> None:
    running.bury_request()

    assert command("redrive", "--queue", "rpc.auth", "--yes") == 0

    assert "1 message stays: a request: its caller has long gone" in capsys.readouterr().out
    running.comes_to(dead_queue(ASKED), 1)

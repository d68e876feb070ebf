"""A dead letter, looked at as a person does, says itself why it died."""

import json
from pathlib import Path

import pytest

from ops.commands.dispatch import run_command
from ops.state.folder import StateFolder
from postroad.contracts.catalog import GetProduct
from postroad.contracts.syncs import FetchPage
from postroad.security.access_tokens import AccessToken
from postroad.security.claims import Reason
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, TrustBundle
from postroad.testing import access_token, serving, working
from postroad.topology.names import WORK_EXCHANGE, dead_queue
from tests.integration.test_security import DEAD_LETTERS, REQUEST, get_product
from tests.support.brokers import RabbitUnderTest
from tests.support.captures import write_state
from tests.support.letters import write
from tests.support.traffic import publish, waiting_in
from tests.support.working import QUEUE

pytestmark = pytest.mark.integration


@pytest.fixture
def user(keys: dict[str, KeyRing], identities: dict[str, Identity]) -> AccessToken:
    return access_token(keys["bridge"], identities["auth"])


@pytest.fixture
def state(tmp_path: Path, identities: dict[str, Identity], trust: TrustBundle) -> StateFolder:
    return write_state(tmp_path / "state", identities, trust)


def explained(broker: RabbitUnderTest, queue: str, state: StateFolder) -> int:
    """Look into a queue through the management, and explain what is there."""
    file = state.folder / "dead.json"
    file.write_text(json.dumps(broker.node.management.messages(broker.vhost, queue)))
    return run_command(["explain", str(file), "--state", str(state.folder)])


async def test_a_dead_letter_of_a_real_queue_is_explained(
    rabbit_broker: RabbitUnderTest,
    keys: dict[str, KeyRing],
    user: AccessToken,
    state: StateFolder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    letter = write(keys["bridge"], REQUEST, reply_to="reply.bridge.x", user=user)
    letter.headers["authorization"] += "x"
    async with serving(rabbit_broker, keys["catalog"], {GetProduct: get_product}) as worker:
        await letter.post(rabbit_broker, "bridge")
        await waiting_in(rabbit_broker, DEAD_LETTERS)

    status = explained(rabbit_broker, DEAD_LETTERS, state)

    assert worker.counts == {f"refused.{Reason.TOKEN_MISMATCH}": 1}
    assert status == 1
    shown = capsys.readouterr().out
    assert "request for catalog" in shown
    assert "Refused: token_mismatch" in shown
    assert user.text not in shown


async def test_a_dead_job_of_a_real_queue_is_explained(
    rabbit_broker: RabbitUnderTest,
    keys: dict[str, KeyRing],
    state: StateFolder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = FetchPage(sync_id="s", skip=0, limit=30)
    async with working(rabbit_broker, keys["catalog"], "sync", {FetchPage: print}):
        body = job.model_dump_json().encode()
        await publish(rabbit_broker, "catalog", WORK_EXCHANGE, job.name, body, type=job.name)
        await waiting_in(rabbit_broker, dead_queue(QUEUE))

    status = explained(rabbit_broker, dead_queue(QUEUE), state)

    assert status == 1
    shown = capsys.readouterr().out
    assert "job for catalog" in shown
    assert "Refused: unsigned" in shown

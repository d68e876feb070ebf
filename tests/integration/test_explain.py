"""A dead letter, looked at as a person does, says itself why it died."""

import json
from argparse import ArgumentParser
from pathlib import Path

import pytest

from ops import explain
from ops.state import State
from shared.contracts.catalog import GetProduct
from shared.messaging.envelope import Reason
from shared.messaging.keyring import KeyRing
from shared.messaging.keys import Identity, TrustBundle
from shared.tokens import AccessToken
from tests.brokers import RabbitUnderTest
from tests.captures import write_state
from tests.integration.test_security import DEAD_LETTERS, REQUEST, get_product
from tests.letters import write
from tests.services import access_token, serving
from tests.traffic import waiting_in

pytestmark = pytest.mark.integration


@pytest.fixture
def user(keys: dict[str, KeyRing], identities: dict[str, Identity]) -> AccessToken:
    return access_token(keys["bridge"], identities["auth"])


@pytest.fixture
def state(tmp_path: Path, identities: dict[str, Identity], trust: TrustBundle) -> State:
    return write_state(tmp_path / "state", identities, trust)


async def test_a_dead_letter_of_a_real_queue_is_explained(
    rabbit_broker: RabbitUnderTest,
    keys: dict[str, KeyRing],
    user: AccessToken,
    state: State,
    capsys: pytest.CaptureFixture[str],
) -> None:
    letter = write(keys["bridge"], REQUEST, reply_to="reply.bridge.x", user=user)
    letter.headers["authorization"] += "x"
    async with serving(rabbit_broker, keys["catalog"], {GetProduct: get_product}) as worker:
        await letter.post(rabbit_broker, "bridge")
        await waiting_in(rabbit_broker, DEAD_LETTERS)

    seen = rabbit_broker.node.management.messages(rabbit_broker.vhost, DEAD_LETTERS)
    file = state.folder / "dead.json"
    file.write_text(json.dumps(seen))
    parser = ArgumentParser()
    explain.add_arguments(parser)
    status = explain.run(parser.parse_args([str(file), "--state", str(state.folder)]))

    assert worker.counts == {f"refused.{Reason.TOKEN_MISMATCH}": 1}
    assert status == 1
    shown = capsys.readouterr().out
    assert "request for catalog" in shown
    assert "Refused: token_mismatch" in shown
    assert user.text not in shown

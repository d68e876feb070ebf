"""Events that are not what they seem: refused and counted, in memory and with RabbitMQ."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from time import time
from typing import Any

import pytest

from postroad.broker.interfaces import Outcome
from postroad.contracts.events import LoginFailed, SessionRevoked
from postroad.messaging.publishing import MessagePublisher
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, TrustBundle, unpadded_b64encode
from postroad.security.lasting_signatures import LastingSigner
from postroad.security.signatures import Signer, Verifier
from postroad.testing import eventually
from postroad.topology.names import EVENTS_EXCHANGE
from tests.conformance.listening import BODY, REVOKED, Ear, Keys, listening, revoked, tell
from tests.support.brokers import BrokerUnderTest
from tests.support.letters import claims_of
from tests.support.traffic import publish


@dataclass
class Forgery:
    """An event as it goes to the broker; each test changes something of an honest one."""

    signature: str | None
    body: bytes = BODY
    properties: dict[str, Any] = field(default_factory=lambda: {"user_id": "auth"})

    async def post(self, broker: BrokerUnderTest) -> Outcome:
        headers = {} if self.signature is None else {"signature": self.signature}
        return await publish(
            *(broker, "auth", EVENTS_EXCHANGE, SessionRevoked.name, self.body),
            headers=headers,
            **self.properties,
        )


def signed(
    keys: KeyRing, *, body: bytes = BODY, name: str = SessionRevoked.name, **claims: Any
) -> str:
    """Sign an event as its service does, but with any claims."""
    key = keys.identity.key("events")
    honest = LastingSigner(keys).event(name=name, body=body, message_id="1", correlation_id="1")
    if not claims:
        return honest
    changed = json.dumps(claims_of(honest) | claims).encode()
    protected = unpadded_b64encode(changed)
    code = key.signer().sign(protected.encode() + b"." + body)
    return f"{protected}..{unpadded_b64encode(code)}"


def stranger(keys: Keys) -> KeyRing:
    return KeyRing(Identity.create("auth"), keys["auth"].trust)


FORGERIES: dict[str, tuple[str, Callable[[Keys], Forgery]]] = {
    "without a signature": ("unsigned", lambda _: Forgery(None)),
    "with nonsense for a signature": ("malformed", lambda _: Forgery("a..b")),
    "with another body": (
        "bad_signature",
        lambda keys: Forgery(signed(keys["auth"]), revoked().model_dump_json().encode()),
    ),
    "by a stranger": ("unknown_key", lambda keys: Forgery(signed(stranger(keys)))),
    "by a stranger under our key id": (
        "bad_signature",
        lambda keys: Forgery(signed(stranger(keys), kid=keys["auth"].identity.key("events").kid)),
    ),
    "by nobody we know": ("unknown_key", lambda keys: Forgery(signed(keys["auth"], iss="nobody"))),
    "with an algorithm for two": (
        "bad_signature",
        lambda keys: Forgery(signed(keys["auth"], alg="HS256")),
    ),
    "that is a request": ("wrong_type", lambda keys: Forgery(request_to_bridge(keys))),
    "for one service alone": (
        "wrong_audience",
        lambda keys: Forgery(signed(keys["auth"], aud="bridge")),
    ),
    "of another sender": (
        "sender_mismatch",
        lambda keys: Forgery(signed(keys["catalog"])),
    ),
    "of a sender unnamed": (
        "sender_mismatch",
        lambda keys: Forgery(signed(keys["auth"]), properties={}),
    ),
    "from long ago": ("expired", lambda keys: Forgery(signed(keys["auth"], exp=time() - 1))),
    "under another event's key": (
        "wrong_type",
        lambda keys: Forgery(signed(keys["auth"], name=LoginFailed.name)),
    ),
    "of a name there is not": (
        "wrong_type",
        lambda keys: Forgery(signed(keys["auth"], name="auth.session.begun")),
    ),
    "of a name that it may not publish": (
        "caller_not_allowed",
        lambda keys: Forgery(signed(keys["auth"], name="catalog.product.changed")),
    ),
}


def request_to_bridge(keys: Keys) -> str:
    return Signer(keys["auth"]).request(
        audience="bridge",
        method=SessionRevoked.name,
        body=BODY,
        message_id="1",
        correlation_id="1",
        reply_to="",
        deadline=time() + 5,
    )


@pytest.mark.parametrize("which", FORGERIES)
async def test_a_listener_refuses_and_counts_an_event(
    broker: BrokerUnderTest, keys: Keys, ear: Ear, publisher: MessagePublisher, which: str
) -> None:
    reason, forge = FORGERIES[which]
    honest = revoked()

    await forge(keys).post(broker)
    await tell(publisher, honest)

    await eventually(lambda: ear.heard)
    assert ear.heard == [honest]
    assert ear.listener.counts == {f"refused.{reason}": 1, SessionRevoked.name: 1}


async def test_a_listener_refuses_what_its_trust_bundle_does_not_grant(
    broker: BrokerUnderTest, keys: Keys, trust: TrustBundle, publisher: MessagePublisher
) -> None:
    mute = trust.services["auth"].model_copy(update={"publishes": ("auth.login.*",)})
    own = KeyRing(keys["bridge"].identity, TrustBundle(services=trust.services | {"auth": mute}))
    async with listening(broker, own) as ear:
        await tell(publisher, REVOKED)

        await eventually(lambda: ear.listener.counts["refused.caller_not_allowed"] == 1)
        assert not ear.heard


@pytest.mark.parametrize("body", [b"{}", b"", b"[]", b'{"session_id":', b"\xff", b'{"until":"x"}'])
async def test_a_listener_leaves_out_what_breaks_its_contract(
    broker: BrokerUnderTest, keys: Keys, ear: Ear, publisher: MessagePublisher, body: bytes
) -> None:
    honest = revoked()

    await Forgery(signed(keys["auth"], body=body), body).post(broker)
    await tell(publisher, honest)

    await eventually(lambda: ear.heard)
    assert ear.heard == [honest]
    assert ear.listener.counts == {"invalid": 1, SessionRevoked.name: 1}


def test_any_service_verifies_an_event_and_knows_whose_it_is(keys: Keys) -> None:
    claims = Verifier(keys["catalog"]).verify(signed(keys["auth"]), BODY, typ="event")

    assert (claims.iss, claims.aud, claims.op) == ("auth", EVENTS_EXCHANGE, SessionRevoked.name)

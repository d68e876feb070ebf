"""Requests written by hand, honest ones and forged ones."""

import hmac
import json
from dataclasses import dataclass
from time import time
from typing import Any

from pika import BasicProperties

from postroad.broker.interfaces import Outcome
from postroad.contracts.base import Request
from postroad.ids import new_id
from postroad.security.access_tokens import AccessToken
from postroad.security.keyring import KeyRing
from postroad.security.keys import unpadded_b64decode, unpadded_b64encode
from postroad.security.signatures import Signer
from postroad.topology.names import RPC_EXCHANGE
from tests.support.brokers import BrokerUnderTest
from tests.support.traffic import publish


@dataclass
class Letter:
    """A request as it goes to the broker; a test changes what it likes."""

    routing_key: str
    body: bytes
    properties: dict[str, Any]

    @property
    def headers(self) -> dict[str, Any]:
        headers: dict[str, Any] = self.properties["headers"]
        return headers

    async def post(self, broker: BrokerUnderTest, sender: str) -> Outcome:
        """Publish it as a service user."""
        return await publish(
            broker, sender, RPC_EXCHANGE, self.routing_key, self.body, **self.properties
        )

    def as_sent(self) -> BasicProperties:
        return BasicProperties(**self.properties)


def write(
    keys: KeyRing,
    request: Request[Any],
    *,
    reply_to: str,
    timeout_s: float = 5.0,
    user: AccessToken | None = None,
    audience: str | None = None,
) -> Letter:
    """Write an honest request, as a client does."""
    message_id = new_id()
    body = request.model_dump_json().encode()
    signature = Signer(keys).request(
        audience=audience or request.service,
        method=request.method,
        body=body,
        message_id=message_id,
        correlation_id=message_id,
        reply_to=reply_to,
        deadline=time() + timeout_s,
        token_hash=user.hash if user else None,
    )
    properties = {
        "headers": {"signature": signature} | ({"authorization": user.text} if user else {}),
        "correlation_id": message_id,
        "message_id": message_id,
        "reply_to": reply_to,
        "user_id": keys.service,
    }
    return Letter(request.method, body, properties)


def claims_of(signature: str) -> dict[str, Any]:
    """Read the protected header, unverified."""
    protected = signature.partition("..")[0]
    claims: dict[str, Any] = json.loads(unpadded_b64decode(protected))
    return claims


def forge(keys: KeyRing, audience: str, body: bytes, claims: dict[str, Any]) -> str:
    """Sign any claims with the key from one service to another."""
    protected = unpadded_b64encode(json.dumps(claims).encode())
    _, key = keys.sending_key(audience)
    code = hmac.digest(key, protected.encode() + b"." + body, "sha256")
    return f"{protected}..{unpadded_b64encode(code)}"

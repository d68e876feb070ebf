"""Signatures of requests, by our own code and by PyJWT."""

from time import time
from typing import Any

from jwt.api_jws import PyJWS

from postroad.security.keyring import KeyRing
from postroad.security.signatures import Signer

BODY = '{"name":"Stühle"}'.encode()
METHOD = "catalog.products.get"

Keys = dict[str, KeyRing]


def sign_request(keys: Keys, **changes: Any) -> str:
    usual: dict[str, Any] = {
        "audience": "catalog",
        "method": METHOD,
        "body": BODY,
        "message_id": "message-1",
        "correlation_id": "correlation-1",
        "reply_to": "reply.bridge.x",
        "deadline": time() + 5,
    }
    return Signer(keys["bridge"]).request(**usual | changes)


def sign_with_pyjwt(header: dict[str, Any], key: Any, algorithm: str, body: bytes = BODY) -> str:
    return PyJWS().encode(
        body, key, algorithm, headers=header, is_payload_detached=True, sort_headers=False
    )

"""The signature of what may wait in a queue: an event, a job, or one of them sent again.

It has the form of a request's (``postroad.security.signatures``), but is made with Ed25519: an
event has many readers, and a pairwise key is not kept for as long as a job may wait.
"""

from collections.abc import Callable
from time import time

from cryptography.exceptions import InvalidSignature

from postroad.security.claims import Claims
from postroad.security.keyring import KeyRing
from postroad.security.keys import unpadded_b64decode, unpadded_b64encode

EVENT_LIFETIME_S = 30 * 86_400  # events and jobs may wait in a queue for long, not for ever
EVENT_AUDIENCE = "events"  # the audience of an event: whoever listens


class LastingSigner:
    """Signs with one service's Ed25519 key."""

    def __init__(self, keys: KeyRing, *, clock: Callable[[], float] = time) -> None:
        self._keys = keys
        self._clock = clock

    def event(self, *, name: str, body: bytes, message_id: str, correlation_id: str) -> str:
        """Sign an event, which any service can verify and none but us can make."""
        return self._sign(
            "event", name, body, audience=EVENT_AUDIENCE, message_id=message_id, cid=correlation_id
        )

    def job(
        self, *, audience: str, name: str, body: bytes, message_id: str, correlation_id: str
    ) -> str:
        """Sign a job for one service. It may wait for longer than a pairwise key is kept."""
        return self._sign(
            "job", name, body, audience=audience, message_id=message_id, cid=correlation_id
        )

    def redrive(self, dead: Claims, *, audience: str, body: bytes) -> str:
        """Sign somebody's event or job anew, for one service, under the id that it had."""
        return self._sign(
            "redrive",
            dead.op,
            body,
            audience=audience,
            message_id=dead.jti,
            cid=dead.cid,
            more=f',"org":"{dead.origin}","nth":{dead.nth + 1}',
        )

    def _sign(
        self,
        typ: str,
        name: str,
        body: bytes,
        *,
        audience: str,
        message_id: str,
        cid: str,
        more: str = "",
    ) -> str:
        key = self._keys.identity.key("events")
        now = self._clock()
        protected = unpadded_b64encode(
            f'{{"alg":"EdDSA","b64":false,"crit":["b64"],"kid":"{key.kid}","typ":"{typ}",'
            f'"iss":"{self._keys.service}","aud":"{audience}","op":"{name}","iat":{now:.3f},'
            f'"exp":{now + EVENT_LIFETIME_S:.3f},"jti":"{message_id}",'
            f'"cid":"{cid}"{more}}}'.encode()
        )
        code = key.signer().sign(b"%b.%b" % (protected.encode(), body))
        return f"{protected}..{unpadded_b64encode(code)}"


def verify_lasting(keys: KeyRing, claims: Claims, signed: bytes, code: str) -> bool:
    """Return whether the issuer signed this with its Ed25519 key.

    Raises:
        UnknownKey: the key id is not one of the issuer's.
    """
    key = keys.peer_key(claims.iss, claims.kid, "events").verifier()
    try:
        key.verify(_decode(code), signed)
    except InvalidSignature:
        return False
    return True


def _decode(code: str) -> bytes:
    """Decode what is written as we write it; else return what is not a signature of anything."""
    try:
        given = unpadded_b64decode(code)
    except ValueError:
        return b""
    return given if unpadded_b64encode(given) == code else b""

"""Test vectors of the wire protocol (docs/wire-protocol.md), made from fixed keys by our own code.

``python -m tests.vectors.make`` writes the JSON files beside this one. They are the same each time,
but for ``sealed.json``: HPKE draws a new key for each text, so one that still opens is kept.
"""

import hmac
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from pydantic import SecretStr

from postroad.contracts.auth import password_context
from postroad.security.claims import Claims, Reason
from postroad.security.keyring import KeyRing
from postroad.security.keys import (
    PURPOSES,
    Identity,
    PrivateKey,
    Purpose,
    TrustBundle,
    TrustedService,
    unpadded_b64decode,
    unpadded_b64encode,
)
from postroad.security.lasting_signatures import LastingSigner
from postroad.security.sealing import CannotUnseal, seal, unseal
from postroad.security.signatures import Signer, token_hash

FOLDER = Path(__file__).parent

SIGNED_AT = 1_800_000_000.25  # seconds since 1970
DEADLINE = SIGNED_AT + 5
RETIRED_AT = 1_700_000_000.0
TOKEN = "header.claims.signature"  # stands for a user's token: only its hash counts

REQUEST_ID = "01a1b2c3-0000-7000-8000-000000000001"
REPLY_ID = "01a1b2c3-0000-7000-8000-000000000002"
EVENT_ID = "01a1b2c3-0000-7000-8000-000000000003"
CORRELATION_ID = "checkout:42"
REPLY_TO = "reply.orders.01a1b2c3-0000-7000-8000-00000000000f"
LIST, GET, LOGIN = "catalog.products.list", "catalog.products.get", "auth.login.succeeded"
QUERY = '{"limit":5,"skip":0,"q":"Stühle","category":null,"sort_by":null,"order":"asc"}'
PAGE = '{"data":[],"total":0,"skip":0,"limit":5}'
PROBLEM = (
    '{"code":"product_not_found","title":"No such product","detail":"no product 7",'
    '"retry_after_s":null}'
)
EVENT = '{"user_id":1,"session_id":"s-1","at":1800000000.0,"client_network":null}'

Vector = dict[str, Any]


def fixed_key(service: str, purpose: Purpose, label: str = "") -> PrivateKey:
    """Give a key whose private half is the SHA-256 of its name: for everybody to know."""
    seed = sha256(f"postroad test vector {service} {purpose} {label}".encode()).digest()
    private: X25519PrivateKey | Ed25519PrivateKey
    if purpose in ("agreement", "sealing"):
        private = X25519PrivateKey.from_private_bytes(seed)
    else:
        private = Ed25519PrivateKey.from_private_bytes(seed)
    return PrivateKey(
        crv="X25519" if isinstance(private, X25519PrivateKey) else "Ed25519",
        kid=f"{service}-{purpose}-{label or 'vector'}",
        purpose=purpose,
        x=unpadded_b64encode(private.public_key().public_bytes_raw()),
        retires_at=RETIRED_AT if label else None,
        d=SecretStr(unpadded_b64encode(seed)),
    )


IDENTITIES = {
    name: Identity(
        service=name,
        keys=(
            *(fixed_key(name, purpose) for purpose in PURPOSES),
            fixed_key(name, "agreement", "retired"),
        ),
    )
    for name in ("orders", "catalog", "auth")
}
TRUST = TrustBundle(
    services={
        "orders": TrustedService(
            keys=tuple(key.public() for key in IDENTITIES["orders"].keys),
            calls=("catalog.products.*",),
        ),
        "catalog": TrustedService(keys=tuple(key.public() for key in IDENTITIES["catalog"].keys)),
        "auth": TrustedService(
            keys=tuple(key.public() for key in IDENTITIES["auth"].keys),
            publishes=("auth.*",),
            issues_tokens=True,
        ),
    }
)
RINGS = {name: KeyRing(identity, TRUST) for name, identity in IDENTITIES.items()}


def signer(service: str) -> Signer:
    return Signer(RINGS[service], clock=lambda: SIGNED_AT)


def build() -> dict[str, Any]:
    """Give the content of each file, by its name."""
    accepted = _accepted()
    return {
        "keys": {
            "identities": {name: _private(identity) for name, identity in IDENTITIES.items()},
            "trust": TRUST.model_dump(mode="json"),
        },
        "pair_keys": _pair_keys(),
        "accepted": accepted,
        "refused": _refused({vector["name"]: vector for vector in accepted}),
        "sealed": _sealed(),
        "token": _token(),
    }


def read(name: str) -> Any:
    """Read a file of vectors."""
    return json.loads((FOLDER / f"{name}.json").read_bytes())


def _private(identity: Identity) -> Vector:
    keys = [key.public().model_dump() | {"d": key.d.get_secret_value()} for key in identity.keys]
    return {"service": identity.service, "keys": keys}


def _pair_keys() -> list[Vector]:
    vectors = []
    for sender, receiver in (("orders", "catalog"), ("catalog", "orders"), ("orders", "auth")):
        own = IDENTITIES[sender].key("agreement")
        peer = IDENTITIES[receiver].key("agreement")
        kid, key = RINGS[sender].sending_key(receiver)
        vectors.append(
            {
                "sender": sender,
                "receiver": receiver,
                "kid": kid,
                "agreed": unpadded_b64encode(own.agreement_private().exchange(peer.agreement())),
                "info": f"postroad/1 HS256 {own.kid} {peer.kid}",
                "key": unpadded_b64encode(key),
            }
        )
    return vectors


def _request(**more: Any) -> str:
    usual: dict[str, Any] = {
        "audience": "catalog",
        "method": LIST,
        "body": QUERY.encode(),
        "message_id": REQUEST_ID,
        "correlation_id": CORRELATION_ID,
        "reply_to": REPLY_TO,
        "deadline": DEADLINE,
    }
    return signer("orders").request(**usual | more)


def _accepted() -> list[Vector]:
    request = _request()
    claims = Claims.model_validate(claims_of(request))
    reply = signer("catalog").reply
    event = LastingSigner(RINGS["auth"], clock=lambda: SIGNED_AT).event(
        name=LOGIN, body=EVENT.encode(), message_id=EVENT_ID, correlation_id=CORRELATION_ID
    )
    return [
        _vector("request", "catalog", "request", QUERY, request),
        _vector(
            "request_for_a_user",
            "catalog",
            "request",
            QUERY,
            _request(token_hash=token_hash(TOKEN)),
            authorization=TOKEN,
        ),
        _vector(
            "reply",
            "orders",
            "reply",
            PAGE,
            reply(claims, body=PAGE.encode(), message_id=REPLY_ID),
        ),
        _vector(
            "reply_with_stale_data",
            "orders",
            "reply",
            PAGE,
            reply(
                claims,
                body=PAGE.encode(),
                message_id=REPLY_ID,
                as_of=SIGNED_AT - 300,
                is_stale=True,
            ),
        ),
        _vector(
            "reply_with_times",
            "orders",
            "reply",
            PAGE,
            reply(
                claims, body=PAGE.encode(), message_id=REPLY_ID, times_us=(1_100, 17_200, 15_200)
            ),
        ),
        _vector(
            "error_reply",
            "orders",
            "reply",
            PROBLEM,
            reply(claims, body=PROBLEM.encode(), message_id=REPLY_ID, is_error=True),
        ),
        _vector("event", "orders", "event", EVENT, event),
        _vector(
            "request_with_spaces_and_unknown_claims",
            "catalog",
            "request",
            QUERY,
            _forge("orders", "catalog", QUERY, {**claims_of(request), "later": [1, 2]}),
        ),
    ]


def _refused(accepted: dict[str, Vector]) -> list[Vector]:
    request, reply, event = (accepted[name]["signature"] for name in ("request", "reply", "event"))
    honest = claims_of(request)
    back = {"kid": RINGS["catalog"].sending_key("orders")[0], "iss": "catalog", "aud": "orders"}

    def signed(**changes: object) -> str:
        claims = {name: value for name, value in (honest | changes).items() if value != ""}
        return _forge("orders", "catalog", QUERY, claims)

    def changed(**changes: object) -> str:
        return f"{_b64json(honest | changes)}..{request.partition('..')[2]}"

    public = IDENTITIES["auth"].key("events").x
    hmac_event = _b64json(claims_of(event) | {"alg": "HS256"})
    confused = hmac.digest(unpadded_b64decode(public), f"{hmac_event}.{EVENT}".encode(), "sha256")
    cases: list[tuple[str, str, str, str, str | None, Reason]] = [
        ("no_signature", "catalog", "request", QUERY, None, Reason.UNSIGNED),
        ("no_code", "catalog", "request", QUERY, request.partition("..")[0], Reason.BAD_SIGNATURE),
        ("not_base64url", "catalog", "request", QUERY, "!..AAAA", Reason.MALFORMED),
        ("attached", "catalog", "request", QUERY, request.replace("..", ".e30."), Reason.MALFORMED),
        ("too_long", "catalog", "request", QUERY, signed(pad="x" * 4096), Reason.MALFORMED),
        ("changed_body", "catalog", "request", QUERY + " ", request, Reason.BAD_SIGNATURE),
        ("changed_op", "catalog", "request", QUERY, changed(op=GET), Reason.BAD_SIGNATURE),
        ("later_exp", "catalog", "request", QUERY, changed(exp=9e9), Reason.BAD_SIGNATURE),
        ("short_code", "catalog", "request", QUERY, request[:-4], Reason.BAD_SIGNATURE),
        ("alg_none", "catalog", "request", QUERY, signed(alg="none"), Reason.MALFORMED),
        ("alg_eddsa", "catalog", "request", QUERY, signed(alg="EdDSA"), Reason.BAD_SIGNATURE),
        ("b64_true", "catalog", "request", QUERY, signed(b64=True), Reason.MALFORMED),
        ("crit_more", "catalog", "request", QUERY, signed(crit=["b64", "x"]), Reason.MALFORMED),
        ("negative_time", "catalog", "request", QUERY, signed(tms=[1, -1]), Reason.MALFORMED),
        ("endless_time", "catalog", "request", QUERY, signed(tms=[10**400, 1]), Reason.MALFORMED),
        ("one_time", "catalog", "request", QUERY, signed(tms=[1]), Reason.MALFORMED),
        ("exp_as_text", "catalog", "request", QUERY, signed(exp="9e9"), Reason.MALFORMED),
        ("no_jti", "catalog", "request", QUERY, signed(jti=""), Reason.MALFORMED),
        ("cid_not_plain", "catalog", "request", QUERY, signed(cid='a"b'), Reason.MALFORMED),
        ("unknown_issuer", "catalog", "request", QUERY, signed(iss="nobody"), Reason.UNKNOWN_KEY),
        ("another_issuer", "catalog", "request", QUERY, signed(iss="auth"), Reason.UNKNOWN_KEY),
        ("retired_key", "catalog", "request", QUERY, _retired(honest), Reason.UNKNOWN_KEY),
        ("for_another", "catalog", "request", QUERY, signed(aud="auth"), Reason.WRONG_AUDIENCE),
        ("at_another", "auth", "request", QUERY, request, Reason.UNKNOWN_KEY),
        ("request_as_reply", "catalog", "reply", QUERY, request, Reason.WRONG_TYPE),
        ("reflected", "orders", "request", QUERY, request, Reason.UNKNOWN_KEY),
        ("other_direction", "orders", "request", QUERY, signed(**back), Reason.BAD_SIGNATURE),
        ("changed_reply", "orders", "reply", PROBLEM, reply, Reason.BAD_SIGNATURE),
        ("changed_event", "orders", "event", "{}", event, Reason.BAD_SIGNATURE),
        (
            *("event_by_public_key_hmac", "orders", "event", EVENT),
            f"{hmac_event}..{unpadded_b64encode(confused)}",
            Reason.BAD_SIGNATURE,
        ),
    ]
    return [
        {
            "name": name,
            "receiver": receiver,
            "typ": typ,
            "body": body,
            "signature": signature,
            "reason": str(reason),
        }
        for name, receiver, typ, body, signature, reason in cases
    ]


def _token() -> Vector:
    """Make an access token; its claims are named here as they always were, and not in code."""
    key = IDENTITIES["auth"].key("tokens")
    claims = {
        "iss": "postroad/auth",
        "sub": "reader",
        "aud": "postroad",
        "scope": "catalog:read auth:admin",
        "iat": int(RETIRED_AT),
        "exp": 4_000_000_000,
        "jti": EVENT_ID,
        "sid": REQUEST_ID,
        "user_id": 7,
    }
    headers = {"typ": "at+jwt", "kid": key.kid}
    text = jwt.encode(claims, key.signer(), algorithm="EdDSA", headers=headers)
    return {"receiver": "catalog", "token": text, "claims": claims}


def _sealed() -> Vector:
    context = password_context(
        "reader", caller="orders", message_id="m-1", deadline=1_800_000_000.5
    )
    secret = "pässword"  # of nobody
    try:
        kept: Vector = read("sealed")
        unseal(kept["sealed"], context=context, identity=IDENTITIES["auth"])
    except (CannotUnseal, OSError):
        sealed = seal(secret, to="auth", context=context, trust=TRUST)
        return {"receiver": "auth", "context": context, "sealed": sealed, "secret": secret}
    return kept


def _vector(
    name: str,
    receiver: str,
    typ: str,
    body: str,
    signature: str,
    *,
    authorization: str | None = None,
) -> Vector:
    claims = claims_of(signature)
    more = {"authorization": authorization} if authorization else {}
    return {
        "name": name,
        "receiver": receiver,
        "typ": typ,
        "body": body,
        "signature": signature,
        "claims": claims,
        **more,
    }


def _retired(honest: Vector) -> str:
    """Sign with a retired key, correctly."""
    own = IDENTITIES["orders"].keys[-1]
    kid, key = KeyRing(Identity(service="orders", keys=(own,)), TRUST).sending_key("catalog")
    return _sign(key, honest | {"kid": kid}, QUERY)


def _forge(sender: str, receiver: str, body: str, claims: Vector) -> str:
    """Sign any claims with the key from one service to another."""
    return _sign(RINGS[sender].sending_key(receiver)[1], claims, body)


def _sign(key: bytes, claims: Vector, body: str) -> str:
    protected = _b64json(claims)
    code = hmac.digest(key, f"{protected}.{body}".encode(), "sha256")
    return f"{protected}..{unpadded_b64encode(code)}"


def claims_of(signature: str) -> Vector:
    """Read the claims, unverified."""
    claims: Vector = json.loads(unpadded_b64decode(signature.partition("..")[0]))
    return claims


def _b64json(value: Vector) -> str:
    return unpadded_b64encode(json.dumps(value, ensure_ascii=False).encode())


def main() -> None:
    for name, content in build().items():
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        (FOLDER / f"{name}.json").write_text(text)


if __name__ == "__main__":
    main()

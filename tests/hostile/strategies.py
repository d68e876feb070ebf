"""What somebody may do to a message on its way, or write instead of one."""

import hmac
import json
import math
from collections.abc import Callable, Mapping
from time import time
from typing import Any

from hypothesis import strategies as st

from postroad.security.keys import unpadded_b64decode, unpadded_b64encode
from tests.hostile.border import Crossing, Envelope, Land
from tests.support.letters import claims_of

Draw = Callable[[st.SearchStrategy[Any]], Any]

ODD_TEXTS = st.sampled_from(
    [
        *("", " ", "\0", "a\0b", "\n", "..", ".", "=", "none", "HS256", "EdDSA", "b64", "events"),
        *("request", "reply", "event", "job", "redrive", "catalog", "auth", "bridge", "operator"),
        *("reply.bridge.x", "reply.auth.x", "reply.catalog.x", "*", "#", "../../x", "%00", "'; --"),
        *(
            "catalog.products.get",
            "catalog.pages.fetch",
            "CATALOG",
            "cata\u200blog",
            "\uff43atalog",
        ),
        *("\ufeffcatalog", "\ud800", "e\u0301", "a" * 129, "a" * 5000),
    ]
)
NUMBERS = st.one_of(
    st.sampled_from(
        [
            *(0, -1, 1, True, False, 2**31, 2**53 + 1, 2**63, 2**64, 10**400, -(10**400)),
            *(0.0, -0.0, 0.5, 1e15, 1e308, -1e308, 5e-324, math.inf, -math.inf, math.nan),
        ]
    ),
    st.integers(),
    st.floats(),
)
SCALARS = st.one_of(st.none(), NUMBERS, ODD_TEXTS, st.text(max_size=30))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
CLAIM_VALUES = st.one_of(
    VALUES, st.integers(-100, 40 * 86_400).map(lambda seconds: time() + seconds)
)
# what pika gives for the kinds of AMQP: bytes where text is no UTF-8, and tables in tables
AMQP_VALUES = st.one_of(VALUES, st.binary(max_size=40), st.datetimes(), st.decimals())
BODIES = st.one_of(
    st.binary(max_size=200),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.integers(1, 5000).map(lambda depth: b"[" * depth + b"]" * depth),
    st.integers(1, 5000).map(lambda depth: b'{"a":' * depth + b"1" + b"}" * depth),
)
CLAIMS = (
    *("alg", "b64", "crit", "kid", "typ", "iss", "aud", "op", "iat", "exp", "jti", "cid", "rto"),
    *("ath", "rid", "cty", "dat", "old", "org", "nth", "x"),
)
PROPERTIES = (
    *("content_type", "content_encoding", "delivery_mode", "priority", "correlation_id"),
    *("reply_to", "expiration", "message_id", "timestamp", "type", "user_id", "app_id", "headers"),
)
HEADERS = st.one_of(
    st.sampled_from(["signature", "authorization", "CC", "BCC", "attempt", "x-death", "x-delay"]),
    st.text(max_size=12),
    st.binary(max_size=5),
)


@st.composite
def tampered(draw: Draw, land: Land, kind: str) -> tuple[Crossing, Envelope]:
    """Give a border, and an honest message for it that was changed on its way.

    By one who has none of its sender's keys, though perhaps a service's own ones.
    """
    crossing = land.crossings[kind]()
    envelope = crossing.honest
    for change in draw(st.lists(st.sampled_from(CHANGES), min_size=1, max_size=3)):
        envelope = change(draw, land, crossing, envelope)
    return crossing, envelope


def _change_the_body(draw: Draw, _: Land, __: Crossing, envelope: Envelope) -> Envelope:
    body = _damaged(draw, envelope.body) if draw(st.booleans()) else draw(BODIES)
    return Envelope(body, envelope.properties)


def _change_the_signature(draw: Draw, _: Land, __: Crossing, envelope: Envelope) -> Envelope:
    damaged = _damaged(draw, envelope.signature.encode(errors="surrogatepass"))
    return envelope.with_header("signature", damaged.decode("latin-1"))


def _respell_the_signature(draw: Draw, _: Land, __: Crossing, envelope: Envelope) -> Envelope:
    """Write the same bytes in other characters, as far as a decoder is lenient."""
    protected, _dots, code = envelope.signature.partition("..")
    respelt = draw(
        st.sampled_from(
            [
                f"{protected}=..{code}", f"{protected}..{code}=", f"{protected}..{code}==",
                f"{protected}..{code}\n", f" {protected}..{code}", f"{protected}.. {code}",
                f"{protected}..{code.translate(_STANDARD)}", f"{protected}...{code}",
                f"{protected.translate(_STANDARD)}..{code}", f"{protected}..{code}..",
                f"{protected}..{code[:-1]}{_next(code[-1:])}", f"{protected}.e30.{code}",
                f"{protected}..{code}\0", f"{protected}..{code}\u200b", f"{protected}..{code}.x",
            ]
        )
    )  # fmt: skip
    return envelope.with_header("signature", respelt)


def _change_a_claim(draw: Draw, _: Land, crossing: Crossing, envelope: Envelope) -> Envelope:
    """Put another value into the claims, and leave the code as it was."""
    claims = claims_of(crossing.honest.signature)
    claims[draw(st.sampled_from(CLAIMS))] = draw(VALUES)
    code = crossing.honest.signature.partition("..")[2]
    return envelope.with_header("signature", f"{unpadded_b64encode(_json(claims))}..{code}")


def _replace_the_signature(draw: Draw, _: Land, __: Crossing, envelope: Envelope) -> Envelope:
    return envelope.with_header("signature", draw(AMQP_VALUES))


def _take_anothers_signature(
    draw: Draw, land: Land, crossing: Crossing, envelope: Envelope
) -> Envelope:
    """Take the signature of another honest message, and perhaps its sender."""
    other = land.crossings[draw(st.sampled_from(sorted(land.crossings)))]().honest
    if other.body == crossing.honest.body:
        return envelope  # that would be another message, and an honest one
    stolen = envelope.with_header("signature", other.signature)
    if draw(st.booleans()):
        stolen = stolen.with_property("user_id", other.properties["user_id"])
    return stolen


def _sign_with_ones_own_key(
    draw: Draw, land: Land, crossing: Crossing, envelope: Envelope
) -> Envelope:
    """Sign in the sender's name, with each key that a third service has."""
    third = land.keys[draw(st.sampled_from(sorted(set(land.keys) - {crossing.sender})))]
    claims = claims_of(crossing.honest.signature)
    if draw(st.booleans()):
        claims["alg"] = draw(st.sampled_from(["HS256", "EdDSA"]))
    if claims["alg"] == "EdDSA":
        purpose = third.identity.key(draw(st.sampled_from(["events", "tokens"])))
        claims["kid"] = draw(st.sampled_from([claims["kid"], purpose.kid]))
        protected = unpadded_b64encode(_json(claims))
        code = purpose.signer().sign(f"{protected}.".encode() + envelope.body)
        signature = f"{protected}..{unpadded_b64encode(code)}"
        return envelope.with_header("signature", signature)
    kid, key = third.sending_key(draw(st.sampled_from(sorted(land.keys))))
    public = third.trust.services[crossing.sender].key("events").x
    secrets = [key, b"", public.encode(), unpadded_b64decode(public)]
    claims["kid"] = draw(st.sampled_from([claims["kid"], kid]))
    return envelope.with_header(
        "signature", hmac_signed(claims, envelope.body, draw(st.sampled_from(secrets)))
    )


def _change_a_property(draw: Draw, _: Land, __: Crossing, envelope: Envelope) -> Envelope:
    name = draw(st.sampled_from([name for name in PROPERTIES if name != "headers"]))
    return envelope.with_property(name, draw(st.one_of(SCALARS, st.binary(max_size=20))))


def _change_a_header(draw: Draw, _: Land, __: Crossing, envelope: Envelope) -> Envelope:
    return envelope.with_header(draw(HEADERS), draw(AMQP_VALUES))


def _drop_a_header(draw: Draw, _: Land, __: Crossing, envelope: Envelope) -> Envelope:
    dropped = draw(st.sampled_from(sorted(map(str, envelope.headers)) or ["none"]))
    kept = {name: value for name, value in envelope.headers.items() if name != dropped}
    return envelope.with_property("headers", kept)


CHANGES = (
    _change_the_body,
    _change_the_signature,
    _respell_the_signature,
    _change_a_claim,
    _replace_the_signature,
    _take_anothers_signature,
    _sign_with_ones_own_key,
    _change_a_property,
    _change_a_header,
    _drop_a_header,
)


@st.composite
def signed_by_its_sender(draw: Draw, land: Land, kind: str) -> tuple[Crossing, Envelope]:
    """Give a border, and a message with any claims that its sender signed all the same."""
    crossing = land.crossings[kind]()
    envelope = crossing.honest
    body = draw(st.one_of(st.just(envelope.body), BODIES))
    keys, claims = land.keys[crossing.sender], claims_of(envelope.signature)
    is_lasting = claims["alg"] == "EdDSA"
    claims |= draw(st.dictionaries(st.sampled_from(CLAIMS), CLAIM_VALUES, min_size=1, max_size=3))
    protected = unpadded_b64encode(draw(st.sampled_from([_json, _json_twice]))(claims))
    signed = f"{protected}.".encode() + body
    if is_lasting:
        code = keys.identity.key("events").signer().sign(signed)
    else:
        code = hmac.digest(keys.sending_key(crossing.receiver)[1], signed, "sha256")
    signature = f"{protected}..{unpadded_b64encode(code)}"
    sent = Envelope(body, envelope.properties).with_header("signature", signature)
    for name in ("reply_to", "user_id"):
        if draw(st.booleans()) and name in sent.properties:
            sent = sent.with_property(name, draw(st.one_of(SCALARS, st.just(claims.get("rto")))))
    return crossing, sent


def _damaged(draw: Draw, data: bytes) -> bytes:
    """Replace, insert or drop a few bytes somewhere.

    What is drawn does not depend on the data, which is a little different each time.
    """
    place = draw(st.integers(0, 9999)) * (len(data) + 1) // 10_000
    new: bytes = draw(st.binary(max_size=8))
    return data[:place] + new + data[place + draw(st.integers(0, 8)) :]


def _json(value: Any) -> bytes:
    """Write JSON as Python does: with ``NaN``, and numbers of any length."""
    return json.dumps(value).encode()


def _json_twice(value: Mapping[str, Any]) -> bytes:
    """Write an object with each of its names given twice."""
    return b"%b,%b" % (_json(value)[:-1], _json(value)[1:])


def hmac_signed(claims: Mapping[str, Any], body: bytes, key: bytes) -> str:
    """Sign any claims with any HS256 key."""
    protected = unpadded_b64encode(_json(claims))
    code = hmac.digest(key, f"{protected}.".encode() + body, "sha256")
    return f"{protected}..{unpadded_b64encode(code)}"


_STANDARD = str.maketrans("-_", "+/")
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _next(character: str) -> str:
    """Give the next character of base64url: it differs in the last, perhaps spare, bit."""
    return _ALPHABET[(_ALPHABET.index(character) + 1) % 64] if character in _ALPHABET else "A"

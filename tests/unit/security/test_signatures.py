"""What a signature says, and every reason to refuse one."""

import json
from time import time
from typing import Any

import pytest

from postroad.contracts.auth import CreateSession
from postroad.ids import is_plain_id
from postroad.security.claims import Reason, Refused
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, TrustBundle, unpadded_b64encode
from postroad.security.lasting_signatures import EVENT_AUDIENCE, LastingSigner
from postroad.security.signatures import SIGNATURE_MAX_BYTES, Signer, Verifier, token_hash
from tests.support.letters import claims_of, forge
from tests.support.signing import BODY, METHOD, Keys, sign_request, sign_with_pyjwt


def reason_of(keys: KeyRing, signature: object, body: bytes = BODY, typ: str = "request") -> Reason:
    with pytest.raises(Refused) as refusal:
        Verifier(keys).verify(signature, body, typ=typ)
    return refusal.value.reason


def change(signature: str, **claims: Any) -> str:
    """Put other claims into a signature, and leave its code."""
    protected = json.dumps(claims_of(signature) | claims).encode()
    return f"{unpadded_b64encode(protected)}..{signature.partition('..')[2]}"


# what we sign, we verify


def test_a_request_says_who_wants_what_of_whom(keys: Keys) -> None:
    deadline = time() + 5
    signature = sign_request(keys, deadline=deadline, token_hash="hash")

    claims = Verifier(keys["catalog"]).verify(signature, BODY, typ="request")

    assert (claims.iss, claims.aud, claims.op) == ("bridge", "catalog", METHOD)
    assert (claims.jti, claims.cid, claims.rto) == ("message-1", "correlation-1", "reply.bridge.x")
    assert claims.exp == pytest.approx(deadline, abs=0.001)
    assert claims.iat == pytest.approx(time(), abs=1)
    assert (claims.ath, claims.rid, claims.cty) == ("hash", None, None)


def test_a_reply_names_its_request_and_goes_to_its_sender(keys: Keys) -> None:
    request = Verifier(keys["catalog"]).verify(sign_request(keys), BODY, typ="request")
    signature = Signer(keys["catalog"]).reply(request, body=b"{}", message_id="m2", is_error=False)

    claims = Verifier(keys["bridge"]).verify(signature, b"{}", typ="reply")

    assert (claims.iss, claims.aud, claims.op) == ("catalog", "bridge", METHOD)
    assert (claims.jti, claims.rid, claims.cid) == ("m2", request.jti, request.cid)
    assert (claims.exp, claims.cty) == (request.exp, None)


def test_an_error_reply_says_so(keys: Keys) -> None:
    request = Verifier(keys["catalog"]).verify(sign_request(keys), BODY, typ="request")

    signature = Signer(keys["catalog"]).reply(request, body=b"{}", message_id="m2", is_error=True)

    assert claims_of(signature)["cty"] == "problem+json"


def test_an_event_can_be_verified_by_everybody(keys: Keys) -> None:
    signature = LastingSigner(keys["auth"]).event(
        name="auth.user.created", body=BODY, message_id="m", correlation_id="c"
    )

    for reader in keys.values():
        claims = Verifier(reader).verify(signature, BODY, typ="event")

        assert (claims.iss, claims.aud, claims.op) == ("auth", EVENT_AUDIENCE, "auth.user.created")


def test_a_signature_does_not_repeat_the_body(keys: Keys) -> None:
    protected, between, code = sign_request(keys).partition("..")

    assert (between, "." in protected, "." in code) == ("..", False, False)


# every reason to refuse


@pytest.mark.parametrize("signature", [None, b"a..b", 7])
def test_without_a_signature_a_message_is_unsigned(keys: Keys, signature: object) -> None:
    assert reason_of(keys["catalog"], signature) is Reason.UNSIGNED


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "..",
        "nonsense",
        "äöü..äöü",
        "e30..AAAA",  # no claims
        "e30.e30.AAAA",  # not detached
        "a" * (SIGNATURE_MAX_BYTES + 1),
        "W10..AAAA",  # a list
    ],
)
def test_what_cannot_be_read_is_malformed(keys: Keys, signature: str) -> None:
    assert reason_of(keys["catalog"], signature) is Reason.MALFORMED


@pytest.mark.parametrize(
    "claims",
    [
        {"alg": "none"},
        {"alg": "RS256"},
        {"b64": True},
        {"crit": ["b64", "exp"]},
        {"crit": []},
        {"typ": "command"},
        {"exp": "tomorrow"},
        {"exp": float("inf")},
        {"exp": None},
        {"jti": 'x","aud":"auth'},
        {"cid": "two\nlines"},
        {"op": ""},
        {"cid": "c" * 129},
    ],
)
def test_claims_of_the_wrong_kind_are_malformed(keys: Keys, claims: dict[str, Any]) -> None:
    signature = sign_request(keys)

    forged = forge(keys["bridge"], "catalog", BODY, claims_of(signature) | claims)

    assert reason_of(keys["catalog"], forged) is Reason.MALFORMED


def test_a_changed_body_is_refused(keys: Keys) -> None:
    assert reason_of(keys["catalog"], sign_request(keys), BODY + b" ") is Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    "claims",
    [
        {"op": "catalog.products.delete"},
        {"exp": 9_999_999_999.0},
        {"rto": "reply.bridge.y"},
        {"cid": "other"},
        {"jti": "other"},
        {"ath": "other"},
        {"aud": "auth"},
    ],
)
def test_a_changed_claim_is_refused(keys: Keys, claims: dict[str, Any]) -> None:
    signature = change(sign_request(keys), **claims)

    assert reason_of(keys["catalog"], signature) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("cut", [1, 20, 43])
def test_a_shortened_code_is_refused(keys: Keys, cut: int) -> None:
    with pytest.raises(Refused):
        Verifier(keys["catalog"]).verify(sign_request(keys)[:-cut], BODY, typ="request")


def test_a_request_is_no_reply_and_no_event(keys: Keys) -> None:
    signature = sign_request(keys)

    assert reason_of(keys["catalog"], signature, typ="reply") is Reason.WRONG_TYPE
    assert reason_of(keys["catalog"], signature, typ="event") is Reason.WRONG_TYPE


def test_an_event_is_no_request(keys: Keys) -> None:
    signature = LastingSigner(keys["bridge"]).event(
        name=METHOD, body=BODY, message_id="m", correlation_id="c"
    )

    assert reason_of(keys["catalog"], signature) is Reason.WRONG_TYPE


@pytest.mark.parametrize("typ", ["request", "reply", "event", "job"])
def test_a_redrive_is_nothing_but_work(keys: Keys, typ: str) -> None:
    signer, verifier = LastingSigner(keys["bridge"]), Verifier(keys["catalog"])
    job = signer.job(
        audience="catalog", name="catalog.x", body=BODY, message_id="m", correlation_id="c"
    )
    first = verifier.verify(job, BODY, typ="job")

    signature = signer.redrive(first, audience="catalog", body=BODY)

    assert reason_of(keys["catalog"], signature, typ=typ) is Reason.WRONG_TYPE
    again = verifier.verify(signature, BODY, typ=None)
    assert (again.jti, again.cid, again.op) == (first.jti, first.cid, first.op)
    assert (again.typ, again.nth, again.origin) == ("redrive", 1, "bridge")


def test_a_message_for_another_service_cannot_be_verified(keys: Keys) -> None:
    assert reason_of(keys["auth"], sign_request(keys)) is Reason.UNKNOWN_KEY


def test_a_message_with_our_key_and_another_audience_is_refused(keys: Keys) -> None:
    claims = claims_of(sign_request(keys)) | {"aud": "auth"}

    forged = forge(keys["bridge"], "catalog", BODY, claims)

    assert reason_of(keys["catalog"], forged) is Reason.WRONG_AUDIENCE


def test_the_receiver_cannot_pass_a_message_off_as_one_to_the_sender(keys: Keys) -> None:
    claims = claims_of(sign_request(keys))

    reflected = forge(keys["catalog"], "bridge", BODY, claims)

    assert reason_of(keys["catalog"], reflected) is Reason.BAD_SIGNATURE


def test_a_third_service_cannot_sign_for_another(keys: Keys) -> None:
    claims = claims_of(sign_request(keys))

    forged = forge(keys["auth"], "catalog", BODY, claims)

    assert reason_of(keys["catalog"], forged) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("issuer", ["auth", "nobody"])
def test_a_key_is_its_owners_alone(keys: Keys, issuer: str) -> None:
    claims = claims_of(sign_request(keys)) | {"iss": issuer}

    forged = forge(keys["bridge"], "catalog", BODY, claims)

    assert reason_of(keys["catalog"], forged) is Reason.UNKNOWN_KEY


# the algorithm follows from the type and the key, not from what the message says


def test_a_request_that_claims_eddsa_is_refused(keys: Keys) -> None:
    key = keys["bridge"].identity.key("events")
    claims = claims_of(sign_request(keys)) | {"alg": "EdDSA", "kid": key.kid}
    protected = unpadded_b64encode(json.dumps(claims).encode())
    code = key.signer().sign(protected.encode() + b"." + BODY)

    signature = f"{protected}..{unpadded_b64encode(code)}"

    assert reason_of(keys["catalog"], signature) is Reason.BAD_SIGNATURE


def test_an_event_with_an_hmac_by_a_public_key_is_refused(keys: Keys) -> None:
    honest = LastingSigner(keys["auth"]).event(
        name="auth.user.created", body=BODY, message_id="m", correlation_id="c"
    )
    public = keys["bridge"].trust.services["auth"].key("events")
    header = claims_of(honest) | {"alg": "HS256"}
    signature = sign_with_pyjwt(header, public.x.encode(), "HS256")

    assert reason_of(keys["catalog"], signature, typ="event") is Reason.BAD_SIGNATURE


def test_an_event_by_another_purposes_key_is_refused(keys: Keys) -> None:
    honest = LastingSigner(keys["auth"]).event(
        name="auth.user.created", body=BODY, message_id="m", correlation_id="c"
    )
    tokens = keys["auth"].identity.key("tokens")
    header = claims_of(honest) | {"kid": tokens.kid}
    signature = sign_with_pyjwt(header, tokens.signer(), "EdDSA")

    assert reason_of(keys["catalog"], signature, typ="event") is Reason.UNKNOWN_KEY


def test_a_changed_event_is_refused(keys: Keys) -> None:
    signature = LastingSigner(keys["auth"]).event(
        name="auth.user.created", body=BODY, message_id="m", correlation_id="c"
    )

    assert reason_of(keys["bridge"], signature, b"{}", typ="event") is Reason.BAD_SIGNATURE


# rotation


def test_during_a_rotation_old_and_new_keys_are_good(
    identities: dict[str, Identity], trust: TrustBundle
) -> None:
    old = identities["bridge"]
    new = Identity(service="bridge", keys=Identity.create("bridge").keys + old.keys)
    rotated = trust.services["bridge"].model_copy(
        update={"keys": tuple(key.public() for key in new.keys)}
    )
    after = TrustBundle(services=trust.services | {"bridge": rotated})
    catalog = Verifier(KeyRing(identities["catalog"], after))

    for identity in (old, new):
        signature = sign_request({"bridge": KeyRing(identity, after)})

        assert catalog.verify(signature, BODY, typ="request").iss == "bridge"


# ids


@pytest.mark.parametrize("text", ["a", "0190-a.B:c_d", "x" * 128, "-", "..."])
def test_a_plain_id_may_stand_in_a_claim(text: str) -> None:
    assert is_plain_id(text)


@pytest.mark.parametrize(
    "text", ["", "x" * 129, 'a"b', "a b", "a\n", "ä", "a/b", "\N{FULLWIDTH DIGIT ONE}"]
)
def test_an_id_of_other_characters_may_not_stand_in_a_claim(text: str) -> None:
    assert not is_plain_id(text)


def test_a_tokens_hash_is_its_sha256_in_base64url() -> None:
    # computed with: printf token | openssl dgst -sha256 -binary | basenc --base64url
    assert token_hash("token") == "PEaenWxYddN6Q_NT1PiOYfz4EsZu7jRXRlpAsNpBU-A"


def test_requests_in_contracts_have_names_that_may_stand_in_a_claim() -> None:
    assert is_plain_id(CreateSession.method)

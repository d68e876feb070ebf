"""PyJWT reads what we sign, and we read what it signs."""

import jwt
import pytest
from jwt.api_jws import PyJWS

from postroad.security.claims import Claims
from postroad.security.lasting_signatures import LastingSigner
from postroad.security.signatures import Verifier
from tests.support.letters import claims_of
from tests.support.signing import BODY, Keys, sign_request, sign_with_pyjwt


def test_pyjwt_verifies_our_requests(keys: Keys) -> None:
    _, key = keys["bridge"].sending_key("catalog")

    decoded = PyJWS().decode_complete(
        sign_request(keys), key, algorithms=["HS256"], detached_payload=BODY
    )

    assert decoded["payload"] == BODY
    assert decoded["header"]["rto"] == "reply.bridge.x"


def test_pyjwt_refuses_our_request_with_another_body(keys: Keys) -> None:
    _, key = keys["bridge"].sending_key("catalog")

    with pytest.raises(jwt.InvalidSignatureError):
        PyJWS().decode(sign_request(keys), key, algorithms=["HS256"], detached_payload=b"{}")


def test_we_verify_requests_by_pyjwt(keys: Keys) -> None:
    _, key = keys["bridge"].sending_key("catalog")
    header = claims_of(sign_request(keys))

    claims = Verifier(keys["catalog"]).verify(
        sign_with_pyjwt(header, key, "HS256"), BODY, typ="request"
    )

    assert claims == Claims(**header)


def test_pyjwt_verifies_our_events(keys: Keys) -> None:
    signature = LastingSigner(keys["auth"]).event(
        name="auth.user.created", body=BODY, message_id="m", correlation_id="c"
    )
    public = keys["bridge"].trust.services["auth"].key("events").verifier()

    decoded = PyJWS().decode_complete(
        signature, public, algorithms=["EdDSA"], detached_payload=BODY
    )

    assert decoded["header"]["op"] == "auth.user.created"


def test_we_verify_events_by_pyjwt(keys: Keys) -> None:
    honest = LastingSigner(keys["auth"]).event(
        name="auth.user.created", body=BODY, message_id="m", correlation_id="c"
    )
    private = keys["auth"].identity.key("events").signer()
    signature = sign_with_pyjwt(claims_of(honest), private, "EdDSA")

    claims = Verifier(keys["catalog"]).verify(signature, BODY, typ="event")

    assert claims.iss == "auth"

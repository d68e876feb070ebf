"""Signing in, staying signed in and signing out over HTTP."""

from http import HTTPStatus

import orjson
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from http_bridge.asgi.messages import JSON, NO_STORE, Headers, HttpRequest, HttpResponse
from http_bridge.http.authentication import COOKIE, REFRESH_COOKIE
from http_bridge.http.bodies import read_json
from http_bridge.http.same_site import check_same_site
from http_bridge.routes.backend import Backend
from postroad.contracts.auth import (
    REFRESH_CONTEXT,
    CreateSession,
    EndSession,
    RefreshSession,
    Session,
    password_context,
)
from postroad.contracts.errors import InvalidRefreshToken
from postroad.messaging.reply import Reply
from postroad.security.keyring import KeyRing
from postroad.security.sealing import seal, unseal


class Credentials(BaseModel):
    """The body of ``POST /auth``."""

    model_config = ConfigDict(hide_input_in_errors=True)

    username: str = Field(min_length=1, max_length=200)
    password: SecretStr = Field(min_length=1, max_length=1000)


class RefreshToken(BaseModel):
    """The body of ``POST /auth/refresh`` and ``POST /auth/logout``, where there is no cookie."""

    model_config = ConfigDict(hide_input_in_errors=True)

    refresh_token: SecretStr = Field(min_length=1, max_length=1000)


class SignedIn(BaseModel):
    """An access token, good for ``expires_in`` seconds, and a refresh token, good for one use.

    They are set as the cookies ``token`` and ``refresh_token`` too.
    """

    message: str
    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str
    refresh_expires_in: int


class SignedOut(BaseModel):
    """The session is over."""

    message: str


async def sign_in(request: HttpRequest, backend: Backend) -> HttpResponse:
    """Sign in."""
    credentials = await read_json(request, Credentials.model_validate_json, backend.body_max_bytes)
    context = password_context(credentials.username)
    reply = await backend.calls.call(
        CreateSession(
            username=credentials.username,
            sealed_password=_seal(credentials.password, context=context, keys=backend.keys),
            client_address=request.client_address,
        ),
        correlation_id=request.request_id,
        address=request.client_address,
    )
    return _signed_in(request, reply, "signed in", backend.keys)


async def refresh(request: HttpRequest, backend: Backend) -> HttpResponse:
    """Trade the refresh token, of the body or the cookie, for new tokens."""
    token = await _refresh_token(request, backend)
    if token is None:
        raise InvalidRefreshToken("no refresh token in the cookie or the body")
    sealed = _seal(token, context=REFRESH_CONTEXT, keys=backend.keys)
    reply = await backend.calls.call(
        RefreshSession(sealed_refresh_token=sealed),
        correlation_id=request.request_id,
        address=request.client_address,
    )
    return _signed_in(request, reply, "refreshed", backend.keys)


async def sign_out(request: HttpRequest, backend: Backend) -> HttpResponse:
    """Sign out, by the refresh token or else the access token."""
    token = await _refresh_token(request, backend)
    sealed, user = None, None
    if token is not None:
        sealed = _seal(token, context=REFRESH_CONTEXT, keys=backend.keys)
    else:
        check_same_site(request)
        user = backend.tokens.require(request)
    reply = await backend.calls.call(
        EndSession(sealed_refresh_token=sealed),
        user=user,
        correlation_id=request.request_id,
        address=request.client_address,
    )
    headers = [JSON, NO_STORE, *_cookies(request, "", 0, "", 0)]
    body = SignedOut(message="signed out").model_dump_json()
    return HttpResponse(HTTPStatus.OK, body.encode(), headers, reply.timing)


async def keys(_: HttpRequest, backend: Backend) -> HttpResponse:
    """The keys that sign access tokens (RFC 7517)."""
    keys = [
        {
            "kty": key.kty,
            "crv": key.crv,
            "kid": key.kid,
            "x": key.x,
            "use": "sig",
            "alg": "EdDSA",
        }
        for key in backend.keys.trust.token_keys().values()
    ]
    headers = [JSON, (b"cache-control", b"public, max-age=60")]
    return HttpResponse(HTTPStatus.OK, orjson.dumps({"keys": keys}), headers)


async def _refresh_token(request: HttpRequest, backend: Backend) -> SecretStr | None:
    """Find the refresh token: in the cookie, for a request from our own pages, or the body."""
    if (cookie := request.cookie(REFRESH_COOKIE)) is not None:
        check_same_site(request)
        return SecretStr(cookie)
    if b"content-type" not in request.headers:
        return None
    body = await read_json(request, RefreshToken.model_validate_json, backend.body_max_bytes)
    return body.refresh_token


def _seal(secret: SecretStr, *, context: str, keys: KeyRing) -> str:
    return seal(
        secret.get_secret_value(), to=CreateSession.service, context=context, trust=keys.trust
    )


def _signed_in(
    request: HttpRequest, reply: Reply[Session], message: str, keys: KeyRing
) -> HttpResponse:
    session = reply.parse()
    refresh_token = unseal(
        session.sealed_refresh_token, context=REFRESH_CONTEXT, identity=keys.identity
    )
    body = SignedIn(
        message=message,
        access_token=session.access_token,
        token_type="Bearer",  # noqa: S106  # a scheme, no secret
        expires_in=session.expires_in,
        refresh_token=refresh_token,
        refresh_expires_in=session.refresh_expires_in,
    )
    cookies = _cookies(
        request,
        session.access_token,
        session.expires_in,
        refresh_token,
        session.refresh_expires_in,
    )
    return HttpResponse(
        HTTPStatus.OK, body.model_dump_json().encode(), [JSON, NO_STORE, *cookies], reply.timing
    )


def _cookies(
    request: HttpRequest, access: str, access_s: int, refresh: str, refresh_s: int
) -> Headers:
    """Set both tokens, out of reach of scripts; the refresh token goes to ``/auth`` alone."""
    secure = "; Secure" if request.is_https else ""
    return [
        (b"set-cookie", cookie.encode())
        for cookie in (
            (
                f"{COOKIE.decode()}={access}; Path=/; Max-Age={access_s}; "
                f"HttpOnly; SameSite=Lax{secure}"
            ),
            (
                f"{REFRESH_COOKIE.decode()}={refresh}; Path=/auth; Max-Age={refresh_s}; "
                f"HttpOnly; SameSite=Strict{secure}"
            ),
        )
    ]

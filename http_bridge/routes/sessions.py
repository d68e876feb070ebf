"""Signing in, staying signed in and signing out over HTTP."""

from http import HTTPStatus
from typing import Annotated

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from http_bridge.asgi.messages import JSON, NO_STORE, HttpRequest, HttpResponse
from http_bridge.http.bodies import read_json
from http_bridge.http.cookies import ACCESS, DEVICE, REFRESH
from http_bridge.http.site import is_of_a_browser
from http_bridge.routes.backend import Backend
from postroad.contracts.auth import (
    DEVICE_TOKEN_MAX,
    REFRESH_CONTEXT,
    SECRET_MAX_BYTES,
    CreateSession,
    EndSession,
    RefreshSession,
    Session,
)
from postroad.contracts.errors import InvalidRefreshToken, TooManyAttempts
from postroad.messaging.reply import Reply
from postroad.security.keyring import KeyRing
from postroad.security.sealing import SignIn, seal, unseal

SECRET_MAX = 1000  # characters
REPLACED_MAX = 100  # characters; ours have 43
DEVICE_COOKIE_S = 90 * 86_400
# Not "cookies": that deletes the device's, and those of neighbours in the domain.
CLEAR_SITE_DATA = (b"clear-site-data", b'"cache", "storage"')


def _check_fits(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value().encode()) > SECRET_MAX_BYTES:
        raise ValueError(f"Value should have at most {SECRET_MAX_BYTES} bytes in UTF-8")
    return secret


Secret = Annotated[
    SecretStr, Field(min_length=1, max_length=SECRET_MAX), AfterValidator(_check_fits)
]


class Credentials(BaseModel):
    """The body of ``POST /auth``."""

    model_config = ConfigDict(hide_input_in_errors=True)

    username: str = Field(min_length=1, max_length=200)
    password: Secret


class RefreshToken(BaseModel):
    """The body of ``POST /auth/refresh`` and ``POST /auth/logout``, where there is no cookie."""

    model_config = ConfigDict(hide_input_in_errors=True)

    refresh_token: Secret


class SignedIn(BaseModel):
    """An access token, good for ``expires_in`` seconds, and a refresh token, good for one use.

    They are set as cookies too: ``token`` and ``refresh_token``, over HTTPS ``__Host-token`` and
    ``__Secure-refresh_token``. A browser, and whoever refreshes by the cookie, gets them as cookies
    alone.
    """

    message: str
    access_token: str | None = None
    token_type: str | None = None
    expires_in: int
    refresh_token: str | None = None
    refresh_expires_in: int


class SignedOut(BaseModel):
    """The session is over."""

    message: str


async def sign_in(request: HttpRequest, backend: Backend) -> HttpResponse:
    """Sign in."""
    backend.site.check_host(request)
    credentials = await read_json(request, Credentials.model_validate_json, backend.body_max_bytes)
    device_token = find_device_token(request)
    who = (credentials.username, request.client_address, device_token)
    backend.lockouts.check(who)
    try:
        reply = await backend.calls.call(
            SignIn(
                username=credentials.username,
                client_address=request.client_address,
                device_token=device_token,
                sealed_refresh_token=_replaced(request, backend),
            ).with_password(credentials.password, backend.keys.trust),
            correlation_id=request.request_id,
            address=request.client_address,
        )
    except TooManyAttempts as error:
        backend.lockouts.add(who, error)
        raise
    return _signed_in(request, reply, "signed in", backend.keys)


async def refresh(request: HttpRequest, backend: Backend) -> HttpResponse:
    """Trade the refresh token, of the body or the cookie, for new tokens."""
    backend.site.check_host(request)
    refusal = InvalidRefreshToken("no refresh token in the cookie or the body")
    for sealed in await _sealed_refresh_tokens(request, backend):
        try:
            reply = await backend.calls.call(
                RefreshSession(sealed_refresh_token=sealed),
                correlation_id=request.request_id,
                address=request.client_address,
            )
        except InvalidRefreshToken as error:
            refusal = error
        else:
            return _signed_in(request, reply, "refreshed", backend.keys)
    raise refusal


async def sign_out(request: HttpRequest, backend: Backend) -> HttpResponse:
    """Sign out, by the refresh token or else the access token."""
    user = None
    ends = [
        EndSession(sealed_refresh_token=sealed)
        for sealed in await _sealed_refresh_tokens(request, backend)
    ]
    if not ends:
        backend.site.check_same_site(request)
        user = backend.tokens.require(request)
        ends = [EndSession()]
    replies, refusals = [], []
    for end in ends:
        try:
            reply = await backend.calls.call(
                end,
                user=user,
                correlation_id=request.request_id,
                address=request.client_address,
            )
            replies.append(reply)
        except InvalidRefreshToken as error:
            refusals.append(error)
    if not replies:
        raise refusals[0]
    headers = [
        *(JSON, NO_STORE, CLEAR_SITE_DATA),
        *(cookie.header(request, "", 0) for cookie in (ACCESS, REFRESH)),
    ]
    body = SignedOut(message="signed out").model_dump_json()
    return HttpResponse(HTTPStatus.OK, body.encode(), headers, replies[0].timing)


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


async def _sealed_refresh_tokens(request: HttpRequest, backend: Backend) -> list[str]:
    """Find refresh tokens: in cookies, for a request from our own pages, or one in the body."""
    if found := [cookie for cookie in REFRESH.values(request) if len(cookie) <= SECRET_MAX]:
        backend.site.check_same_site(request)
        tokens = [SecretStr(cookie) for cookie in found]
    elif b"content-type" not in request.headers:
        tokens = []
    else:
        body = await read_json(request, RefreshToken.model_validate_json, backend.body_max_bytes)
        tokens = [body.refresh_token]
    return [_seal(token, context=REFRESH_CONTEXT, keys=backend.keys) for token in tokens]


def _replaced(request: HttpRequest, backend: Backend) -> str | None:
    """Seal the refresh token of the session that a page of ours has, and gives up."""
    found = [cookie for cookie in REFRESH.values(request) if len(cookie) <= REPLACED_MAX]
    if not found or not backend.site.is_same_site(request):
        return None
    return _seal(SecretStr(found[0]), context=REFRESH_CONTEXT, keys=backend.keys)


def find_device_token(request: HttpRequest) -> str | None:
    """Return the token of a client that somebody has signed in from."""
    found = DEVICE.values(request)
    return next((cookie for cookie in found if len(cookie) <= DEVICE_TOKEN_MAX), None)


def _seal(secret: SecretStr, *, context: str, keys: KeyRing) -> str:
    return seal(
        secret.get_secret_value(), to=CreateSession.service, context=context, trust=keys.trust
    )


def _signed_in(
    request: HttpRequest, reply: Reply[Session], message: str, keys: KeyRing
) -> HttpResponse:
    """Hand out tokens; where a script could read the body, as cookies alone."""
    by_cookies = is_of_a_browser(request) or b"content-type" not in request.headers
    session = reply.parse()
    refresh_token = unseal(
        session.sealed_refresh_token, context=REFRESH_CONTEXT, identity=keys.identity
    )
    body = SignedIn(
        message=message,
        access_token=None if by_cookies else session.access_token,
        token_type=None if by_cookies else "Bearer",
        expires_in=session.expires_in,
        refresh_token=None if by_cookies else refresh_token,
        refresh_expires_in=session.refresh_expires_in,
    )
    text = body.model_dump_json(exclude_none=True)
    headers = [
        *(JSON, NO_STORE),
        ACCESS.header(request, session.access_token, session.expires_in),
        REFRESH.header(request, refresh_token, session.refresh_expires_in),
    ]
    if session.device_token is not None:
        headers.append(DEVICE.header(request, session.device_token, DEVICE_COOKIE_S))
    return HttpResponse(HTTPStatus.OK, text.encode(), headers, reply.timing)

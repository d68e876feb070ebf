"""Signing in, staying signed in and signing out over HTTP."""

from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlsplit

import orjson
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from http_bridge.asgi.messages import (
    JSON,
    NO_STORE,
    BodyOverLimit,
    Headers,
    HttpRequest,
    HttpResponse,
)
from http_bridge.calls.client import Calls
from http_bridge.http.authentication import COOKIE, REFRESH_COOKIE, RequestTokens
from http_bridge.http.problems import BodyTooLarge, CrossSite, UnsupportedMediaType
from postroad.contracts.auth import (
    REFRESH_CONTEXT,
    CreateSession,
    EndSession,
    GetOwnUser,
    RefreshSession,
    Session,
    password_context,
)
from postroad.contracts.errors import InvalidRefreshToken, InvalidRequest, explain
from postroad.messaging.client import Reply
from postroad.security.keyring import KeyRing
from postroad.security.sealing import seal, unseal

BodyT = TypeVar("BodyT", bound=BaseModel)


class Credentials(BaseModel):
    """The body of ``POST /auth``."""

    model_config = ConfigDict(hide_input_in_errors=True)

    username: str = Field(min_length=1, max_length=200)
    password: SecretStr = Field(min_length=1, max_length=1000)


class RefreshToken(BaseModel):
    """The body of ``POST /auth/refresh`` and ``POST /auth/logout``, where there is no cookie."""

    model_config = ConfigDict(hide_input_in_errors=True)

    refresh_token: SecretStr = Field(min_length=1, max_length=1000)


class Auth:
    """The handlers of ``/auth`` and what is below it."""

    def __init__(
        self,
        calls: Calls,
        keys: KeyRing,
        tokens: RequestTokens,
        *,
        timeout_s: float,
        body_max_bytes: int,
    ) -> None:
        self._calls = calls
        self._keys = keys
        self._tokens = tokens
        self._timeout_s = timeout_s
        self._body_max_bytes = body_max_bytes

    async def sign_in(self, request: HttpRequest) -> HttpResponse:
        """Take ``{"username", "password"}``; answer tokens, and set them as cookies."""
        credentials = await self._body(request, Credentials)
        reply = await self._calls.call(
            CreateSession(
                username=credentials.username,
                sealed_password=self._seal(
                    credentials.password, context=password_context(credentials.username)
                ),
                client_address=request.client_address,
            ),
            timeout_s=self._timeout_s,
            correlation_id=request.request_id,
            address=request.client_address,
        )
        return self._signed_in(reply, "signed in", request)

    async def refresh(self, request: HttpRequest) -> HttpResponse:
        """Trade the refresh token, from the cookie or the body, for new tokens."""
        token = await self._refresh_token(request)
        if token is None:
            raise InvalidRefreshToken("no refresh token in the cookie or the body")
        reply = await self._calls.call(
            RefreshSession(sealed_refresh_token=self._seal(token, context=REFRESH_CONTEXT)),
            timeout_s=self._timeout_s,
            correlation_id=request.request_id,
            address=request.client_address,
        )
        return self._signed_in(reply, "refreshed", request)

    async def sign_out(self, request: HttpRequest) -> HttpResponse:
        """End the session of the refresh token or of the access token; forget the cookies."""
        token = await self._refresh_token(request)
        user = None
        if token is None:
            check_same_site(request)
            user = self._tokens.require(request)
        reply = await self._calls.call(
            EndSession(sealed_refresh_token=token and self._seal(token, context=REFRESH_CONTEXT)),
            timeout_s=self._timeout_s,
            user=user,
            correlation_id=request.request_id,
            address=request.client_address,
        )
        reply.parse()  # that it is one
        headers = [JSON, NO_STORE, *_cookies(request, "", 0, "", 0)]
        return HttpResponse(HTTPStatus.OK, b'{"message":"signed out"}', headers, reply.timing)

    async def own_user(self, request: HttpRequest) -> HttpResponse:
        """Answer who the token's user is: ``{"user_id", "username", "roles", "scopes"}``."""
        reply = await self._calls.call(
            GetOwnUser(),
            timeout_s=self._timeout_s,
            user=self._tokens.require(request),
            correlation_id=request.request_id,
        )
        return HttpResponse(HTTPStatus.OK, reply.body, timing=reply.timing)

    async def key_set(self, _: HttpRequest) -> HttpResponse:
        """Answer the keys that sign access tokens, as a JWK Set (RFC 7517)."""
        keys = [
            {
                "kty": key.kty,
                "crv": key.crv,
                "kid": key.kid,
                "x": key.x,
                "use": "sig",
                "alg": "EdDSA",
            }
            for key in self._keys.trust.token_keys().values()
        ]
        headers = [JSON, (b"cache-control", b"public, max-age=60")]
        return HttpResponse(HTTPStatus.OK, orjson.dumps({"keys": keys}), headers)

    async def _refresh_token(self, request: HttpRequest) -> SecretStr | None:
        """Find the refresh token: in the cookie, for a request from our own pages, or the body."""
        if (cookie := request.cookie(REFRESH_COOKIE)) is not None:
            check_same_site(request)
            return SecretStr(cookie)
        if b"content-type" not in request.headers:
            return None
        return (await self._body(request, RefreshToken)).refresh_token

    async def _body(self, request: HttpRequest, model: type[BodyT]) -> BodyT:
        media_type = request.headers.get(b"content-type", b"").partition(b";")[0]
        if media_type.strip().lower() != b"application/json":
            raise UnsupportedMediaType("send the body as application/json")
        try:
            return model.model_validate_json(await request.body(self._body_max_bytes))
        except BodyOverLimit as error:
            raise BodyTooLarge(f"at most {self._body_max_bytes} bytes") from error
        except ValidationError as error:
            raise InvalidRequest(explain(error)) from error

    def _seal(self, secret: SecretStr, *, context: str) -> str:
        return seal(
            secret.get_secret_value(),
            to=CreateSession.service(),
            context=context,
            trust=self._keys.trust,
        )

    def _signed_in(self, reply: Reply[Session], message: str, request: HttpRequest) -> HttpResponse:
        session = reply.parse()
        refresh_token = unseal(
            session.sealed_refresh_token, context=REFRESH_CONTEXT, identity=self._keys.identity
        )
        body = {
            "message": message,
            "access_token": session.access_token,
            "token_type": "Bearer",
            "expires_in": session.expires_in,
            "refresh_token": refresh_token,
            "refresh_expires_in": session.refresh_expires_in,
        }
        cookies = _cookies(
            request,
            session.access_token,
            session.expires_in,
            refresh_token,
            session.refresh_expires_in,
        )
        return HttpResponse(
            HTTPStatus.OK, orjson.dumps(body), [JSON, NO_STORE, *cookies], reply.timing
        )


def check_same_site(request: HttpRequest) -> None:
    """Refuse a request that another site's page made with our cookies.

    A browser says where a request comes from (``Sec-Fetch-Site``, else ``Origin``); who says
    neither is no browser, and nobody's cookies are sent without their doing.

    Raises:
        CrossSite: it comes from elsewhere.
    """
    site = request.headers.get(b"sec-fetch-site")
    origin = request.headers.get(b"origin")
    if site is not None:
        is_own = site in (b"same-origin", b"none")
    elif origin is not None:
        is_own = _host(origin) == request.headers.get(b"host")
    else:
        is_own = True
    if not is_own:
        raise CrossSite("cookies are not taken from another site's page")


def _host(origin: bytes) -> bytes | None:
    """Give the host, and the port if it has one, of an origin; none if it is no origin."""
    try:
        return urlsplit(origin).netloc
    except ValueError:  # such as "http://["
        return None


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

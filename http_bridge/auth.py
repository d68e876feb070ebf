"""Signing in over HTTP."""

from http import HTTPStatus

import orjson
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from http_bridge.exchange import JSON, BodyOverLimit, Request, Response
from http_bridge.problems import BodyTooLarge, UnsupportedMediaType
from http_bridge.tokens import COOKIE
from shared.contracts.auth import CreateSession, Session, password_context
from shared.contracts.errors import InvalidRequest, explain
from shared.messaging.client import Client
from shared.messaging.keys import TrustBundle
from shared.messaging.sealing import seal


class Credentials(BaseModel):
    """The body of ``POST /auth``."""

    model_config = ConfigDict(hide_input_in_errors=True)

    username: str = Field(min_length=1, max_length=200)
    password: SecretStr = Field(min_length=1, max_length=1000)


class Auth:
    """The handlers of ``/auth``."""

    def __init__(
        self, client: Client, trust: TrustBundle, *, timeout_s: float, body_max_bytes: int
    ) -> None:
        self._client = client
        self._trust = trust
        self._timeout_s = timeout_s
        self._body_max_bytes = body_max_bytes

    async def sign_in(self, request: Request) -> Response:
        """Take ``{"username", "password"}``, answer an access token and set it as a cookie."""
        credentials = await self._credentials(request)
        session = await self._client.call(
            CreateSession(
                username=credentials.username,
                sealed_password=seal(
                    credentials.password.get_secret_value(),
                    to=CreateSession.service(),
                    context=password_context(credentials.username),
                    trust=self._trust,
                ),
            ),
            timeout_s=self._timeout_s,
            correlation_id=request.request_id,
        )
        body = {
            "message": "signed in",
            "access_token": session.access_token,
            "token_type": "Bearer",
            "expires_in": session.expires_in,
        }
        headers = [
            JSON,
            (b"cache-control", b"no-store"),
            (b"set-cookie", _cookie(session, request)),
        ]
        return Response(HTTPStatus.OK, orjson.dumps(body), headers)

    async def _credentials(self, request: Request) -> Credentials:
        media_type = request.headers.get(b"content-type", b"").partition(b";")[0]
        if media_type.strip().lower() != b"application/json":
            raise UnsupportedMediaType("send the credentials as application/json")
        try:
            body = await request.body(self._body_max_bytes)
            return Credentials.model_validate_json(body)
        except BodyOverLimit as error:
            raise BodyTooLarge(f"at most {self._body_max_bytes} bytes") from error
        except ValidationError as error:
            raise InvalidRequest(explain(error)) from error


def _cookie(session: Session, request: Request) -> bytes:
    secure = b"; Secure" if request.is_https else b""
    return b"%b=%b; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax%b" % (
        COOKIE,
        session.access_token.encode(),
        session.expires_in,
        secure,
    )

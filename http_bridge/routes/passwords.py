"""Changing one's own password over HTTP."""

from http import HTTPStatus

from pydantic import BaseModel, ConfigDict

from http_bridge.asgi.messages import JSON, PRIVATE_NO_STORE, HttpRequest, HttpResponse
from http_bridge.http.bodies import read_json
from http_bridge.http.cookies import DEVICE
from http_bridge.routes.backend import Backend
from http_bridge.routes.sessions import DEVICE_COOKIE_S, Secret, find_device_token
from postroad.contracts.errors import TooManyAttempts
from postroad.security.sealing import PasswordChange


class NewPassword(BaseModel):
    """The body of ``POST /auth/password``."""

    model_config = ConfigDict(hide_input_in_errors=True)

    current_password: Secret
    new_password: Secret


class NewPasswordSet(BaseModel):
    """The password is another one now, and so many other sessions have ended."""

    message: str
    ended_sessions: int


async def change_password(request: HttpRequest, backend: Backend) -> HttpResponse:
    """Change the user's own password, and end all their other sessions."""
    if b"authorization" not in request.headers:
        backend.site.check_same_site(request)
    user = backend.tokens.require(request)
    asked = await read_json(request, NewPassword.model_validate_json, backend.body_max_bytes)
    device_token = find_device_token(request)
    who = (user.username, request.client_address, device_token)  # as at a sign-in
    backend.lockouts.check(who)
    try:
        reply = await backend.calls.call(
            PasswordChange(
                client_address=request.client_address, device_token=device_token
            ).with_passwords(asked.current_password, asked.new_password, backend.keys.trust),
            user=user,
            correlation_id=request.request_id,
            address=request.client_address,
        )
    except TooManyAttempts as error:
        backend.lockouts.add(who, error)
        raise
    changed = reply.parse()
    body = NewPasswordSet(message="password changed", ended_sessions=changed.ended_sessions)
    headers = [
        *(JSON, PRIVATE_NO_STORE),
        DEVICE.header(request, changed.device_token, DEVICE_COOKIE_S),
    ]
    return HttpResponse(HTTPStatus.OK, body.model_dump_json().encode(), headers, reply.timing)

"""The body of a request."""

import json
from codecs import BOM_UTF8
from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError

from http_bridge.asgi.messages import HttpRequest
from http_bridge.http.problems import BodyTooLarge, UnsupportedMediaType
from postroad.contracts.errors import InvalidRequest, explain

BodyT = TypeVar("BodyT")


class BodyOverLimit(Exception):
    """The request's body is longer than allowed."""


class ClientGone(Exception):
    """The client closed the connection before its request was whole."""


async def read_body(request: HttpRequest, max_bytes: int) -> bytes:
    """Return the body.

    Raises:
        BodyOverLimit: it is longer than ``max_bytes``; the rest is not read.
        ClientGone: it never ends.
    """
    body = b""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += bytes(message.get("body", b""))
        if len(body) > max_bytes:
            raise BodyOverLimit
        if not message.get("more_body", False):
            return body


async def read_json(
    request: HttpRequest, validate: Callable[[bytes], BodyT], max_bytes: int
) -> BodyT:
    """Return the body as ``validate`` reads it.

    Raises:
        UnsupportedMediaType: it is not sent as JSON.
        BodyTooLarge: it is longer than ``max_bytes``.
        InvalidRequest: it is not what it should be, or could be read in two ways.
    """
    media_type = request.headers.get(b"content-type", b"").partition(b";")[0]
    if media_type.strip().lower() != b"application/json":
        raise UnsupportedMediaType("send the body as application/json")
    try:
        body = (await read_body(request, max_bytes)).removeprefix(BOM_UTF8)  # RFC 8259 section 8.1
        found = validate(body)
    except BodyOverLimit as error:
        raise BodyTooLarge(f"at most {max_bytes} bytes") from error
    except ValidationError as error:
        raise InvalidRequest(explain(error)) from error
    json.loads(body, object_pairs_hook=_check_names, parse_int=str)  # is JSON, and not too deep
    return found


def _check_names(pairs: list[tuple[str, object]]) -> None:
    """Refuse an object in which a name comes twice: others may read its other value (RFC 8259)."""
    if len({name for name, _ in pairs}) < len(pairs):
        raise InvalidRequest("body: a name comes twice")

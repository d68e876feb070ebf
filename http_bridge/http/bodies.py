"""The JSON body of a request."""

from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError

from http_bridge.asgi.messages import BodyOverLimit, HttpRequest
from http_bridge.http.problems import BodyTooLarge, UnsupportedMediaType
from postroad.contracts.errors import InvalidRequest, explain

BodyT = TypeVar("BodyT")


async def read_json(
    request: HttpRequest, validate: Callable[[bytes], BodyT], max_bytes: int
) -> BodyT:
    """Return the body as ``validate`` reads it.

    Raises:
        UnsupportedMediaType: it is not sent as JSON.
        BodyTooLarge: it is longer than ``max_bytes``.
        InvalidRequest: it is not what it should be.
    """
    media_type = request.headers.get(b"content-type", b"").partition(b";")[0]
    if media_type.strip().lower() != b"application/json":
        raise UnsupportedMediaType("send the body as application/json")
    try:
        return validate(await request.body(max_bytes))
    except BodyOverLimit as error:
        raise BodyTooLarge(f"at most {max_bytes} bytes") from error
    except ValidationError as error:
        raise InvalidRequest(explain(error)) from error

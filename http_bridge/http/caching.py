"""How old an answer is, as HTTP caching says it (RFC 9111), and whether the client has it."""

from hashlib import sha256
from http import HTTPStatus
from time import time

from http_bridge.asgi.messages import JSON, HttpRequest, HttpResponse
from postroad.contracts.base import Message
from postroad.messaging.reply import Reply

# keep it, and ask each time whether it holds
PRIVATE_NO_CACHE = (b"cache-control", b"private, no-cache")


def fresh_response(request: HttpRequest, reply: Reply[Message], body: bytes) -> HttpResponse:
    """Answer with ``ETag`` and ``Age``, a ``Warning`` when stale, 304 when the client has it."""
    etag = b'"%b"' % sha256(body).hexdigest()[:24].encode()
    headers = [JSON, PRIVATE_NO_CACHE, (b"etag", etag), (b"vary", b"Authorization, Cookie")]
    if reply.as_of is not None:
        headers.append((b"age", b"%d" % max(0, time() - reply.as_of)))
    if reply.is_stale:
        headers.append((b"warning", b'110 postroad "the product source cannot be asked"'))
    if holds(request, etag):
        return HttpResponse(HTTPStatus.NOT_MODIFIED, b"", headers[1:], reply.timing)
    return HttpResponse(HTTPStatus.OK, body, headers, reply.timing)


def holds(request: HttpRequest, etag: bytes) -> bool:
    """Whether the client has it already; compared weakly, as RFC 9110 section 13.1.2 asks."""
    given = request.headers.get(b"if-none-match")
    if given is None:
        return False
    tags = [tag.strip().removeprefix(b"W/") for tag in given.split(b",")]
    return etag in tags or tags == [b"*"]

"""The page for a browser: its parts, kept in memory, and when they are wanted instead of JSON."""

from hashlib import sha256
from http import HTTPStatus
from importlib.resources import files

import orjson

from http_bridge.asgi.messages import (
    JSON,
    PRIVATE_NO_STORE,
    Headers,
    HttpRequest,
    HttpResponse,
)
from http_bridge.http.caching import holds
from http_bridge.routes.backend import Backend

PREFIX = "/page/"
_MEDIA_TYPES = {
    "html": b"text/html; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}
_POLICY = (  # nothing from elsewhere, nothing inline, and no HTML made of strings
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    b"connect-src 'self'; manifest-src 'none'; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_SHARED: Headers = [
    (b"cache-control", b"no-cache"),  # keep it, and ask each time whether it holds
    (b"content-security-policy", _POLICY),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
]
_INDEX = "index.html"


_PARTS = {
    file.name: file.read_bytes()
    for file in (files("http_bridge") / "page").iterdir()
    if file.name.rpartition(".")[2] in _MEDIA_TYPES
}
_TAGS = {name: b'"%b"' % sha256(body).hexdigest()[:24].encode() for name, body in _PARTS.items()}
PATHS = tuple(PREFIX + name for name in _PARTS if name != _INDEX)


async def about(request: HttpRequest, backend: Backend) -> HttpResponse:
    """What this is; to a browser, a page."""
    if wants_html(request):
        return _answer(_INDEX, request, [(b"vary", b"Accept")])
    about = {
        "name": "Postroad",
        "description": "Products and sign-in over HTTP, answered by workers over RabbitMQ.",
        "links": backend.links,
    }
    return HttpResponse(
        HTTPStatus.OK, orjson.dumps(about), [JSON, PRIVATE_NO_STORE, (b"vary", b"Accept")]
    )


async def part(request: HttpRequest, _: Backend) -> HttpResponse:
    """A part of the page."""
    return _answer(request.path.rstrip("/").removeprefix(PREFIX), request, [])


def _answer(name: str, request: HttpRequest, more: Headers) -> HttpResponse:
    tag = _TAGS[name]
    headers = [*_SHARED, (b"etag", tag), *more]
    if holds(request, tag):
        return HttpResponse(HTTPStatus.NOT_MODIFIED, headers=headers)
    media_type = _MEDIA_TYPES[name.rpartition(".")[2]]
    return HttpResponse(HTTPStatus.OK, _PARTS[name], [(b"content-type", media_type), *headers])


def wants_html(request: HttpRequest) -> bool:
    """Whether HTML is preferred to JSON (RFC 9110 section 12.5.1); by default it is not."""
    weights = _weights(request.headers.get(b"accept", b""))
    html, json = (
        next((weights[key] for key in (exact, kind, b"*/*") if key in weights), 0.0)
        for exact, kind in ((b"text/html", b"text/*"), (b"application/json", b"application/*"))
    )
    return html > json


def _weights(accept: bytes) -> dict[bytes, float]:
    weights = {}
    for item in accept.split(b","):
        media_range, *parameters = (part.strip() for part in item.lower().split(b";"))
        given = next((each[2:] for each in parameters if each.startswith(b"q=")), b"1")
        try:
            weights[media_range] = float(given)
        except ValueError:
            weights[media_range] = 0.0
    return weights

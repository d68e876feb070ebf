"""The documentation: of HTTP with Swagger UI, from its package; of messages on a page of ours."""

from http import HTTPStatus
from importlib.resources import files

from http_bridge.asgi.messages import JSON, HttpRequest, HttpResponse
from http_bridge.routes.backend import Backend

_PAGE = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Postroad: HTTP API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<main id="docs"></main>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = b'SwaggerUIBundle({url: "/openapi.json", dom_id: "#docs", deepLinking: true});\n'
_NO_OTHER = b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"  # site's page
_POLICY = (
    b"content-security-policy",
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "  # Swagger UI's
    b"img-src 'self' data:; connect-src 'self'; " + _NO_OTHER,
)
_STATIC_POLICY = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'self'; " + _NO_OTHER,
)
_HTML = b"text/html; charset=utf-8"


_SWAGGER = files("swagger_ui") / "static"
_PARTS = {
    "/docs/start.js": (b"text/javascript", _START, _POLICY),
    "/docs/swagger-ui.css": (b"text/css", (_SWAGGER / "swagger-ui.css").read_bytes(), _POLICY),
    "/docs/swagger-ui-bundle.js": (
        b"text/javascript",
        (_SWAGGER / "swagger-ui-bundle.js").read_bytes(),
        _POLICY,
    ),
    "/docs/messages.css": (
        b"text/css",
        (files("http_bridge.documents") / "messages.css").read_bytes(),
        _STATIC_POLICY,
    ),
}
PATHS = tuple(_PARTS)


async def openapi(_: HttpRequest, backend: Backend) -> HttpResponse:
    return HttpResponse(HTTPStatus.OK, backend.documents["openapi"], [JSON])


async def asyncapi(_: HttpRequest, backend: Backend) -> HttpResponse:
    return HttpResponse(HTTPStatus.OK, backend.documents["asyncapi"], [JSON])


async def messages(_: HttpRequest, backend: Backend) -> HttpResponse:
    headers = [(b"content-type", _HTML), _STATIC_POLICY]
    return HttpResponse(HTTPStatus.OK, backend.documents["messages"], headers)


async def page(_: HttpRequest, __: Backend) -> HttpResponse:
    return HttpResponse(HTTPStatus.OK, _PAGE, [(b"content-type", _HTML), _POLICY])


async def part(request: HttpRequest, _: Backend) -> HttpResponse:
    media_type, body, policy = _PARTS[request.path.rstrip("/")]
    return HttpResponse(HTTPStatus.OK, body, [(b"content-type", media_type), policy])

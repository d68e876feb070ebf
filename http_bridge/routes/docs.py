"""The documentation: of HTTP with Swagger UI, from its package; of messages on a page of ours."""

from http import HTTPStatus
from importlib.resources import files

import orjson

from http_bridge.asgi.messages import JSON, HttpRequest, HttpResponse
from http_bridge.documents import openapi
from http_bridge.documents.asyncapi_page import messages_page
from postroad.asyncapi import document as asyncapi

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
_POLICY = (
    b"content-security-policy",
    b"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:",
)
_STATIC_POLICY = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'",
)
_HTML = b"text/html; charset=utf-8"


class Docs:
    """The handlers of the two documents, and of ``/docs`` and its parts."""

    def __init__(self) -> None:
        swagger = files("swagger_ui") / "static"
        messages = asyncapi.build_document()
        self._openapi = orjson.dumps(openapi.build_document())
        self._asyncapi = orjson.dumps(messages)
        self._parts = {
            "/docs": (_HTML, _PAGE, _POLICY),
            "/docs/start.js": (b"text/javascript", _START, _POLICY),
            "/docs/swagger-ui.css": (
                b"text/css",
                (swagger / "swagger-ui.css").read_bytes(),
                _POLICY,
            ),
            "/docs/swagger-ui-bundle.js": (
                b"text/javascript",
                (swagger / "swagger-ui-bundle.js").read_bytes(),
                _POLICY,
            ),
            "/docs/messages": (_HTML, messages_page(messages).encode(), _STATIC_POLICY),
            "/docs/messages.css": (
                b"text/css",
                (files("http_bridge.documents") / "messages.css").read_bytes(),
                _STATIC_POLICY,
            ),
        }

    @property
    def paths(self) -> list[str]:
        """Name the addresses that ``page`` answers."""
        return list(self._parts)

    async def openapi(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse(HTTPStatus.OK, self._openapi, [JSON])

    async def asyncapi(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse(HTTPStatus.OK, self._asyncapi, [JSON])

    async def page(self, request: HttpRequest) -> HttpResponse:
        media_type, body, policy = self._parts[request.path.rstrip("/")]
        return HttpResponse(HTTPStatus.OK, body, [(b"content-type", media_type), policy])

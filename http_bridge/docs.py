"""The HTTP documentation: an OpenAPI document, and Swagger UI served from its package."""

from http import HTTPStatus
from importlib.resources import files

import orjson

from http_bridge.exchange import JSON, Request, Response
from http_bridge.openapi import build_document

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


class Docs:
    """The handlers of ``/openapi.json`` and of ``/docs`` and its parts."""

    def __init__(self) -> None:
        swagger = files("swagger_ui") / "static"
        self._openapi = orjson.dumps(build_document())
        self._parts = {
            "/docs": (b"text/html; charset=utf-8", _PAGE),
            "/docs/start.js": (b"text/javascript", _START),
            "/docs/swagger-ui.css": (b"text/css", (swagger / "swagger-ui.css").read_bytes()),
            "/docs/swagger-ui-bundle.js": (
                b"text/javascript",
                (swagger / "swagger-ui-bundle.js").read_bytes(),
            ),
        }

    @property
    def paths(self) -> list[str]:
        """Name the addresses that ``page`` answers."""
        return list(self._parts)

    async def openapi(self, _: Request) -> Response:
        return Response(HTTPStatus.OK, self._openapi, [JSON])

    async def page(self, request: Request) -> Response:
        media_type, body = self._parts[request.path.rstrip("/")]
        return Response(HTTPStatus.OK, body, [(b"content-type", media_type), _POLICY])

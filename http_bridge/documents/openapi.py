"""The OpenAPI 3.1 document, built from the contracts and the table of statuses."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from http_bridge.documents.schemas import HttpProblem, OneProduct, OneSync, SignedIn, SignedOut
from http_bridge.http.problems import HTTP_STATUS
from http_bridge.routes.sessions import Credentials, RefreshToken
from postroad.contracts.auth import (
    CreateSession,
    EndSession,
    GetOwnUser,
    RefreshSession,
    UserProfile,
)
from postroad.contracts.catalog import (
    CategoryList,
    GetProduct,
    GetSync,
    ListCategories,
    ListProducts,
    ProductPage,
    StartSync,
)
from postroad.version import VERSION

Document = dict[str, Any]

MODELS = (
    *(Credentials, RefreshToken, SignedIn, SignedOut, UserProfile),
    *(OneProduct, ProductPage, CategoryList, OneSync, HttpProblem),
)

_LOCATION = {
    "Location": {"description": "Where to ask how far it is", "schema": {"type": "string"}}
}

# The codes an operation may answer with, besides its success.
EVERYWHERE = ("internal", "overloaded")
MESSAGE = ("unavailable", "outcome_unknown", "reply_timeout", "peer_error")
BODY = ("invalid_request", "unsupported_media_type", "body_too_large")
SECURED = ("not_authenticated", "not_authorised", *MESSAGE)
CATALOG = ("upstream_failed", "upstream_busy", *SECURED)


def build_document() -> Document:
    """Build the document that ``/openapi.json`` gives."""
    _, schemas = models_json_schema(
        [(model, "serialization") for model in MODELS],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Postroad",
            "version": VERSION,
            "description": "Products and sign-in, answered by workers over RabbitMQ. "
            "Every error is a problem object with a stable `code`; every response carries the "
            "request's id in `X-Request-ID`.",
        },
        "externalDocs": {"description": "The messages behind it", "url": "/docs/messages"},
        "paths": _paths(),
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "token"},
            },
        },
    }


def _paths() -> Document:
    return {
        "/": {
            "get": _operation(
                "about",
                "What this is; to a browser, a page",
                _json({"type": "object"}) | _text("text/html"),
            )
        },
        "/live": {
            "get": _operation(
                "live",
                "Queues and events as they come, as server-sent events; for `operations:read`",
                _text("text/event-stream"),
                errors=("not_authenticated", "not_authorised"),
                secured=True,
            )
        },
        "/healthz": {
            "get": _operation("health", "Whether the process is alive", _json({"type": "object"}))
        },
        "/readyz": {
            "get": _operation(
                "readiness",
                "Whether a request would be answered now",
                _json({"type": "object"}),
                errors=("unavailable",),
            )
        },
        "/auth": {
            "post": _operation(
                CreateSession.method,
                "Sign in",
                _json(_reference(SignedIn)),
                errors=("invalid_credentials", "too_many_attempts", *BODY, *MESSAGE),
                body=Credentials,
            )
        },
        "/auth/refresh": {
            "post": _operation(
                RefreshSession.method,
                "Trade the refresh token, of the body or the cookie, for new tokens",
                _json(_reference(SignedIn)),
                errors=("invalid_refresh_token", "cross_site", *BODY, *MESSAGE),
                body=RefreshToken,
                is_body_required=False,
            )
        },
        "/auth/logout": {
            "post": _operation(
                EndSession.method,
                "Sign out, by the refresh token or else the access token",
                _json(_reference(SignedOut)),
                errors=(
                    *("invalid_refresh_token", "not_authenticated", "cross_site"),
                    *(*BODY, *MESSAGE),
                ),
                body=RefreshToken,
                is_body_required=False,
                secured=True,
            )
        },
        "/auth/me": {
            "get": _operation(
                GetOwnUser.method,
                "Who the token's user is",
                _json(_reference(UserProfile)),
                errors=("not_authenticated", *MESSAGE),
                secured=True,
            )
        },
        "/.well-known/jwks.json": {
            "get": _operation(
                "keys", "The keys that sign access tokens (RFC 7517)", _json({"type": "object"})
            )
        },
        "/products": {
            "get": _operation(
                ListProducts.method,
                "A page of products",
                _json(_reference(ProductPage)),
                errors=("invalid_request", *CATALOG),
                parameters=_parameters(ListProducts, "query"),
                secured=True,
                is_conditional=True,
                empty="The catalogue is empty",
            )
        },
        "/products/categories": {
            "get": _operation(
                ListCategories.method,
                "The categories there are",
                _json(_reference(CategoryList)),
                errors=CATALOG,
                secured=True,
                is_conditional=True,
            )
        },
        "/products/sync": {
            "post": _operation(
                StartSync.method,
                "Renew the stored catalogue in the background",
                _json(_reference(OneSync)),
                errors=("cross_site", *SECURED),
                secured=True,
                status="202",
            )
        },
        "/products/sync/{sync_id}": {
            "get": _operation(
                GetSync.method,
                "How far a sync is",
                _json(_reference(OneSync)),
                errors=("invalid_request", "sync_not_found", *SECURED),
                parameters=_parameters(GetSync, "path"),
                secured=True,
            )
        },
        "/products/{product_id}": {
            "get": _operation(
                GetProduct.method,
                "One product",
                _json(_reference(OneProduct)),
                errors=("invalid_request", "product_not_found", *CATALOG),
                parameters=_parameters(GetProduct, "path"),
                secured=True,
                is_conditional=True,
            )
        },
    }


def _operation(
    name: str,
    summary: str,
    content: Document,
    *,
    errors: tuple[str, ...] = (),
    parameters: list[Document] | None = None,
    body: type[BaseModel] | None = None,
    is_body_required: bool = True,
    secured: bool = False,
    is_conditional: bool = False,
    empty: str = "",
    status: str = "200",
) -> Document:
    responses: Document = {status: {"description": "Success", "content": content}}
    if status == "202":
        responses[status] |= {"description": "Started, or under way", "headers": _LOCATION}
    if is_conditional:
        responses["304"] = {"description": "What the client has (`If-None-Match`) still holds"}
    if empty:
        responses["204"] = {"description": empty}
    operation: Document = {
        "operationId": name,
        "summary": summary,
        "responses": responses | _problems((*errors, *EVERYWHERE)),
    }
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {
            "required": is_body_required,
            "content": _json(_reference(body)),
        }
    if secured:
        operation["security"] = [{"bearer": []}, {"cookie": []}]
    return operation


def _problems(codes: tuple[str, ...]) -> Document:
    """Describe the error responses: one a status, naming the codes that share it."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(HTTP_STATUS[code].value, []).append(code)
    return {
        str(status): {
            "description": " or ".join(f"`{code}`" for code in sorted(codes)),
            "content": {"application/problem+json": {"schema": _reference(HttpProblem)}},
        }
        for status, codes in sorted(by_status.items())
    }


def _parameters(contract: type[BaseModel], place: str) -> list[Document]:
    schema = contract.model_json_schema()
    return [
        {"name": name, "in": place, "required": place == "path", "schema": field}
        for name, field in schema["properties"].items()
    ]


def _json(schema: Document) -> Document:
    return {"application/json": {"schema": schema}}


def _text(media_type: str) -> Document:
    return {media_type: {"schema": {"type": "string"}}}


def _reference(model: type[BaseModel]) -> Document:
    return {"$ref": f"#/components/schemas/{model.__name__}"}

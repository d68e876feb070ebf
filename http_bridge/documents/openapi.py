"""The OpenAPI 3.1 document, made from the table of routes and its contracts."""

from collections.abc import Iterable
from inspect import getdoc
from typing import Any

from pydantic import BaseModel, create_model
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from http_bridge.http.problems import (
    BodyTooLarge,
    CrossSite,
    HttpProblem,
    UnsupportedMediaType,
    status_of,
)
from http_bridge.routes.backend import HandlerRoute
from http_bridge.routes.routing import ContractRoute, Route
from postroad.asyncapi.prose import prose_of
from postroad.contracts.errors import (
    InternalError,
    InvalidRequest,
    NotAuthenticated,
    NotAuthorised,
    OutcomeUnknown,
    Overloaded,
    PeerError,
    ReplyTimeout,
    ServiceError,
    Unavailable,
)
from postroad.version import VERSION

Document = dict[str, Any]
Errors = set[type[ServiceError]]
Models = dict[str, tuple[type[BaseModel], JsonSchemaMode]]

# What may be answered with, besides what a contract declares and a route names itself.
EVERYWHERE: Errors = {InternalError, Overloaded}
FROM_CALLS: Errors = {Unavailable, OutcomeUnknown, ReplyTimeout, PeerError}
FROM_BODIES: Errors = {InvalidRequest, UnsupportedMediaType, BodyTooLarge}

_LOCATION = {
    "Location": {"description": "Where to ask how far it is", "schema": {"type": "string"}}
}
_SECURED: Document = {"security": [{"bearer": []}, {"cookie": []}]}


def build_document(routes: Iterable[Route]) -> Document:
    """Build the document that ``/openapi.json`` gives."""
    models: Models = {HttpProblem.__name__: (HttpProblem, "serialization")}
    paths: dict[str, Document] = {}
    for route in routes:
        if isinstance(route, ContractRoute):
            operation = _of_contract(route, models)
        elif route.gives:
            operation = _of_handler(route, models)
        else:
            continue
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    _, schemas = models_json_schema(
        list(models.values()), ref_template="#/components/schemas/{model}"
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
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "token",
                    "description": "Over HTTPS its name is `__Host-token`.",
                },
            },
        },
    }


def _of_contract(route: ContractRoute, models: Models) -> Document:
    contract = route.contract
    errors: Errors = {NotAuthenticated, *contract.errors, *FROM_CALLS}
    if contract.scope is not None:
        errors.add(NotAuthorised)
    if contract.model_fields:
        errors.add(InvalidRequest)
    if route.method != "GET":
        errors.add(CrossSite)
    operation = _SECURED | {
        "operationId": contract.method,
        "summary": prose_of(contract).summary.removesuffix("."),
    }
    if parameters := _parameters(route):
        operation["parameters"] = parameters
    if route.has_body:
        errors |= FROM_BODIES
        operation["requestBody"] = {
            "required": True,
            "content": _content(_body(route), models, "validation"),
        }
    return operation | {"responses": _successes(route, models) | _problems(errors)}


def _of_handler(route: HandlerRoute, models: Models) -> Document:
    errors = set(route.errors)
    operation: Document = dict(_SECURED) if route.is_secured else {}
    operation |= {
        "operationId": route.contract.method if route.contract else route.answer.__name__,
        "summary": (getdoc(route.answer) or "").partition("\n")[0].removesuffix("."),
    }
    if route.contract is not None:
        errors |= {*route.contract.errors, *FROM_CALLS}
    if route.takes is not None:
        errors |= FROM_BODIES
        content = _content(route.takes, models, "validation")
        operation["requestBody"] = {"required": route.is_body_required, "content": content}
    if isinstance(route.gives, tuple):
        content = {media_type: {"schema": _schema(media_type)} for media_type in route.gives}
    else:
        content = _content(route.gives, models)
    success = {"200": {"description": "Success", "content": content}}
    return operation | {"responses": success | _problems(errors)}


def _successes(route: ContractRoute, models: Models) -> Document:
    reply: type[BaseModel] = route.contract.reply
    if route.wrapped:
        reply = create_model(f"One{reply.__name__}", data=(reply, ...))
    success: Document = {"description": "Success", "content": _content(reply, models)}
    if route.location is not None:
        return {"202": success | {"description": "Started, or under way", "headers": _LOCATION}}
    responses = {"200": success}
    if route.conditional:
        responses["304"] = {"description": "What the client has (`If-None-Match`) still holds"}
    if route.no_content_unless is not None:
        responses["204"] = {"description": "There are none at all"}
    return responses


def _problems(errors: Errors) -> Document:
    """Describe the error responses: one a status, naming the codes that share it."""
    by_status: dict[int, list[str]] = {}
    for error in errors | EVERYWHERE:
        by_status.setdefault(status_of(error), []).append(error.code)
    return {
        str(status): {
            "description": " or ".join(f"`{code}`" for code in sorted(codes)),
            "content": {"application/problem+json": {"schema": _reference(HttpProblem)}},
        }
        for status, codes in sorted(by_status.items())
    }


def _parameters(route: ContractRoute) -> list[Document]:
    """Describe what comes from the path, and without a body from the query."""
    schema = route.contract.model_json_schema()
    required = {*schema.get("required", ()), *route.path_fields}
    return [
        {
            "name": name,
            "in": "path" if name in route.path_fields else "query",
            "required": name in required,
            "schema": field,
        }
        for name, field in schema["properties"].items()
        if name in route.path_fields or not route.has_body
    ]


def _body(route: ContractRoute) -> type[BaseModel]:
    """Make a model of the fields that come from the body."""
    fields: Document = {
        name: (field.annotation, field)
        for name, field in route.contract.model_fields.items()
        if name not in route.path_fields
    }
    body: type[BaseModel] = create_model(route.contract.__name__, **fields)
    return body


def _content(
    model: type[BaseModel], models: Models, mode: JsonSchemaMode = "serialization"
) -> Document:
    """Describe JSON of a model, and note that its schema is needed."""
    models.setdefault(model.__name__, (model, mode))
    return {"application/json": {"schema": _reference(model)}}


def _schema(media_type: str) -> Document:
    return {"type": "object" if media_type == "application/json" else "string"}


def _reference(model: type[BaseModel]) -> Document:
    return {"$ref": f"#/components/schemas/{model.__name__}"}

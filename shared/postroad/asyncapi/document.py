"""The AsyncAPI 3.0 document of the contracts: channels, operations with replies, schemas.

It is written from the services' side: they receive requests and jobs, and send replies and events.
What AsyncAPI has no field for stands in extensions of operations: ``x-scope``, ``x-timeout-s``,
``x-idempotent``, ``x-errors``, ``x-retry-delays-s`` and ``x-not-retried``.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from postroad.asyncapi.examples import EXAMPLES
from postroad.asyncapi.prose import prose_of
from postroad.asyncapi.wire import (
    HEADERS,
    MESSAGE_TRAITS,
    REPLY_ADDRESS,
    SECURITY_SCHEMES,
    SERVERS,
    Document,
)
from postroad.contracts.base import Event, Job, Message, Request
from postroad.contracts.errors import (
    InternalError,
    InvalidRequest,
    NotAuthenticated,
    NotAuthorised,
    Problem,
    ServiceError,
)
from postroad.contracts.registry import CONTRACTS, EVENTS, JOBS
from postroad.topology import names

VERSION = "0.1.0"  # of the contracts; a breaking change raises it (docs/contracts.md)

REPLIES = "replies"
_JSON = "application/json"
_PROBLEM_JSON = "application/problem+json"  # RFC 9457
_BINDING = {"bindingVersion": "0.3.0"}

Requests = Mapping[str, type[Request[Any]]]
Events = Mapping[str, type[Event]]
Jobs = Mapping[str, type[Job]]


def build_document(
    requests: Requests = CONTRACTS, events: Events = EVENTS, jobs: Jobs = JOBS
) -> Document:
    """Build the document that ``/asyncapi.json`` gives."""
    replies = sorted({each.reply for each in requests.values()}, key=lambda reply: reply.__name__)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Postroad",
            "version": VERSION,
            "description": "Event microservices over RabbitMQ: what they answer, tell and do. "
            "How a message is signed, sent and checked is in docs/wire-protocol.md. Unknown "
            "fields are ignored; an unknown error code is a failure not to be retried.",
            "tags": [{"name": name} for name in _services([*requests, *events, *jobs])],
        },
        "defaultContentType": _JSON,
        "servers": SERVERS,
        "channels": {
            **{name: _channel(name, names.RPC_EXCHANGE) for name in requests},
            **{name: _channel(name, names.EVENTS_EXCHANGE) for name in events},
            **{name: _channel(name, names.WORK_EXCHANGE) for name in jobs},
            REPLIES: _reply_channel([*replies, Problem]),
        },
        "operations": {
            **{name: _request_operation(each) for name, each in requests.items()},
            **{name: _event_operation(each) for name, each in events.items()},
            **{name: _job_operation(each) for name, each in jobs.items()},
        },
        "components": {
            "schemas": HEADERS
            | _schemas([*requests.values(), *jobs.values()], "validation")
            | _schemas([*replies, Problem, *events.values()], "serialization"),
            "messages": {
                **{name: _message(name, each, "request") for name, each in requests.items()},
                **{each.__name__: _message(each.__name__, each, "reply") for each in replies},
                Problem.__name__: _message(Problem.__name__, Problem, "reply", _PROBLEM_JSON),
                **{name: _message(name, each, "event") for name, each in events.items()},
                **{name: _message(name, each, "job") for name, each in jobs.items()},
            },
            "messageTraits": MESSAGE_TRAITS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def errors_of(request: type[Request[Any]]) -> list[type[ServiceError]]:
    """Return the errors that a request's service may answer: its own first, then any service's."""
    common: list[type[ServiceError]] = [InvalidRequest, InternalError]
    if request.scope:
        common = [NotAuthenticated, NotAuthorised, *common]
    return list(dict.fromkeys([*request.errors, *common]))


def describe_error(error: type[ServiceError]) -> Document:
    """Describe an error to a caller: when it comes, and what to do then."""
    return {
        "code": error.code,
        "title": error.title,
        "when": prose_of(error).summary or error.title,
        "is_retryable": error.is_retryable,
        "may_have_happened": error.may_have_happened,
    }


def _services(names: Iterable[str]) -> list[str]:
    return sorted({name.partition(".")[0] for name in names})


def _channel(name: str, exchange: str) -> Document:
    return {
        "address": name,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {"amqp": {"is": "routingKey", "exchange": _exchange(exchange), **_BINDING}},
    }


def _reply_channel(messages: Iterable[type[Message]]) -> Document:
    return {
        "address": None,
        "title": "The caller's reply queue",
        "description": "Declared by the caller, bound to the exchange by its own name.",
        "messages": {
            message.__name__: {"$ref": f"#/components/messages/{message.__name__}"}
            for message in messages
        },
        "bindings": {
            "amqp": {"is": "routingKey", "exchange": _exchange(names.REPLIES_EXCHANGE), **_BINDING}
        },
    }


def _exchange(name: str) -> Document:
    return {
        "name": name,
        "type": "topic",
        "durable": True,
        "autoDelete": False,
        "vhost": names.VHOST,
    }


def _request_operation(request: type[Request[Any]]) -> Document:
    operation = _operation("receive", request.method, request)
    operation |= {
        "bindings": {"amqp": _delivery(timeout_s=request.timeout_s, mandatory=True, ack=True)},
        "reply": {
            "address": REPLY_ADDRESS,
            "channel": {"$ref": f"#/channels/{REPLIES}"},
            "messages": [
                {"$ref": f"#/channels/{REPLIES}/messages/{message.__name__}"}
                for message in (request.reply, Problem)
            ],
        },
        "x-timeout-s": request.timeout_s,
        "x-idempotent": request.idempotent,
        "x-errors": [describe_error(each) for each in errors_of(request)],
    }
    if request.scope or request.needs_user:
        operation["security"] = [{"$ref": "#/components/securitySchemes/user_token"}]
        operation["x-user-token"] = "required" if request.needs_user else "if-acting-for-users"
    if request.scope:
        operation["x-scope"] = request.scope
    return operation


def _event_operation(event: type[Event]) -> Document:
    operation = _operation("send", event.name, event)
    return operation | {"bindings": {"amqp": _delivery(is_persistent=True)}}


def _job_operation(job: type[Job]) -> Document:
    operation = _operation("receive", job.name, job)
    bindings = _delivery(is_persistent=True, mandatory=True, ack=True)
    return operation | {
        "bindings": {"amqp": bindings},
        "x-timeout-s": job.timeout_s,
        "x-retry-delays-s": list(job.retry_delays_s),
        "x-not-retried": [error.code for error in job.not_retried],
    }


def _operation(action: str, name: str, message: type[Message]) -> Document:
    prose = prose_of(message)
    operation: Document = {
        "action": action,
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        "summary": prose.summary,
    }
    if prose.more:
        operation["description"] = prose.more
    return operation | {"tags": [{"name": service} for service in _services([name])]}


def _delivery(
    *, timeout_s: float | None = None, is_persistent: bool = False, **others: bool
) -> Document:
    binding: Document = {"timestamp": True, **others}
    if timeout_s is not None:
        binding["expiration"] = int(timeout_s * 1000)
    if is_persistent:
        binding["deliveryMode"] = 2
    return binding | _BINDING


def _message(name: str, message: type[Message], kind: str, content_type: str = _JSON) -> Document:
    described: Document = {
        "name": message.__name__,
        "title": message.__name__,
        "summary": prose_of(message).summary,
        "contentType": content_type,
        "traits": [{"$ref": f"#/components/messageTraits/{kind}"}],
        "payload": {"$ref": f"#/components/schemas/{message.__name__}"},
    }
    if kind != "reply":  # the property `type` of a reply is its request's method
        described["bindings"] = {"amqp": {"messageType": name, **_BINDING}}
    if message in EXAMPLES:
        described["examples"] = [{"payload": EXAMPLES[message].model_dump(mode="json")}]
    return described


class _ContractSchema(GenerateJsonSchema):
    """A schema without titles that only repeat a field's name; what we send has every field."""

    def field_title_should_be_set(self, _schema: object) -> bool:
        return False

    def field_is_required(self, field: Any, total: bool) -> bool:  # noqa: ANN401 - pydantic's own
        return self.mode == "serialization" or super().field_is_required(field, total)


def _schemas(messages: Iterable[type[Message]], mode: JsonSchemaMode) -> Document:
    models = list(messages)
    _, generated = models_json_schema(
        [(message, mode) for message in models],
        ref_template="#/components/schemas/{model}",
        schema_generator=_ContractSchema,
    )
    schemas: Document = generated.get("$defs", {})
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = schema["description"].replace("``", "`")
    for message in models:
        schemas[message.__name__]["description"] = prose_of(message).description
    return schemas

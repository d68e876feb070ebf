"""What is the same for every message: servers, headers, who may sign in. docs/wire-protocol.md."""

from typing import Any

from postroad.observability.trace_context import TRACESTATE_MAX
from postroad.security.lasting_signatures import EVENT_LIFETIME_S
from postroad.security.signatures import SIGNATURE_MAX_BYTES
from postroad.topology.names import VHOST

Document = dict[str, Any]

_SIGNATURE: Document = {
    "type": "string",
    "maxLength": SIGNATURE_MAX_BYTES,
    "pattern": r"^[A-Za-z0-9_-]+\.\.[A-Za-z0-9_-]+$",
    "description": "A detached JWS (RFC 7515 appendix F, RFC 7797) over the exact bytes of the "
    "body. Its protected header says who signed, for whom, what and until when.",
}
_AUTHORIZATION: Document = {
    "type": "string",
    "description": "The user's access token, bare, when the caller acts for one. The signature "
    "holds its SHA-256.",
}
_CORRELATION = {
    "location": "$message.header#/correlation_id",
    "description": "The AMQP property `correlation_id`: one for everything that one thing at the "
    "edge sets off. A reply is matched by the claim `rid` of its signature.",
}
REPLY_ADDRESS = {
    "location": "$message.header#/reply_to",
    "description": "The AMQP property `reply_to`: the caller's address, `reply.<user>.<unique>`.",
}

SERVERS: Document = {
    "broker": {
        "host": "{host}:{port}",
        "pathname": "/{vhost}",
        "protocol": "amqp",
        "protocolVersion": "0.9.1",
        "description": "RabbitMQ. Publish with confirms and `mandatory`, on a connection of its "
        "own.",
        "variables": {
            "host": {"default": "127.0.0.1"},
            "port": {"default": "5672"},
            "vhost": {"default": VHOST},
        },
        "security": [{"$ref": "#/components/securitySchemes/broker_user"}],
    }
}

SECURITY_SCHEMES: Document = {
    "broker_user": {
        "type": "userPassword",
        "description": "Each service has a broker user of its own, which may send and read what "
        "its `service.toml` grants it. Being let in is not enough: every message carries "
        "the header `signature`, made with the service's own key, and `user_id`, which the broker "
        "checks. Requests and replies are signed with HS256 and a key that two services share by "
        "X25519 agreement; events and jobs with Ed25519.",
    },
    "user_token": {
        "type": "httpApiKey",
        "name": "authorization",
        "in": "header",
        "description": "The AMQP header `authorization`: an access token (RFC 9068) of the user "
        "for whom the caller acts, from `auth.sessions.create`. Where an operation has "
        "`x-user-token: required`, every caller gives one; where it is `if-acting-for-users`, a "
        "service that does not act for users (`acts_for_users` in the trust bundle) gives none.",
    },
}


_TRACE: Document = {  # not signed: nothing is decided by them
    "traceparent": {
        "type": "string",
        "description": "In which trace it was sent (W3C Trace Context); not signed, and ignored "
        "when it is not well formed.",
    },
    "tracestate": {
        "type": "string",
        "maxLength": TRACESTATE_MAX,
        "description": "What tracing systems add to `traceparent`.",
    },
}


def _headers(description: str, **others: Document) -> Document:
    return {
        "type": "object",
        "description": description,
        "required": ["signature"],
        "properties": {"signature": _SIGNATURE, **others},
    }


HEADERS: Document = {
    "RequestHeaders": _headers(
        "Headers of a request. `CC` and `BCC` must be absent.",
        authorization=_AUTHORIZATION,
        **_TRACE,
    ),
    "ReplyHeaders": _headers("Headers of a reply."),
    "EventHeaders": _headers(
        f"Headers of an event, which is good for {EVENT_LIFETIME_S // 86_400} days.", **_TRACE
    ),
    "JobHeaders": _headers(
        "Headers of a job. A dead letter that a person puts back to work, a job or an event, has a "
        "signature of type `redrive`.",
        **_TRACE,
    ),
}

MESSAGE_TRAITS: Document = {
    kind: {
        "headers": {"$ref": f"#/components/schemas/{kind.capitalize()}Headers"},
        "correlationId": _CORRELATION,
    }
    for kind in ("request", "reply", "event", "job")
}

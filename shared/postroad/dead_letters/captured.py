"""Messages as RabbitMQ's management shows them: `GET /api/queues/…/get`, `rabbitmqadmin get`."""

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from postroad.broker.dead_lettering import KEPT
from postroad.broker.interfaces import BasicProperties
from postroad.contracts.registry import JOBS
from postroad.topology.names import (
    EVENTS_EXCHANGE,
    EVENTS_TO_WORK_EXCHANGE,
    REPLIES_EXCHANGE,
    RETRY_EXCHANGE,
    RPC_EXCHANGE,
    WAIT_EXCHANGE,
    WORK_EXCHANGE,
)

_HEADERS = "headers"
_DEATHS = "x-death"
_NO_CALENDAR_S = 253_402_300_800  # the year 10000
_KNOWN = ("type", "message_id", "correlation_id", "reply_to", "user_id", "content_type")


class CannotRead(Exception):
    """The text is not a captured message; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class MessageSource:
    """Where a message was: what its reader expects there, and who that is, if it is one."""

    typ: str  # the claim `typ`
    reader: str | None
    is_queue_of_work: bool = False


@dataclass(frozen=True, slots=True)
class CapturedMessage:
    """One message that was looked at in a queue."""

    body: bytes
    properties: BasicProperties
    exchange: str
    routing_key: str
    is_whole: bool  # not where its reader kept a part of it, or the management cut it off

    @property
    def headers(self) -> dict[str, Any]:
        return self.properties.headers or {}

    @property
    def rejected_at(self) -> float | None:
        """Say when it became a dead letter, in seconds since 1970."""
        for death in self._deaths():
            match death.get("time"):
                case int(seconds) if 0 <= seconds < _NO_CALENDAR_S:  # from the management
                    return float(seconds)
                case datetime() as moment:  # from AMQP
                    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
        return None

    @property
    def died_of(self) -> str | None:
        """Say what the broker calls the reason: rejected, delivery_limit or expired."""
        return next((str(death.get("reason")) for death in self._deaths()), None)

    @property
    def died_where(self) -> str | None:
        """Name the queue in which it became a dead letter."""
        return next((str(death.get("queue")) for death in self._deaths()), None)

    @property
    def died_by(self) -> list[str]:
        """Give the routing keys by which it came to where it died: its own, and those of a CC."""
        keys = next((death.get("routing-keys") for death in self._deaths()), None)
        return [str(key) for key in keys] if isinstance(keys, list) else []

    def place(self) -> MessageSource | None:
        """Find out which queue it was for; none when nothing tells."""
        for death in self._deaths():
            return place_of(str(death.get("queue")), self.properties.type)
        first, _, rest = self.routing_key.partition(".")
        by_exchange = {
            RPC_EXCHANGE: MessageSource("request", first),
            REPLIES_EXCHANGE: MessageSource("reply", rest.partition(".")[0]),
            EVENTS_EXCHANGE: MessageSource("event", None),
            EVENTS_TO_WORK_EXCHANGE: MessageSource("event", None),
            WORK_EXCHANGE: MessageSource("job", first, is_queue_of_work=True),
            WAIT_EXCHANGE: place_of(rest, self.properties.type),
            RETRY_EXCHANGE: place_of(rest, self.properties.type),
        }
        return by_exchange.get(self.exchange)

    def _deaths(self) -> Iterable[dict[str, Any]]:
        """Give its ends in its readers' queues, the latest first; to have waited is none."""
        deaths = self.headers.get(_DEATHS)
        return (
            death
            for death in (deaths if isinstance(deaths, list) else [])
            if isinstance(death, dict) and place_of(str(death.get("queue")), None) is not None
        )


def place_of(queue: str, name: str | None) -> MessageSource | None:
    """Say what a service's queue is for, given the name of a message in it."""
    kind, _, rest = queue.partition(".")
    service = rest.partition(".")[0]
    if kind == "rpc":
        return MessageSource("request", service)
    if kind == "work":
        return MessageSource("job" if name in JOBS else "event", service, is_queue_of_work=True)
    return None


def copy_of_letter(body: bytes, properties: BasicProperties) -> CapturedMessage | None:
    """Undo what the copying of a dead letter changed; none where it is not such a copy.

    What the broker has dead-lettered is none, whatever headers its sender gave it.
    """
    outer = properties.headers or {}
    kept = outer.get(KEPT)
    if not isinstance(kept, dict) or _DEATHS in outer:
        return None
    death = {"queue": kept.get("queue"), "reason": kept.get("reason"), "time": kept.get("since")}
    headers = kept.get("headers")
    had = BasicProperties(
        content_type=properties.content_type,
        correlation_id=properties.correlation_id,
        message_id=properties.message_id,
        reply_to=kept.get("reply_to"),
        timestamp=properties.timestamp,
        type=properties.type,
        user_id=kept.get("user_id"),
        headers={**(headers if isinstance(headers, dict) else {}), _DEATHS: [death]},
    )
    return CapturedMessage(body, had, "", "", is_whole=kept.get("is_whole", True))


def with_copies(message: CapturedMessage) -> CapturedMessage:
    """Put a header CC back: where a policy names the routing key, the broker takes it out.

    The keys that it named are noted with the death; those of a BCC are not.
    """
    copies = message.died_by[1:]
    if copies:
        message.headers.setdefault("CC", copies)
    return message


def read_messages(text: str) -> list[CapturedMessage]:
    """Read one captured message, or a list of them.

    Raises:
        CannotRead: it is something else.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:  # nested without end
        raise CannotRead(f"this is not JSON: {error}") from error
    messages = found if isinstance(found, list) else [found]
    if not messages:
        raise CannotRead("there is no message in it: the queue was empty")
    return [_read(message) for message in messages]


def as_management(message: CapturedMessage) -> dict[str, Any]:
    """Write a message as the management shows it, for ``read_messages``."""
    properties = {name: getattr(message.properties, name) for name in _KNOWN}
    try:
        payload, encoding = message.body.decode(), "string"
    except UnicodeDecodeError:
        payload, encoding = base64.b64encode(message.body).decode(), "base64"
    return {
        "payload": payload,
        "payload_encoding": encoding,
        "payload_bytes": len(message.body) + (not message.is_whole),
        "exchange": message.exchange,
        "routing_key": message.routing_key,
        "properties": {
            name: _plain(value) for name, value in properties.items() if value is not None
        }
        | {_HEADERS: _plain(message.headers)},
    }


def _plain(value: object) -> object:
    """Write a header's value, of whatever type AMQP has for it, in JSON's types."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, datetime):
        return int(value.replace(tzinfo=value.tzinfo or UTC).timestamp())
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _read(message: object) -> CapturedMessage:
    if not isinstance(message, dict) or not {"payload", "properties"} <= message.keys():
        raise CannotRead(
            "a captured message has the fields payload and properties, as the management API "
            "gives it; what 'postroad tail' prints is a body alone, without its signature"
        )
    properties = message["properties"] or {}  # the API writes an empty table as a list
    body = _body(message)
    had = BasicProperties(
        headers=properties.get(_HEADERS) or {},
        **{name: properties.get(name) for name in _KNOWN},
    )
    return copy_of_letter(body, had) or CapturedMessage(
        body=body,
        properties=had,
        exchange=str(message.get("exchange", "")),
        routing_key=str(message.get("routing_key", "")),
        is_whole=message.get("payload_bytes", len(body)) == len(body),
    )


def _body(message: dict[str, Any]) -> bytes:
    payload = str(message["payload"])
    if message.get("payload_encoding") != "base64":
        return payload.encode()
    try:
        return base64.b64decode(payload, validate=True)
    except binascii.Error as error:
        raise CannotRead("the payload is not the base64 that it says it is") from error

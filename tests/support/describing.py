"""Documents of made-up contracts, and what has changed between two of them."""

from typing import Any

from pydantic import create_model

from ops.compatibility.contracts import Severity, changes
from postroad.asyncapi.document import build_document
from postroad.asyncapi.wire import Document
from postroad.contracts.base import Event, Job, Message, Request

METHOD, EVENT, JOB = "shop.doors.open", "shop.door.opened", "shop.doors.paint"
BREAKING, WARNING, ADDITION = Severity.BREAKING, Severity.WARNING, Severity.ADDITION

Fields = dict[str, Any]
make: Any = create_model  # what it makes at run time no type says
NUMBER: Fields = {"speed": (int, ...)}


class Opened(Message):
    """It is open."""


def asking(fields: Fields | None = None, /, **arguments: Any) -> Document:
    """Describe one request with these fields."""
    contract = make(
        "OpenDoor",
        __base__=Request[Opened],
        __cls_kwargs__={"method": METHOD, **arguments},
        **(fields or {}),
    )
    return build_document({METHOD: contract}, {}, {})


def answering(fields: Fields) -> Document:
    """Describe one request whose reply has these fields."""
    reply = make("Door", __base__=Message, **fields)
    contract = make(
        "OpenDoor",
        __base__=Request[reply],  # type: ignore[valid-type]  # made at run time
        __cls_kwargs__={"method": METHOD},
    )
    return build_document({METHOD: contract}, {}, {})


def telling(fields: Fields) -> Document:
    """Describe one event with these fields."""
    event = make("DoorOpened", __base__=Event, __cls_kwargs__={"name": EVENT}, **fields)
    return build_document({}, {EVENT: event}, {})


def doing(fields: Fields, **arguments: Any) -> Document:
    """Describe one job with these fields."""
    job = make("PaintDoor", __base__=Job, __cls_kwargs__={"name": JOB, **arguments}, **fields)
    return build_document({}, {}, {JOB: job})


def found(old: Document, new: Document) -> set[tuple[Severity, str]]:
    return {(change.severity, change.sentence) for change in changes(old, new)}

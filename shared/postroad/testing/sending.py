"""Bodies and messages, as they come in from others."""

import json
from typing import TypeVar

from pydantic import ValidationError

from postroad.contracts.base import Event, Job, Message
from postroad.contracts.errors import InvalidRequest, explain
from postroad.ids import new_id
from postroad.messaging.publishing import MessagePublisher
from postroad.security.keyring import KeyRing
from postroad.testing.running import START_TIMEOUT_S, Reachable

MessageT = TypeVar("MessageT", bound=Message)


def read_body(contract: type[MessageT], body: object) -> MessageT:
    """Read a body, written as Python's own values, as a worker reads its JSON.

    Raises:
        InvalidRequest: it breaks its contract; the message is that of the worker.
    """
    try:
        return contract.model_validate_json(json.dumps(body))
    except ValidationError as error:
        raise InvalidRequest(explain(error)) from error


async def send(broker: Reachable, keys: KeyRing, message: Event | Job) -> str:
    """Publish an event or a job as the service whose keys these are; return its message id.

    Raises:
        NotPublished: the broker does not take it.
    """
    message_id = new_id()
    publisher = broker.as_user(keys.service).publisher()
    await publisher.start()
    try:
        await publisher.opened(START_TIMEOUT_S)
        await MessagePublisher(publisher, keys).publish(
            "job" if isinstance(message, Job) else "event",
            message.name,
            message.as_json,
            message_id=message_id,
            correlation_id=message_id,
        )
    finally:
        await publisher.close()
    return message_id

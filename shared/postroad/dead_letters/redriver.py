"""Dead letters on their way: back to work, or into quarantine.

Put back to work, a message keeps its id and its body; its signature is new, since the first one
may have expired and its keys have retired, and names who signed at first (the claim ``org``).
Nothing is moved here but copied: the caller acks a letter where it was once the copy is confirmed.
Who is killed in between has it in both places, and put back to work once more it goes out under
the same id, which its reader's inbox knows (``postroad.storage.inbox``): the second one changes
nothing.
"""

from collections.abc import Mapping
from time import time
from typing import Any

from postroad.broker.dead_lettering import KEPT
from postroad.broker.interfaces import BasicProperties, Outcome, Publisher
from postroad.dead_letters.captured import CapturedMessage
from postroad.messaging.background_worker import ATTEMPT
from postroad.messaging.publishing import PERSISTENT, NotPublished, publish
from postroad.security.claims import Claims
from postroad.security.keyring import KeyRing
from postroad.security.lasting_signatures import LastingSigner
from postroad.topology.names import QUARANTINE, RETRY_EXCHANGE, wait_key

_NOT_PASSED_ON = ("signature", ATTEMPT, "CC", "BCC")  # made anew, or harmful; and all of `x-...`
_STOPS = {
    Outcome.RETURNED: "there is no such queue",
    Outcome.REFUSED: "it is full",
    Outcome.LOST: "the connection went; it may be there or not",
}


class NotMoved(Exception):
    """A letter stays where it is; the message says why."""


class Redriver:
    """Publishes dead letters, as the operator."""

    def __init__(self, publisher: Publisher, keys: KeyRing) -> None:
        self._publisher = publisher
        self._signer = LastingSigner(keys)
        self._service = keys.service

    async def redrive(
        self, message: CapturedMessage, claims: Claims, queue: str, reader: str
    ) -> None:
        """Put a message back into the one queue in which it died.

        Raises:
            NotMoved: the broker does not take it.
        """
        headers = {
            name: encodable(value)
            for name, value in message.headers.items()
            if name not in _NOT_PASSED_ON
            and not str(name).startswith("x-")  # bytes, where it is not text
        }
        headers["signature"] = self._signer.redrive(claims, audience=reader, body=message.body)
        properties = _properties(message, headers, self._service)
        properties.type = claims.op
        properties.message_id = claims.jti
        properties.correlation_id = claims.cid
        await self._publish(wait_key(0, queue), queue, message.body, properties)

    async def quarantine(self, message: CapturedMessage, queue: str) -> None:
        """Put a message that died in a queue where nothing ends its time.

        All that its reader saw goes along inside one header: so its CC sends no copies out, and it
        is not forgotten that it had one.

        Raises:
            NotMoved: the broker does not take it.
        """
        properties = kept_copy(
            message,
            queue,
            user=self._service,
            reason=message.died_of,
            died_at=message.rejected_at or 0,
        )
        await self._publish(QUARANTINE, QUARANTINE, message.body, properties)

    async def _publish(
        self, key: str, queue: str, body: bytes, properties: BasicProperties
    ) -> None:
        try:
            outcome = await publish(self._publisher, RETRY_EXCHANGE, key, body, properties)
        except NotPublished as error:
            raise NotMoved(str(error)) from error
        if outcome is not Outcome.CONFIRMED:
            raise NotMoved(f"{properties.message_id} cannot go to {queue}: {_STOPS[outcome]}")


def kept_copy(
    message: CapturedMessage, queue: str, *, user: str, reason: str | None, died_at: float
) -> BasicProperties:
    """Return the properties of a copy that keeps all that is known of a message in one header.

    ``queue`` is where it died, ``died_at`` when in seconds since 1970, ``user`` who publishes the
    copy.
    """
    headers = {name: value for name, value in message.headers.items() if name != "x-death"}
    kept = {
        "queue": queue,
        "reason": reason,
        "since": int(died_at),
        "user_id": message.properties.user_id,
        "reply_to": message.properties.reply_to,
        "headers": encodable(headers),
        "is_whole": message.is_whole,
    }
    return _properties(message, {KEPT: kept}, user)


def _properties(message: CapturedMessage, headers: Mapping[str, Any], user: str) -> BasicProperties:
    had = message.properties
    return BasicProperties(
        content_type=had.content_type,
        headers=dict(headers),
        delivery_mode=PERSISTENT,
        correlation_id=had.correlation_id,
        message_id=had.message_id,
        timestamp=int(time()),
        type=had.type,
        user_id=user,
    )


def encodable(value: object) -> object:
    """Write as text what pika reads but cannot write: a float, or what it made of a large one."""
    if isinstance(value, dict):
        return {name: encodable(each) for name, each in value.items()}
    if isinstance(value, list):
        return [encodable(each) for each in value]
    is_too_large = isinstance(value, int) and not -(2**63) <= value < 2**63
    return str(value) if isinstance(value, float) or is_too_large else value

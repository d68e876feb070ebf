"""How a message is packed for the other broker: as it is, but for what only its broker may write.

RabbitMQ 4 takes the header ``x-death`` off what is published, and before 4 it believes it. So what
is known of a dead letter goes along in a header of our own, as in quarantine. A header ``CC``
would send copies out, so its message is refused here, as its reader would refuse it.
"""

from copy import copy
from time import time

from ops.services.operator import OPERATOR
from postroad.broker.interfaces import BasicProperties, Delivery
from postroad.dead_letters.captured import CapturedMessage, with_copies
from postroad.dead_letters.redriver import encodable, kept_copy
from postroad.security.claims import Reason
from postroad.topology.names import dead_queue

_DEATHS, _COPIES = "x-death", ("CC", "BCC")
_WORK = "work."


def pack(queue: str, delivery: Delivery) -> tuple[str, BasicProperties]:
    """Return to which queue a message of a queue goes, and with which properties.

    The sender's user id is kept, which takes the tag ``impersonator``: workers check it.
    """
    headers = delivery.properties.headers or {}
    died_in = queue.removeprefix(dead_queue(""))
    message = CapturedMessage(delivery.body, delivery.properties, "", "", is_whole=True)
    if died_in != queue and _DEATHS in headers:  # whatever else its sender has put there
        known = with_copies(message)
        return queue, kept_copy(
            known,
            died_in,
            user=OPERATOR,
            reason=known.died_of,
            died_at=known.rejected_at or 0,
        )
    if any(name in headers for name in _COPIES):
        reason = str(Reason.CARBON_COPY)
        refused = kept_copy(message, died_in, user=OPERATOR, reason=reason, died_at=time())
        return dead_queue(queue) if queue.startswith(_WORK) else queue, refused
    properties = copy(delivery.properties)
    properties.headers = {
        name: encodable(value)
        for name, value in headers.items()
        if not str(name).startswith("x-")  # bytes, where it is not text
    }
    return queue, properties

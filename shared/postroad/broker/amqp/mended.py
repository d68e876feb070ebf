"""pika's connection, mended in two places."""

from struct import Struct
from typing import Any

from pika import BasicProperties
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.frame import Header
from pika.spec import FRAME_HEADER

from postroad.broker.amqp.frames import FRAME, OVERHEAD
from postroad.logger import get_logger

log = get_logger(__name__)

_BODY_SIZE = Struct(">4xQ")  # after class and weight: AMQP 0-9-1 section 4.2.6.1


class MendedConnection(AsyncioConnection):  # type: ignore[misc]  # pika has no types
    """A connection that can be closed while it is being opened, and that no header ends."""

    def _on_connection_workflow_done(self, outcome: Any) -> None:
        """Mend how pika 1.4 tells of an abort: by an exception's class, on which it then trips."""
        super()._on_connection_workflow_done(outcome() if isinstance(outcome, type) else outcome)

    def _read_frame(self) -> tuple[int, Any]:
        """Take headers for none that the broker passes on and pika 1.4 cannot read.

        Such are a timestamp after the year 9999, a float that is infinite, tables a thousand deep.
        pika lets the connection go, the broker delivers the message again to the next one, and so
        whoever may send one message could keep its reader from all others. Without headers it is
        an unsigned message like any other.
        """
        try:
            return super()._read_frame()  # type: ignore[no-any-return]
        except Exception as error:  # any at all: a sender chooses which
            kind, channel, size = FRAME.unpack_from(self._frame_buffer)
            if kind != FRAME_HEADER:
                raise
            log.warning("message with unreadable headers", reason=type(error).__name__)
            (body_bytes,) = _BODY_SIZE.unpack_from(self._frame_buffer, FRAME.size)
            return OVERHEAD + size, Header(channel, body_bytes, BasicProperties())

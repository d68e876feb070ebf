"""A message's frames as one piece of bytes.

pika makes an object of each frame and asks who waits for it; a message has three. The fields in
them are pika's to write and to read, here too. On what is out of the ordinary these functions
raise, whatever it is, and all of it is left to pika, to do or to refuse.
"""

from functools import lru_cache
from struct import Struct

from pika import BasicProperties
from pika.frame import Header, Method
from pika.spec import FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_METHOD, Basic

Message = tuple[Method[Basic.Deliver], Header, bytes]

FRAME = Struct(">BHL")  # type, channel, payload size: AMQP 0-9-1 section 4.2.3
OVERHEAD = FRAME.size + 1  # and the frame-end octet
METHOD = Struct(">BHLL")  # the same of a method frame, and its method
_CONTENT = Struct(">HxxQ")  # class and body size, before the properties: section 4.2.6.1
_END = bytes((FRAME_END,))


def write_message(
    channel: int, publish: Basic.Publish, properties: BasicProperties, body: bytes, body_max: int
) -> bytes:
    """Write a message's frames; each holds at most ``body_max`` bytes of its body."""
    first = _write_publish(channel, publish.exchange, publish.routing_key, publish.mandatory)
    header = b"".join((_CONTENT.pack(Basic.INDEX, len(body)), *properties.encode()))
    pieces: list[bytes] = [first, FRAME.pack(FRAME_HEADER, channel, len(header)), header, _END]
    for start in range(0, len(body), body_max):
        part = body[start : start + body_max]
        pieces += (FRAME.pack(FRAME_BODY, channel, len(part)), part, _END)
    return b"".join(pieces)


@lru_cache(maxsize=1024)  # there are few routes
def _write_publish(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:
    publish = Basic.Publish(0, exchange, routing_key, mandatory)
    return Method(channel, publish).marshal()  # type: ignore[no-any-return]


def read_delivery(data: bytes, start: int, channel: int) -> tuple[Message, int]:
    """Read the delivery that begins at ``start``, in all its frames; return where it ends, too."""
    end = _payload_end(data, start, FRAME_METHOD, channel)
    method = Basic.Deliver().decode(data[start + METHOD.size : end])
    start, end = end + 1, _payload_end(data, end + 1, FRAME_HEADER, channel)
    header = data[start + FRAME.size : end]  # alone, as pika reads it: a size may lie
    index, body_bytes = _CONTENT.unpack_from(header)
    properties = BasicProperties().decode(header, _CONTENT.size)
    parts, missing = [], body_bytes
    while missing > 0:
        start, end = end + 1, _payload_end(data, end + 1, FRAME_BODY, channel)
        parts.append(data[start + FRAME.size : end])
        missing -= len(parts[-1])
    if missing < 0 or index != Basic.INDEX:
        raise ValueError
    message = Method(channel, method), Header(channel, body_bytes, properties), b"".join(parts)
    return message, end + 1


def _payload_end(data: bytes, start: int, kind: int, channel: int) -> int:
    found, number, size = FRAME.unpack_from(data, start)
    end: int = start + FRAME.size + size
    if found != kind or number != channel or data[end] != FRAME_END:
        raise ValueError
    return end

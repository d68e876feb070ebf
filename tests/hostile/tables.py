"""AMQP header tables written byte by byte: what a broker passes on, and pika cannot write."""

import struct
from collections.abc import Sequence

from pika import BasicProperties

Field = tuple[bytes, bytes]  # a name, and a value as it is on the wire: its kind, then its bytes


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return b"S" + struct.pack(">I", len(data)) + data


def byte_array(value: bytes) -> bytes:
    return b"x" + struct.pack(">I", len(value)) + value


def table(*fields: Field) -> bytes:
    return b"F" + fields_of(fields)


def array(*values: bytes) -> bytes:
    joined = b"".join(values)
    return b"A" + struct.pack(">I", len(joined)) + joined


def timestamp(seconds: int) -> bytes:
    return b"T" + struct.pack(">Q", seconds)


def double(value: float) -> bytes:
    return b"d" + struct.pack(">d", value)


def decimal(scale: int, value: int) -> bytes:
    return b"D" + struct.pack(">Bi", scale, value)


def nested(depth: int) -> bytes:
    """Put tables into one another."""
    value = b"V"
    for _ in range(depth):
        value = table((b"t", value))
    return value


def fields_of(fields: Sequence[Field]) -> bytes:
    joined = b"".join(bytes([len(name)]) + name + value for name, value in fields)
    return struct.pack(">I", len(joined)) + joined


class RawHeaders(BasicProperties):  # type: ignore[misc]  # pika has no types
    """Properties whose header table is given as it goes on the wire.

    Without ``content_type`` and ``content_encoding``, which would come before it.
    """

    def __init__(self, fields: Sequence[Field], **properties: object) -> None:
        super().__init__(**properties)
        self._fields = fields_of(fields)

    def encode(self) -> list[bytes]:
        plain = b"".join(super().encode())
        (flags,) = struct.unpack(">H", plain[:2])
        return [struct.pack(">H", flags | self.FLAG_HEADERS), self._fields, plain[2:]]

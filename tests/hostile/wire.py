"""Our frames against pika's own: the same messages written and read by both, whatever they are."""

import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any

from pika import BasicProperties, ConnectionParameters
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.amqp_object import Method as AmqpMethod
from pika.callback import CallbackManager
from pika.channel import Channel
from pika.compat import long
from pika.frame import Body, Header, Heartbeat, Method
from pika.spec import FRAME_END, Basic

from postroad.broker.amqp.connection import Amqp, MessageChannel

CHANNELS = (1, 2)
CONSUMER = "consumer"
CANCELLED = "cancelled"
TEXTS = ("", "a", "\0", "é", "application/json", "catalog.products.list", "x" * 255, "é" * 127)
NO_TEXTS: tuple[Any, ...] = ("x" * 256, "é" * 128, "\ud800", b"bytes", b"\xff", 7, None, [], {})
VALUES: tuple[Any, ...] = (
    *("", "x" * 3000, "é", True, False, 0, -1, 2**31, -(2**63), long(7), None, b"", b"\xff"),
    *(Decimal("1.5"), Decimal(-7), datetime(2026, 11, 29, tzinfo=UTC), [], ["a", [1], {"b": None}]),
    *({}, {"a": {"b": ["c"]}}),
)
NO_VALUES: tuple[Any, ...] = (1.5, object(), 2**70, {1: 2}, [set()], "\ud800", Decimal(10**12))
OCTETS, LONGS = (0, 1, 2, 255), (0, 1_764_000_000, 2**64 - 1)
NO_OCTETS: tuple[Any, ...] = (-1, 256, "2", 1.0, [])
HOSTILE_TABLES = (
    b"\1kT" + b"\xff" * 8,  # a time after the year 9999
    b"\1kd" + struct.pack(">d", float("inf")),
    b"\1k" + b"A\0\0\0\5" * 3 + b"V",
    b"\1kF\0\0\0\0" * 3,
    b"\1kS\0\0\0\2\xff\xfe",
    b"\1\xffV",
    b"\1kS\xff\xff\xff\xffabc",
    b"\1kS\0\0\0\1a\1kV",
    b"\xffk",
    b"\1k?",
    b"\1kA\xff\xff\xff\xff" + b"V" * 9,
    b"\1k" + b"F\0\0\xff\xff\1k" * 1200,
    b"\1ks\1\2\1uu\1\2\1UU\1\2\1bb\xff\1BB\xff\1LL" + b"\xff" * 8 + b"\1xx\0\0\0\1y",
)


def some_properties(random: Random, *, is_odd: bool) -> BasicProperties:
    """Make properties; odd ones may be what nobody can write."""

    def one_of(good: tuple[Any, ...], bad: tuple[Any, ...]) -> Any:
        return random.choice(bad if is_odd and random.random() < 0.1 else good)

    def headers() -> Any:
        names = (one_of(TEXTS, NO_TEXTS[:6]) for _ in range(random.randrange(5)))
        return {name: one_of(VALUES, NO_VALUES) for name in names}

    properties = BasicProperties()
    share = random.choice((0.2, 0.8, 1.0))
    for name in vars(properties):
        if random.random() > share:
            continue
        if name == "headers":
            value = 7 if is_odd and random.random() < 0.02 else headers()
        elif name == "timestamp":
            value = one_of(LONGS, (-1, 2**64, "now", 1.0))
        elif name in {"delivery_mode", "priority"}:
            value = one_of(OCTETS, NO_OCTETS)
        else:
            value = one_of(TEXTS, NO_TEXTS)
        setattr(properties, name, value)
    return properties


class Written(Amqp):
    """A connection of which only what it sends is kept."""

    def __init__(self, body_max: int) -> None:
        self._body_max_length = body_max
        self.bytes_sent = self.frames_sent = 0
        self.sent = b""

    def _adapter_emit_data(self, data: bytes) -> None:
        self.sent += data


def check_written(random: Random) -> int:
    """Have one message written by both; return how many frames it has."""
    is_odd = random.random() < 0.5
    properties = some_properties(random, is_odd=is_odd)
    body = random.randbytes(random.choice((0, 1, 7, 8, 9, 100, 4096, 4097)))
    body_max = random.choice((8, 4096, 131_064))
    names = (*TEXTS, *NO_TEXTS[:-2]) if is_odd else TEXTS
    publish = Basic.Publish(
        exchange=random.choice(names),
        routing_key=random.choice(names),
        mandatory=random.random() < 0.5,
    )
    channel = random.choice((1, 2, 65_535))
    ours, theirs = Written(body_max), Written(body_max)
    ends: list[tuple[object, object]] = []
    for connection, send in (
        (ours, ours._send_message),
        (theirs, partial(AsyncioConnection._send_message, theirs)),
    ):
        try:
            send(channel, publish, (properties, body))
        except Exception as error:  # noqa: BLE001  # whatever pika raises, so do we
            ends.append((type(error), str(error)))
        else:
            ends.append((connection.sent, connection.bytes_sent))
    assert ends[0] == ends[1], (publish, properties, body, body_max)
    return theirs.frames_sent


class Read(Amqp):
    """A connection that is open, with two channels, and keeps what it makes of what comes."""

    def __init__(self) -> None:
        self.params = ConnectionParameters()
        self.callbacks = CallbackManager()
        self.events: list[tuple[Any, ...]] = []
        self.taken = 0
        self.connection_state = self.CONNECTION_INIT
        self._blocked_conn_timer = None
        self._init_connection_state()
        self._set_connection_state(self.CONNECTION_OPEN)
        for number in CHANNELS:
            channel = self._channels[number] = self._create_channel(number, lambda _: None)
            channel._set_state(Channel.OPEN)
            channel._consumers = dict.fromkeys((CONSUMER, CANCELLED), self._note)
            channel._cancelled.add(CANCELLED)
            channel.add_on_return_callback(self._note)
            channel._on_confirm = partial(self._note, channel)
            for method in (Basic.Ack, Basic.Nack):
                self.callbacks.add(number, method, channel._on_confirm, False)

    def _note(self, channel: Channel, *what: object) -> None:
        self.events.append((channel.channel_number, *what))

    def _send_frame(self, frame: Method[Any]) -> None:
        self.events.append(("sent", frame))

    def end_of(self, pieces: list[bytes]) -> object:
        """Read some pieces; return what they end with: the error that ends the connection."""
        for piece in pieces:
            try:
                self._on_data_available(piece)
            except Exception as error:  # noqa: BLE001  # it ends both, or neither
                return type(error), str(error)
        return self._frame_buffer


class PikaChannel(MessageChannel):
    def take(self, data: bytes, start: int, end: int) -> int:
        return 0


class ReadByPika(Read):
    """The same without our frames: frame by frame by pika, but for headers that it cannot read."""

    def _create_channel(self, number: int, on_open: Callable[[Channel], None]) -> MessageChannel:
        return PikaChannel(self, number, on_open)


def some_frames(random: Random) -> Iterator[bytes]:
    """Make the frames of a message, of a confirm or of a heartbeat; some lie."""
    channel = random.choice((*CHANNELS, 1, 1, 3))
    tag = random.choice((0, 1, 77, 2**64 - 1))
    kind = random.choice(("deliver",) * 6 + ("return", "ack", "ack", "nack", "heartbeat", "lone"))
    if kind == "heartbeat":
        yield Heartbeat().marshal()
    elif kind in {"ack", "nack"}:
        confirm = Basic.Ack if kind == "ack" else Basic.Nack
        yield Method(channel, confirm(tag, random.random() < 0.5)).marshal()
    elif kind == "lone":
        yield Body(channel, b"alone").marshal()
    else:
        texts = [random.choice(TEXTS) for _ in range(2)]
        consumer = random.choice((CONSUMER,) * 6 + (CANCELLED, "unknown"))
        method: AmqpMethod = Basic.Deliver(consumer, tag, random.random() < 0.2, *texts)
        if kind == "return":
            method = Basic.Return(312, *texts, "rpc")
        yield Method(channel, method).marshal()
        body = random.randbytes(random.choice((0, 1, 50, 5000)))
        yield some_header(random, channel, len(body))
        while body:
            size = random.choice((len(body), len(body), 1 + len(body) // 2, 0))
            yield Body(channel, body[:size]).marshal()
            body = body[size:]


def some_header(random: Random, channel: int, body_bytes: int) -> bytes:
    properties = some_properties(random, is_odd=False)
    if random.random() < 0.8:
        return Header(channel, body_bytes, properties).marshal()  # type: ignore[no-any-return]
    table = random.choice(HOSTILE_TABLES)
    size = random.choice((len(table), len(table), len(table) - 1, len(table) + 1, 0, 2**32 - 1))
    flags = random.choice((0x2000, 0x2000, 0x2001, 0x2002, 0x2080, random.randrange(2**16)))
    payload = struct.pack(">HHQHL", 60, 0, body_bytes, flags, size) + table
    if random.random() < 0.1:
        payload = payload[: random.randrange(4, len(payload))]
    return struct.pack(">BHL", 2, channel, len(payload)) + payload + bytes((FRAME_END,))


def check_read(random: Random) -> tuple[int, int]:
    """Have some frames read by both; return how many came, and how many were read by ours."""
    messages = [list(some_frames(random)) for _ in range(random.randrange(1, 9))]
    if random.random() < 0.2:  # those of one message among those of another
        cut = random.randrange(len(messages[0]) + 1)
        messages.append(messages[0][cut:])
        del messages[0][cut:]
    whole = [frame for message in messages for frame in message]
    for _ in range(random.choice((0, 0, 0, 1, 1, 3))):
        number = random.randrange(len(whole))
        frame = bytearray(whole[number])
        at = random.randrange(random.choice((1, 10, len(frame))))  # its kind, what it is, anything
        frame[at % len(frame)] = random.choice((0, 1, 2, 3, 50, 60, 255, FRAME_END))
        whole[number] = bytes(frame)
    pieces = [b"".join(whole)]
    for _ in range(random.choice((0, 0, 1, 5))):
        last = pieces.pop()
        cut = random.randrange(len(last) + 1)
        pieces += [last[:cut], last[cut:]]
    ours, theirs = Read(), ReadByPika()
    ends = ours.end_of(pieces), theirs.end_of(pieces)
    assert repr(ours.events) == repr(theirs.events), pieces
    assert ours.events == theirs.events, pieces
    assert ends[0] == ends[1], (ends, pieces)
    assert ours.bytes_received == theirs.bytes_received, pieces
    return len(whole), theirs.frames_received - ours.frames_received

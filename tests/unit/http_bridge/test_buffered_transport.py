"""An answer leaves in one piece: what is written in one turn of the loop is sent together."""

import asyncio
from collections.abc import Iterable
from typing import cast

import pytest

from http_bridge.asgi.protocol import UNSENT_MAX_BYTES, JoinedWrites

CLOSED = b"<closed>"


class Recording:
    """A transport that keeps what it is given, and in how many pieces."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_closed = False

    def writelines(self, pieces: Iterable[bytes]) -> None:
        self.sent.append(b"".join(pieces))

    def close(self) -> None:
        self.is_closed = True
        self.sent.append(CLOSED)

    def abort(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def get_extra_info(self, name: str) -> str:
        return f"the {name}"


@pytest.fixture
def recording() -> Recording:
    return Recording()


def joined(recording: Recording) -> JoinedWrites:
    return JoinedWrites(cast(asyncio.Transport, recording))


async def test_what_is_written_in_one_turn_is_sent_together(recording: Recording) -> None:
    transport = joined(recording)

    transport.write(b"head, ")
    transport.write(b"body")
    assert recording.sent == []
    await asyncio.sleep(0)
    transport.write(b"; another")
    await asyncio.sleep(0)

    assert recording.sent == [b"head, body", b"; another"]


async def test_closing_sends_what_was_written_first(recording: Recording) -> None:
    transport = joined(recording)

    transport.write(b"goodbye")
    transport.close()
    await asyncio.sleep(0)

    assert recording.sent == [b"goodbye", CLOSED]


async def test_nothing_is_sent_on_a_connection_that_has_gone(recording: Recording) -> None:
    transport = joined(recording)

    transport.write(b"too late")
    transport.abort()
    await asyncio.sleep(0)

    assert recording.sent == []


async def test_much_is_sent_at_once_so_that_writing_can_be_paused(recording: Recording) -> None:
    transport = joined(recording)

    transport.write(b"." * UNSENT_MAX_BYTES)
    assert recording.sent == []
    transport.write(b".")

    assert len(recording.sent[0]) == UNSENT_MAX_BYTES + 1


async def test_all_else_is_the_transports_own(recording: Recording) -> None:
    assert joined(recording).get_extra_info("peername") == "the peername"

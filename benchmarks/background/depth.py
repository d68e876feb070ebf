"""How many messages wait in a queue, asked again and again."""

from time import monotonic, sleep

import pika

POLL_S = 0.01
PATIENCE_S = 120.0


class TooSlow(Exception):
    """A queue did not become as short as was waited for."""


class Depth:
    """The depth of one queue."""

    def __init__(self, url: str, queue: str) -> None:
        self._parameters = pika.URLParameters(url)
        self._queue = queue

    def falls_below(self, bound: int) -> int:
        """Wait until fewer messages wait than that, and give how many do.

        Raises:
            TooSlow: it took too long.
        """
        deadline = monotonic() + PATIENCE_S
        connection = pika.BlockingConnection(self._parameters)
        try:
            channel = connection.channel()
            while monotonic() < deadline:
                declared = channel.queue_declare(self._queue, passive=True)
                waiting = int(declared.method.message_count)
                if waiting < bound:
                    return waiting
                sleep(POLL_S)
        finally:
            connection.close()
        raise TooSlow(f"{waiting} still wait in {self._queue} after {PATIENCE_S:.0f} s")

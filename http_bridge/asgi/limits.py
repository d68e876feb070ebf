"""What a client may ask for."""

from collections.abc import Callable
from dataclasses import dataclass

from http_bridge.asgi.messages import HttpResponse
from postroad.contracts.errors import ServiceError

HEADERS_MAX = 100
WAITING_MAX = 16  # requests of a connection, behind the one that is being answered


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may ask of us before it is refused or dropped."""

    headers_max_bytes: int
    receive_timeout_s: float  # for a whole request, from its first byte
    send_timeout_s: float  # for taking what was sent
    connections_max: int  # of all clients together
    refuse: Callable[[ServiceError], HttpResponse]  # makes the answer to what is no request

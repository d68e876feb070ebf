"""The request being answered, for whoever needs to know below the handler."""

from contextvars import ContextVar
from dataclasses import dataclass
from time import time

from shared.tokens import AccessToken


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler may want to know of its request beyond the body."""

    caller: str  # the service that signed it
    correlation_id: str
    deadline: float  # seconds since 1970
    user: AccessToken | None

    def time_left_s(self) -> float:
        """Seconds until nobody waits for the answer any more."""
        return self.deadline - time()


current_call: ContextVar[Call] = ContextVar("current_call")

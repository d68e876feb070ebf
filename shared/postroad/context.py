"""The request being answered, for whoever needs to know below the handler."""

from contextvars import ContextVar
from dataclasses import dataclass
from time import time

from postroad.security.access_tokens import AccessToken


@dataclass(slots=True)
class RequestContext:
    """What a handler may want to know of its request beyond the body."""

    caller: str  # the service that signed it
    message_id: str  # the same when the request is delivered again
    correlation_id: str
    deadline: float  # seconds since 1970
    user: AccessToken | None = None
    is_over: bool = False  # answered, done or given up; what was begun for it may still be going on

    def time_left_s(self) -> float:
        """Seconds until nobody waits for the answer any more."""
        return self.deadline - time()


current_context: ContextVar[RequestContext] = ContextVar("current_context")

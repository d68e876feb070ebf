"""The request being answered, for whoever needs to know below the handler."""

from contextvars import ContextVar
from dataclasses import dataclass
from time import time

from postroad.security.access_tokens import AccessToken


@dataclass(slots=True)
class RequestContext:
    """What a handler may want to know of its request, and say of its reply, beyond the body."""

    caller: str  # the service that signed it
    message_id: str  # the same when the request is delivered again
    correlation_id: str
    deadline: float  # seconds since 1970
    user: AccessToken | None = None
    data_as_of: float | None = None  # how old what the reply says is, in seconds since 1970
    data_is_stale: bool = False
    upstream_s: float | None = None  # waited for an upstream so far; none when it was not asked
    is_over: bool = False  # answered, done or given up; what was begun for it may still be going on

    def time_left_s(self) -> float:
        """Seconds until nobody waits for the answer any more."""
        return self.deadline - time()

    def date_reply(self, as_of: float, *, is_stale: bool) -> None:
        """Note since when the reply's data is known, and whether that is longer than it should."""
        self.data_as_of = as_of
        self.data_is_stale = is_stale


current_context: ContextVar[RequestContext] = ContextVar("current_context")

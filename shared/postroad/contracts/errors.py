"""The errors that cross the wire, as problem objects (RFC 9457) with a stable ``code``.

ServiceError
├── InvalidRequest         the body breaks its contract
├── InvalidCredentials     wrong user name or password
├── InvalidRefreshToken    not one of ours, expired, or used before
├── TooManyAttempts        wait before signing in again
├── NotAuthenticated       the user's token is missing, malformed, expired or forged
├── NotAuthorised          the user's token does not hold the scope, or the caller no right
├── ProductNotFound
├── SyncNotFound
├── UpstreamFailed         the product API is broken or answers nonsense
├── UpstreamBusy           the product API asks us to slow down
├── Unavailable            broker away, or no worker listens; nothing was done
├── Overloaded             the queue is full; nothing was done
├── ReplyTimeout           no reply before the deadline
├── OutcomeUnknown         the connection went while the call was under way
├── InternalError          a bug in the service that answered
└── PeerError              an error newer than we are
"""

from typing import ClassVar

from pydantic import ValidationError

from postroad.contracts.message import Message
from postroad.contracts.replies import CallTiming


class Problem(Message):
    """An error on the wire.

    ``detail`` is one sentence for a person. ``retry_after_s`` is given when waiting that many
    seconds may help.
    """

    code: str
    title: str
    detail: str
    retry_after_s: int | None = None


class ServiceError(Exception):
    """Base of every error raised on purpose; anything else is a bug."""

    code: ClassVar[str]  # wire name, read by peers: add new ones, never rename
    title: ClassVar[str]
    retry_after_s: int | None = None
    timing: CallTiming | None = None  # of the call that it answers, at the caller's end

    def __init__(self, detail: str = "", *, retry_after_s: int | None = None) -> None:
        super().__init__(detail or self.title)
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s

    def to_problem(self) -> Problem:
        """Describe this error for the wire."""
        return Problem(
            code=self.code, title=self.title, detail=str(self), retry_after_s=self.retry_after_s
        )


class InvalidRequest(ServiceError):
    code = "invalid_request"
    title = "The request is not valid"


class InvalidCredentials(ServiceError):
    code = "invalid_credentials"
    title = "Wrong user name or password"


class InvalidRefreshToken(ServiceError):
    code = "invalid_refresh_token"
    title = "The refresh token is not valid"


class TooManyAttempts(ServiceError):
    code = "too_many_attempts"
    title = "Too many failed attempts to sign in"


class NotAuthenticated(ServiceError):
    code = "not_authenticated"
    title = "A valid token is needed"


class NotAuthorised(ServiceError):
    code = "not_authorised"
    title = "The token does not allow this"


class ProductNotFound(ServiceError):
    code = "product_not_found"
    title = "No such product"


class SyncNotFound(ServiceError):
    code = "sync_not_found"
    title = "No such sync"


class UpstreamFailed(ServiceError):
    code = "upstream_failed"
    title = "The product source failed"


class UpstreamBusy(ServiceError):
    code = "upstream_busy"
    title = "The product source is busy"
    retry_after_s = 10


class Unavailable(ServiceError):
    code = "unavailable"
    title = "The service is away"
    retry_after_s = 1


class Overloaded(ServiceError):
    code = "overloaded"
    title = "Too many requests are waiting"
    retry_after_s = 1


class ReplyTimeout(ServiceError):
    code = "reply_timeout"
    title = "No reply before the deadline"


class OutcomeUnknown(ServiceError):
    code = "outcome_unknown"
    title = "The connection was lost while the request was under way"
    retry_after_s = 1


class InternalError(ServiceError):
    code = "internal"
    title = "Something went wrong on our side"


class PeerError(ServiceError):
    """An error whose code we do not know: the peer is newer than we are."""

    code = "peer_error"
    title = "The service answered with an error"


ERRORS: dict[str, type[ServiceError]] = {
    error.code: error for error in ServiceError.__subclasses__()
}


def from_problem(problem: Problem) -> ServiceError:
    """Build the exception that a problem object stands for."""
    error = ERRORS.get(problem.code, PeerError)
    return error(problem.detail, retry_after_s=problem.retry_after_s)


def explain(error: ValidationError) -> str:
    """Say what is wrong with a body, field by field, without quoting its values."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'body'}: {item['msg']}"
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    )

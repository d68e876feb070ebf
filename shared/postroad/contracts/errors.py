"""The errors that cross the wire, as problem objects (RFC 9457) with a stable ``code``.

A package adds its own by deriving from ``ServiceError``: they arrive as what they are wherever
their module is imported, and as ``PeerError`` elsewhere.
"""

import re
from typing import ClassVar

from pydantic import Field, ValidationError

from postroad.contracts.message import CallTiming, Message
from postroad.limits import LONGEST_WAIT_S

ERRORS: dict[str, type["ServiceError"]] = {}
"""Every error class by its code; a class enters by being defined."""

_CODE = re.compile(r"[a-z][a-z0-9_]*")
_SETTABLE = ("code", "title", "is_retryable", "may_have_happened", "retry_after_s")


class Problem(Message):
    """An error on the wire.

    ``detail`` is one sentence for a person. ``retry_after_s`` is given when waiting that many
    seconds may help.
    """

    code: str
    title: str
    detail: str
    retry_after_s: int | None = Field(default=None, ge=0, le=int(LONGEST_WAIT_S))


class ServiceError(Exception):
    """Base of every error raised on purpose; anything else is a bug.

    A subclass sets a ``code`` and a ``title``. What else it sets is below, a method or ``_own``;
    any other name is refused as misspelt. The first sentence of its docstring says when it is
    raised. A base of several errors passes ``abstract=True`` and has no code. A kind of an error
    that only its own service tells apart repeats the code: ``code = UpstreamFailed.code``.

    Where it arrives, an error is made of its detail and ``retry_after_s`` alone: what an
    ``__init__`` of its own sets is not there.
    """

    code: ClassVar[str]  # wire name, read by peers: add new ones, never rename
    title: ClassVar[str]
    is_retryable: ClassVar[bool] = False
    """Whether the same request, sent again, may succeed."""
    may_have_happened: ClassVar[bool] = False
    """Whether the request may have taken effect all the same."""
    retry_after_s: int | None = None
    timing: CallTiming | None = None  # of the call that it answers, at the caller's end

    def __init_subclass__(cls, *, abstract: bool = False, **unknown: object) -> None:
        """Enter a class under its code.

        Raises:
            TypeError: the class is not complete, or another one has its code.
        """
        super().__init_subclass__()
        for name in unknown:
            if name in _SETTABLE:
                raise TypeError(f"{cls.__name__}: set {name} in the body of an error class")
            raise TypeError(f"{cls.__name__}: unknown class argument {name!r}; known is abstract")
        if not isinstance(abstract, bool):
            raise TypeError(f"{cls.__name__}: abstract={abstract!r} must be True or False")
        _check_body(cls)
        if abstract:
            if "code" in vars(cls):
                raise TypeError(f"{cls.__name__}: an abstract error has no code")
            return
        _check(cls)
        owner = ERRORS.get(cls.code, cls)
        if _path(owner) == _path(cls):  # new, or its module is imported again
            ERRORS[cls.code] = cls
        elif not issubclass(cls, owner):
            raise TypeError(f"{cls.__name__}: the code {cls.code!r} is taken by {_path(owner)}")

    def __init__(self, detail: str = "", *, retry_after_s: int | None = None) -> None:
        if not hasattr(self, "code"):
            raise TypeError(f"{type(self).__name__} is abstract: raise an error that has a code")
        super().__init__(detail or self.title)
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s

    def to_problem(self) -> Problem:
        """Describe this error for the wire."""
        return Problem(
            code=self.code, title=self.title, detail=str(self), retry_after_s=self.retry_after_s
        )


def _check_body(error: type[ServiceError]) -> None:
    """Refuse a name that is misspelt, and a value of another type."""
    for name, value in vars(error).items():
        is_its_own = name.startswith("_") or callable(value) or hasattr(value, "__get__")
        if name not in _SETTABLE and not is_its_own:
            raise TypeError(
                f"{error.__name__}: unknown attribute {name!r}; known are {', '.join(_SETTABLE)}"
            )
    for name in ("is_retryable", "may_have_happened"):
        if not isinstance(value := getattr(error, name), bool):
            raise TypeError(f"{error.__name__}: {name}={value!r} must be True or False")
    pause_s: object = error.retry_after_s
    if pause_s is None:
        return
    if not isinstance(pause_s, int) or isinstance(pause_s, bool) or pause_s < 1:
        raise TypeError(
            f"{error.__name__}: retry_after_s={pause_s!r} is not a positive whole number of seconds"
        )
    if not error.is_retryable:
        raise TypeError(f"{error.__name__}: what has a retry_after_s is_retryable = True")


def _check(error: type[ServiceError]) -> None:
    code, title = vars(error).get("code"), getattr(error, "title", None)
    if code is None or title is None:
        raise TypeError(
            f"{error.__name__}: an error needs a code of its own and a title, or abstract=True"
        )
    if not (isinstance(code, str) and _CODE.fullmatch(code)):
        raise TypeError(f"{error.__name__}: code={code!r} is not of the form 'product_not_found'")
    if not (isinstance(title, str) and title):
        raise TypeError(f"{error.__name__}: title={title!r} is not a sentence")


def _path(error: type[ServiceError]) -> str:
    return f"{error.__module__}.{error.__qualname__}"


class InvalidRequest(ServiceError):
    """The body breaks its contract, or a sealed field cannot be opened."""

    code = "invalid_request"
    title = "The request is not valid"


class InvalidCredentials(ServiceError):
    """There is no such user, or it is not the password."""

    code = "invalid_credentials"
    title = "Wrong user name or password"


class InvalidRefreshToken(ServiceError):
    """The refresh token is not one of ours, has expired, or has been used before."""

    code = "invalid_refresh_token"
    title = "The refresh token is not valid"


class TooManyAttempts(ServiceError):
    """This user, or this address, has failed to sign in too often."""

    code = "too_many_attempts"
    title = "Too many failed attempts to sign in"
    is_retryable = True


class NotAuthenticated(ServiceError):
    """The user's token is missing or not valid, or its user is no more."""

    code = "not_authenticated"
    title = "A valid token is needed"


class NotAuthorised(ServiceError):
    """The user's token does not hold the method's scope, or the caller may not call the method."""

    code = "not_authorised"
    title = "The token does not allow this"


class SessionNotFound(ServiceError):
    """The user has no session with this id."""

    code = "session_not_found"
    title = "No such session"


class ProductNotFound(ServiceError):
    """There is no product with this id."""

    code = "product_not_found"
    title = "No such product"


class SyncNotFound(ServiceError):
    """There is no sync with this id."""

    code = "sync_not_found"
    title = "No such sync"


class UpstreamFailed(ServiceError):
    """The product API is broken, too slow, or answers nonsense."""

    code = "upstream_failed"
    title = "The product source failed"
    is_retryable = True


class UpstreamBusy(ServiceError):
    """The product API asks us to slow down."""

    code = "upstream_busy"
    title = "The product source is busy"
    is_retryable = True
    retry_after_s = 10


class Unavailable(ServiceError):
    """The broker is away, no worker listens, or the service's database cannot do it now."""

    code = "unavailable"
    title = "The service is away"
    is_retryable = True
    retry_after_s = 1


class Overloaded(ServiceError):
    """The service's queue is full, or too many requests wait already."""

    code = "overloaded"
    title = "Too many requests are waiting"
    is_retryable = True
    retry_after_s = 1


class ReplyTimeout(ServiceError):
    """No reply came before the deadline."""

    code = "reply_timeout"
    title = "No reply before the deadline"
    is_retryable = True
    may_have_happened = True


class OutcomeUnknown(ServiceError):
    """The connection was lost while the call was under way, or the database during a commit."""

    code = "outcome_unknown"
    title = "The connection was lost while the request was under way"
    is_retryable = True
    may_have_happened = True
    retry_after_s = 1


class InternalError(ServiceError):
    """A bug in the service, which keeps the request for its owners."""

    code = "internal"
    title = "Something went wrong on our side"
    may_have_happened = True


class PeerError(ServiceError):
    """The reply breaks its contract, or is an error that the caller does not know."""

    code = "peer_error"
    title = "The service answered with an error"
    may_have_happened = True


def from_problem(problem: Problem) -> ServiceError:
    """Build the exception that a problem object stands for."""
    error_class = ERRORS.get(problem.code, PeerError)
    error = error_class.__new__(error_class)
    ServiceError.__init__(error, problem.detail, retry_after_s=problem.retry_after_s)
    return error


def explain(error: ValidationError, *, whole: str = "body") -> str:
    """Say what is wrong with a body, or another ``whole``, without quoting its values."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or whole}: "
        + item["msg"].removeprefix("Value error, ")  # pydantic's, before our own words
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    )

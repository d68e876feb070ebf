"""What a contract is: a class that names what is asked, told or to be done, and what goes with it.

A definition that is wrong is a ``TypeError`` at import, which names the class and the mistake.
"""

import re
from collections.abc import Callable
from math import inf
from typing import Any, ClassVar, Generic, TypeVar

from postroad.contracts.errors import ServiceError
from postroad.contracts.message import Message
from postroad.limits import LONGEST_DEADLINE_S, RETRY_DELAYS_S

__all__ = ["Event", "Job", "Message", "ReplyT", "Request"]

ReplyT = TypeVar("ReplyT", bound=Message)
ReplyT_co = TypeVar("ReplyT_co", bound=Message, covariant=True)


class Request(Message, Generic[ReplyT_co]):
    """A question to one service, answered by one ``ReplyT_co``.

    A contract is a subclass that passes these class arguments:

    - ``method``: ``<service>.<noun>.<verb>``; also the routing key on the ``rpc`` exchange.
    - ``scope``: what the user's token must hold when the caller acts for a user.
    - ``needs_user``: it is about the user, so that every caller gives the user's token.
    - ``timeout_s``: the deadline of a call that names none, in seconds.
    - ``idempotent``: a second delivery changes nothing, so an unknown outcome may be retried.
    - ``errors``: what its service may answer instead, besides what any service may.

    A base of several contracts passes ``abstract=True`` and no ``method``; they inherit the rest.
    """

    method: ClassVar[str]
    scope: ClassVar[str | None] = None
    needs_user: ClassVar[bool] = False
    timeout_s: ClassVar[float] = 5.0
    idempotent: ClassVar[bool] = True
    errors: ClassVar[tuple[type[ServiceError], ...]] = ()
    reply: ClassVar[type[Message]]
    service: ClassVar[str]  # that answers: the first word of the method

    def __init_subclass__(cls, **_arguments: object) -> None:
        """Leave the class arguments to ``__pydantic_init_subclass__``, which knows the fields."""
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(cls, *, abstract: bool = False, **arguments: object) -> None:
        super().__pydantic_init_subclass__()
        if cls.__pydantic_generic_metadata__["origin"] is not None:
            return  # ``Request[Reply]`` itself: a step on the way to a contract
        _declare(cls, "method", arguments, is_abstract=abstract)
        if cls.timeout_s > LONGEST_DEADLINE_S:
            raise TypeError(
                f"{cls.__name__}: timeout_s must be at most {LONGEST_DEADLINE_S:g}, "
                f"not {cls.timeout_s!r}"
            )
        if not abstract:
            cls.reply = _reply_type(cls)


class Event(Message):
    """Something that has happened, told to whoever listens.

    A subclass passes ``name`` as a class argument: ``<service>.<noun>.<past tense>``; also the
    routing key on the ``events`` exchange. An event may come twice: its message id tells.
    """

    name: ClassVar[str]
    service: ClassVar[str]  # that tells it: the first word of the name

    def __init_subclass__(cls, **_arguments: object) -> None:
        """Leave the class arguments to ``__pydantic_init_subclass__``, which knows the fields."""
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(cls, *, abstract: bool = False, **arguments: object) -> None:
        super().__pydantic_init_subclass__()
        _declare(cls, "name", arguments, is_abstract=abstract)


class Job(Message):
    """Something to be done later, by one service, with no answer.

    A subclass passes these class arguments:

    - ``name``: ``<service>.<noun>.<verb>``; also the routing key on the ``work`` exchange.
    - ``timeout_s``: how long one attempt may take, in seconds.
    - ``retry_delays_s``: how long to wait before the 2nd attempt, the 3rd, and so on, in seconds,
      each of them 1, 10, 60 or 600; after the last attempt the job is a dead letter. ``()``: one
      attempt.
    - ``not_retried``: errors of the handler after which it is a dead letter at once.

    A job may come twice: whoever does it makes sure that the second time changes nothing.
    """

    name: ClassVar[str]
    timeout_s: ClassVar[float] = 30.0
    retry_delays_s: ClassVar[tuple[int, ...]] = RETRY_DELAYS_S
    not_retried: ClassVar[tuple[type[ServiceError], ...]] = ()
    service: ClassVar[str]  # that does it: the first word of the name

    def __init_subclass__(cls, **_arguments: object) -> None:
        """Leave the class arguments to ``__pydantic_init_subclass__``, which knows the fields."""
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(cls, *, abstract: bool = False, **arguments: object) -> None:
        super().__pydantic_init_subclass__()
        _declare(cls, "name", arguments, is_abstract=abstract)


def _declare(
    contract: type[Request[Any] | Event | Job],
    identifier: str,
    arguments: dict[str, object],
    *,
    is_abstract: bool,
) -> None:
    """Set a contract's class arguments, once they are found right."""
    known = [name for name in _ARGUMENTS if name in contract.__class_vars__]
    if misplaced := vars(contract).keys() & {*known, *_DERIVED}:
        raise TypeError(
            f"{contract.__name__}: {min(misplaced)} does not go into the body; class arguments are "
            f"{', '.join(known)} and abstract"
        )
    if not _is_flag(is_abstract):
        raise TypeError(f"{contract.__name__}: abstract must be True or False, not {is_abstract!r}")
    for name, value in arguments.items():
        if name not in known:
            raise TypeError(
                f"{contract.__name__}: unknown class argument {name!r}; known are "
                f"{', '.join(known)} and abstract"
            )
        is_right, what = _ARGUMENTS[name]
        if not is_right(value):
            if issubclass(contract, Event):
                what = what.replace("<verb>", "<past tense>")
            raise TypeError(f"{contract.__name__}: {name} must be {what}, not {value!r}")
        setattr(contract, name, value)
    if is_abstract == (identifier in arguments):
        raise TypeError(
            f"{contract.__name__}: pass either {identifier}=... or, to a base of several "
            "contracts, abstract=True"
        )
    if not is_abstract:
        contract.service = str(arguments[identifier]).partition(".")[0]
    if hidden := contract.model_fields.keys() & (contract.__class_vars__ | {"as_json"}):
        raise TypeError(
            f"{contract.__name__}: a field may not be called {min(hidden)}, which has a meaning "
            "for every contract"
        )


def _reply_type(contract: type[Request[Any]]) -> type[Message]:
    for base in contract.__mro__:
        for reply in getattr(base, "__pydantic_generic_metadata__", {}).get("args", ()):
            if isinstance(reply, type) and issubclass(reply, Message):
                if "as_json" in reply.model_fields:
                    raise TypeError(f"{contract.__name__}: a reply may not have a field as_json")
                return reply
            raise TypeError(f"{contract.__name__}: the reply must be a Message, not {reply!r}")
    raise TypeError(f"{contract.__name__}: write Request[ItsReply], to name its reply")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(
        re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){2}", value)
    )


def _is_scope(value: object) -> bool:  # one, as of RFC 6749 section 3.3
    return value is None or (isinstance(value, str) and bool(re.fullmatch(r"[!#-\[\]-~]+", value)))


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not _is_flag(value) and 0 < value < inf


def _are_errors(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(each, type) and issubclass(each, ServiceError) and hasattr(each, "code")
        for each in value
    )


def _are_delays(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) <= _RETRIES_MAX
        and all(not _is_flag(each) and each in RETRY_DELAYS_S for each in value)
    )


_RETRIES_MAX = 20
_DERIVED = ("reply", "service")  # from Request[ItsReply], and from the name
_ARGUMENTS: dict[str, tuple[Callable[[object], bool], str]] = {
    "method": (_is_name, "<service>.<noun>.<verb> in lower case"),
    "name": (_is_name, "<service>.<noun>.<verb> in lower case"),
    "scope": (_is_scope, "one scope, such as 'catalog:read', or None"),
    "needs_user": (_is_flag, "True or False"),
    "timeout_s": (_is_time, "a positive number"),
    "idempotent": (_is_flag, "True or False"),
    "retry_delays_s": (
        _are_delays,
        f"a tuple of at most {_RETRIES_MAX} delays of {', '.join(map(str, RETRY_DELAYS_S))}",
    ),
    "not_retried": (
        _are_errors,
        "a tuple of error classes with a code, such as (ProductNotFound,)",
    ),
    "errors": (_are_errors, "a tuple of error classes with a code, such as (ProductNotFound,)"),
}

"""What a contract is: a request class that names its method, its reply and who may send it."""

from typing import Any, ClassVar, Generic, TypeVar, cast

from pydantic import BaseModel

from postroad.contracts.errors import ServiceError
from postroad.contracts.message import Message

__all__ = ["Event", "Job", "Message", "ReplyT", "Request"]

ReplyT = TypeVar("ReplyT", bound=Message)


class Request(Message, Generic[ReplyT]):
    """A question to one service, answered by one ``ReplyT``.

    A contract is a subclass that passes these class arguments:

    - ``method``: ``<service>.<noun>.<verb>``; also the routing key on the ``rpc`` exchange.
    - ``scope``: what the user's token must hold when the caller acts for a user.
    - ``needs_user``: it is about the user, so that every caller gives the user's token.
    - ``timeout_s``: the deadline of a call that names none, in seconds.
    - ``idempotent``: a second delivery changes nothing, so an unknown outcome may be retried.
    - ``errors``: what its service may answer instead, besides what any service may.
    """

    method: ClassVar[str]
    scope: ClassVar[str | None]
    needs_user: ClassVar[bool]
    timeout_s: ClassVar[float]
    idempotent: ClassVar[bool]
    errors: ClassVar[tuple[type[ServiceError], ...]]
    reply: ClassVar[type[Message]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Accept the class arguments that ``__pydantic_init_subclass__`` uses."""

    @classmethod
    def __pydantic_init_subclass__(
        cls,
        *,
        method: str = "",
        scope: str | None = None,
        needs_user: bool = False,
        timeout_s: float = 5.0,
        idempotent: bool = True,
        errors: tuple[type[ServiceError], ...] = (),
        **kwargs: Any,
    ) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not method:  # ``Request[Reply]`` itself: a step on the way to a contract
            return
        cls.method = method
        cls.scope = scope
        cls.needs_user = needs_user
        cls.timeout_s = timeout_s
        cls.idempotent = idempotent
        cls.errors = errors
        cls.reply = _reply_type(cls)

    @classmethod
    def service(cls) -> str:
        """Name the service that answers: the first word of the method."""
        return cls.method.partition(".")[0]


def _reply_type(contract: type[BaseModel]) -> type[Message]:
    for base in contract.__mro__:
        arguments = getattr(base, "__pydantic_generic_metadata__", {}).get("args", ())
        if arguments:
            return cast(type[Message], arguments[0])
    raise TypeError(f"{contract.__name__} names no reply: write Request[ItsReply]")


class Event(Message):
    """Something that has happened, told to whoever listens.

    A subclass passes ``name`` as a class argument: ``<service>.<noun>.<past tense>``; also the
    routing key on the ``events`` exchange. An event may come twice: ``event_id`` tells.
    """

    name: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Accept the class argument that ``__pydantic_init_subclass__`` uses."""

    @classmethod
    def __pydantic_init_subclass__(cls, *, name: str = "", **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.name = name


class Job(Message):
    """Something to be done later, by one service, with no answer.

    A subclass passes these class arguments:

    - ``name``: ``<service>.<noun>.<verb>``; also the routing key on the ``work`` exchange.
    - ``timeout_s``: how long one attempt may take, in seconds.

    A job may come twice: whoever does it makes sure that the second time changes nothing.
    """

    name: ClassVar[str]
    timeout_s: ClassVar[float]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Accept the class arguments that ``__pydantic_init_subclass__`` uses."""

    @classmethod
    def __pydantic_init_subclass__(
        cls, *, name: str = "", timeout_s: float = 30.0, **kwargs: Any
    ) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.name = name
        cls.timeout_s = timeout_s

    @classmethod
    def service(cls) -> str:
        """Name the service that does it: the first word of the name."""
        return cls.name.partition(".")[0]

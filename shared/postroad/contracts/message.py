"""What is on the wire: a body, which is JSON validated once, and what a reply says beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict

T_co = TypeVar("T_co", covariant=True)


class Message(BaseModel):
    """A body on the wire: JSON, validated once at the border, unchanged afterwards.

    Unknown fields are ignored, so that a peer may add one before we know it. Numbers are finite, as
    all that JSON can say.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

    @cached_property
    def as_json(self) -> bytes:
        """The body as JSON, written once: an answer from a cache is given many times."""
        return self.__pydantic_serializer__.to_json(self)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Do as pydantic does, but for what was written of the original."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("as_json", None)
        return copied


@dataclass(frozen=True, slots=True)
class Dated(Generic[T_co]):
    """A handler's result whose data may be old.

    ``as_of``: since when it is known, in seconds since 1970. ``is_stale``: it is older than it
    should be, because its source cannot be asked.
    """

    value: T_co
    as_of: float
    is_stale: bool = False


@dataclass(frozen=True, slots=True)
class CallTiming:
    """The times of a request and its reply; the parts but ``upstream_s`` add up to the whole."""

    queue_s: float  # from being published until the worker took it
    worker_s: float  # from then until it published the reply
    reply_s: float  # the way back
    upstream_s: float | None  # of the worker's time; none when it asked no upstream

"""What is on the wire: a body, which is JSON validated once, and what a reply says beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict

T_co = TypeVar("T_co", covariant=True)

_US = 1_000_000


class Message(BaseModel):
    """A body on the wire: JSON, validated once at the border, unchanged afterwards.

    Unknown fields are ignored, so that a peer may add one before we know it. Numbers are finite, as
    all that JSON can say.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

    def to_json(self) -> bytes:
        """Write it as JSON, once: an answer from a cache is given many times."""
        return self._json

    @cached_property
    def _json(self) -> bytes:
        return self.__pydantic_serializer__.to_json(self)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Do as pydantic does, but for what was written of the original."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("_json", None)
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

    @classmethod
    def of(cls, whole_s: float, times_us: Sequence[int]) -> "CallTiming":
        """Read a worker's times (the claim ``tms``), of a call that took ``whole_s`` by our clock.

        Only the wait in the queue is measured with two machines' clocks. When they differ it may
        be too long or too short, and the way back the other way round; none of it is negative,
        nor more than the whole.
        """
        queue_us, worker_us, *upstream_us = times_us
        worker_s = min(worker_us / _US, whole_s)
        queue_s = min(queue_us / _US, whole_s - worker_s)
        upstream_s = min(upstream_us[0] / _US, worker_s) if upstream_us else None
        return cls(queue_s, worker_s, whole_s - worker_s - queue_s, upstream_s)

    @property
    def whole_s(self) -> float:
        return self.queue_s + self.worker_s + self.reply_s

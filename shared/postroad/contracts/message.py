"""What every body on the wire is: JSON, validated once."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


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

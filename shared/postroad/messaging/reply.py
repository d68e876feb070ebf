"""What a call returns."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import ValidationError

from postroad.contracts.base import Message
from postroad.contracts.errors import PeerError
from postroad.contracts.message import CallTiming

MessageT_co = TypeVar("MessageT_co", bound=Message, covariant=True)


@dataclass(frozen=True, slots=True)
class Reply(Generic[MessageT_co]):
    """A reply as it came: its JSON, how old its data is, and where the call's time went."""

    model: type[MessageT_co]
    body: bytes
    as_of: float | None = None  # since when its data is known, in seconds since 1970
    is_stale: bool = False
    timing: CallTiming | None = None  # none where the worker does not say

    def parse(self) -> MessageT_co:
        """Return the reply's message.

        Raises:
            PeerError: it breaks its contract.
        """
        try:
            return self.model.model_validate_json(self.body)
        except ValidationError as error:
            broken = PeerError("the service answered what breaks its contract")
            broken.timing = self.timing
            raise broken from error

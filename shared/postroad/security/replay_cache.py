"""Which messages a worker has seen, so that a copy of one is refused."""

from collections import OrderedDict
from time import time


class ReplayStore:
    """Remembers message ids until their deadline has passed; then the deadline refuses a copy.

    It belongs to one process. A copy sent to another replica passes here, but only the signer's
    own broker user can send it at all (``user_id``), and handlers are idempotent
    (docs/decisions/0004-replay-store.md).
    """

    def __init__(self, *, max_entries: int = 200_000, leeway_s: float) -> None:
        self._seen: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._max_entries = max_entries
        self._leeway_s = leeway_s

    def is_new(self, issuer: str, message_id: str, deadline: float) -> bool:
        """Remember a message; false when it had been seen before."""
        self._forget()
        if (issuer, message_id) in self._seen:
            return False
        self._seen[issuer, message_id] = deadline + self._leeway_s
        return True

    def _forget(self) -> None:
        """Drop the oldest entries that are past their time, or over the bound."""
        now = time()
        while self._seen:
            oldest = next(iter(self._seen))
            if self._seen[oldest] > now and len(self._seen) < self._max_entries:
                break
            del self._seen[oldest]

    def __len__(self) -> int:
        return len(self._seen)

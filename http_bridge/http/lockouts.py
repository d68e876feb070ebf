"""Sign-ins that the auth service refuses for a while: repeats are answered here meanwhile."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from math import ceil
from time import monotonic

from postroad.contracts.errors import TooManyAttempts

KEPT_MAX = 10_000


class Lockouts:
    """Remembers who was refused, until when; the oldest are forgotten first."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._until: OrderedDict[Hashable, float] = OrderedDict()

    def check(self, who: Hashable) -> None:
        """Refuse whoever is to wait still.

        Raises:
            TooManyAttempts: the auth service has refused the same, and its time is not over.
        """
        left_s = self._until.get(who, 0.0) - self._clock()
        if left_s > 0:
            raise TooManyAttempts(retry_after_s=ceil(left_s))
        self._until.pop(who, None)

    def add(self, who: Hashable, refusal: TooManyAttempts) -> None:
        """Note a refusal."""
        self._until[who] = self._clock() + (refusal.retry_after_s or 0)
        if len(self._until) > KEPT_MAX:
            self._until.popitem(last=False)

"""What goes over one process's connections to the broker, counted."""

from collections import Counter
from collections.abc import Callable

from postroad.broker.interfaces import ConnectionState


class Traffic:
    """Counts, for whoever wants to show them; a role is what a connection is for."""

    def __init__(self) -> None:
        self.states: dict[str, Callable[[], ConnectionState]] = {}  # by role
        self.opened: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.published: Counter[str] = Counter()  # by outcome
        self.unconfirmed: list[Callable[[], int]] = []

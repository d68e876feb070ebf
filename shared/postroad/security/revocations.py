"""Which sessions have been ended though their access tokens say otherwise."""

from time import time


class Revocations:
    """Remembers ended sessions until the last of their access tokens expires."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def add(self, session_id: str, until: float) -> None:
        """Note that a session has ended; ``until`` is in seconds since 1970."""
        now = time()
        for expired in [known for known, end in self._until.items() if end <= now]:
            del self._until[expired]
        if until > now:
            self._until[session_id] = until

    def is_revoked(self, session_id: str) -> bool:
        """Say whether a session has ended."""
        return session_id in self._until

    def __len__(self) -> int:
        return len(self._until)

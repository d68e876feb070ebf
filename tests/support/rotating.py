"""Services whose keys rotate, at a time that the test sets."""

from dataclasses import dataclass

import pytest

from postroad.security import key_watch, keys, rotation
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, TrustBundle
from postroad.security.rotation import rotate, trust_rotated
from tests.support.auth import Clock


def set_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let everything that looks at keys see a clock that stands still."""
    clock = Clock()
    for module in (key_watch, keys, rotation):
        monkeypatch.setattr(module, "time", clock)
    return clock


@dataclass
class Files:
    """What is in the files of all services; who has read them when is the test's to say."""

    identities: dict[str, Identity]
    trust: TrustBundle

    def rotate(self, service: str) -> None:
        """Give a service new keys, as `postroad keys rotate` does."""
        self.identities[service] = rotate(self.identities[service])
        self.trust = trust_rotated(self.trust, self.identities[service])

    def read(self, service: str) -> KeyRing:
        return KeyRing(self.identities[service], self.trust)

"""The keys that one service signs and verifies with, renewed while it runs."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from time import time

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from postroad.logger import get_logger
from postroad.security.keys import (
    Identity,
    KeyFileError,
    PrivateKey,
    PublicKey,
    Purpose,
    TrustBundle,
    UnknownKey,
    find_key,
)

log = get_logger(__name__)

WATCH_INTERVAL_S = 1.0


@dataclass
class KeyRing:
    """One service's keys and its trust in others; what it derives from them, it derives once.

    ``generation`` grows with each renewal, for those who keep something made of the keys.
    """

    identity: Identity
    trust: TrustBundle
    generation: int = 0
    _sending: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    # by issuer and key id; ``receiving_key`` derives what is missing
    receiving_keys: dict[tuple[str, str], bytes] = field(default_factory=dict)
    _granted: set[str] = field(default_factory=set)

    @classmethod
    def load(cls, identity_file: Path, trust_file: Path) -> "KeyRing":
        """Read a service's files.

        Raises:
            KeyFileError: one of them is missing or broken.
        """
        return cls(Identity.load(identity_file), TrustBundle.load(trust_file))

    def __post_init__(self) -> None:
        self.service = self.identity.service

    def renew(self, identity: Identity, trust: TrustBundle) -> None:
        """Go over to other keys, or to what is in use of the same ones by now."""
        self.identity, self.trust = identity, trust
        self.generation += 1
        self._sending.clear()
        self.receiving_keys.clear()
        self._granted.clear()

    def may_call(self, method: str) -> bool:
        """Say whether the service whose keys these are may call a method, as the bundle has it."""
        if method not in self._granted:
            own = self.trust.services.get(self.service)
            if own is None or not own.may_call(method):
                return False
            self._granted.add(method)
        return True

    def sending_key(self, audience: str) -> tuple[str, bytes]:
        """Give the id and the HS256 key for messages to one service.

        Raises:
            UnknownKey: there is no such service.
        """
        if audience not in self._sending:
            if audience not in self.trust.services:
                raise UnknownKey(f"no service {audience}")
            own = self.identity.key("agreement")
            peer = self.trust.services[audience].key("agreement")
            self._sending[audience] = (
                f"{own.kid}.{peer.kid}",
                _pairwise(own, peer, sender=own.kid, receiver=peer.kid),
            )
        return self._sending[audience]

    def receiving_key(self, issuer: str, kid: str) -> bytes:
        """Derive the HS256 key with which ``issuer`` signed a message to us, and keep it.

        Raises:
            UnknownKey: the key id is not one of the issuer's and one of ours.
        """
        sender_kid, _, receiver_kid = kid.partition(".")
        own = find_key(self.identity.keys, receiver_kid, "agreement")
        peer = self._peer_key(issuer, sender_kid, "agreement")
        key = _pairwise(own, peer, sender=sender_kid, receiver=receiver_kid)
        self.receiving_keys[issuer, kid] = key
        return key

    def verify_lasting(self, issuer: str, kid: str, message: bytes, signature: bytes) -> bool:
        """Say whether ``issuer`` signed this with its Ed25519 key ``kid``.

        Raises:
            UnknownKey: the key id is not one of the issuer's.
        """
        try:
            self._peer_key(issuer, kid, "events").verifier().verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def _peer_key(self, service: str, kid: str, purpose: Purpose) -> PublicKey:
        trusted = self.trust.services.get(service)
        return find_key(trusted.keys if trusted else (), kid, purpose)


def _pairwise(own: PrivateKey, peer: PublicKey, *, sender: str, receiver: str) -> bytes:
    """Derive the key from one service to another: HKDF-SHA256 (RFC 5869) over X25519 (RFC 7748).

    Each direction has a key of its own, so that a message cannot be sent back to its sender.
    """
    agreed = own.agreement_private().exchange(peer.agreement())
    info = f"postroad/1 HS256 {sender} {receiver}".encode()
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(agreed)


async def watch_key_files(keys: KeyRing, identity_file: Path, trust_file: Path) -> None:
    """Renew the keys whenever their files change, or a key in them begins or ends its use."""
    seen: list[int] = []  # they may have changed since they were read
    boundary = _next_boundary(keys)
    while True:
        await asyncio.sleep(WATCH_INTERVAL_S)
        found = _versions(identity_file, trust_file)
        if found == seen and time() < boundary:
            continue
        try:
            keys.renew(Identity.load(identity_file), TrustBundle.load(trust_file))
        except KeyFileError as error:
            log.error("keys not renewed", reason=str(error))
            keys.renew(keys.identity, keys.trust)  # others of them may be in use by now
        else:
            log.info("keys renewed", generation=keys.generation)
        seen, boundary = found, _next_boundary(keys)


def _versions(*files: Path) -> list[int]:
    return [file.stat().st_mtime_ns if file.exists() else 0 for file in files]


def _next_boundary(keys: KeyRing) -> float:
    """Find when the next key comes into use, or retires."""
    now = time()
    known: list[PublicKey] = [*keys.identity.keys]
    for service in keys.trust.services.values():
        known += service.keys
    moments = [key.active_from for key in known] + [key.retires_at or now for key in known]
    return min((moment for moment in moments if moment > now), default=float("inf"))

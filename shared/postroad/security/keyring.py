"""The keys that one service signs and verifies with, renewed while it runs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from postroad.security.keys import (
    Identity,
    PrivateKey,
    PublicKey,
    Purpose,
    TrustBundle,
    UnknownKey,
    find_key,
)

RIGHTS_REMEMBERED_MAX = 1_000  # a right to a prefix covers names without end


@dataclass
class KeyRing:
    """One service's keys and its trust in others; what it derives from them, it derives once.

    ``generation`` grows with each renewal, for those who keep something made of the keys; what is
    in ``on_renewal`` is called after it.
    """

    identity: Identity
    trust: TrustBundle
    generation: int = 0
    on_renewal: list[Callable[[], None]] = field(default_factory=list)
    _sending: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    # by issuer and key id; ``receiving_key`` derives what is missing
    receiving_keys: dict[tuple[str, str], bytes] = field(default_factory=dict)
    # who may send which type and name; ``may_send`` looks up what is missing
    granted: set[tuple[str, str, str]] = field(default_factory=set)

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
        self.granted.clear()
        for hear in self.on_renewal:
            hear()

    def may_send(self, service: str, typ: str, name: str) -> bool:
        """Look up whether a service may send a request, an event or a job, and keep it if so."""
        trusted = self.trust.services.get(service)
        if trusted is None or not trusted.may_send(typ, name):
            return False
        if len(self.granted) < RIGHTS_REMEMBERED_MAX:
            self.granted.add((service, typ, name))
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
        peer = self.peer_key(issuer, sender_kid, "agreement")
        key = _pairwise(own, peer, sender=sender_kid, receiver=receiver_kid)
        self.receiving_keys[issuer, kid] = key
        return key

    def peer_key(self, service: str, kid: str, purpose: Purpose) -> PublicKey:
        """Find a key of another service by its id.

        Raises:
            UnknownKey: there is none of that id and purpose, or it is accepted no more.
        """
        trusted = self.trust.services.get(service)
        return find_key(trusted.keys if trusted else (), kid, purpose)


def _pairwise(own: PrivateKey, peer: PublicKey, *, sender: str, receiver: str) -> bytes:
    """Derive the key from one service to another: HKDF-SHA256 (RFC 5869) over X25519 (RFC 7748).

    Each direction has a key of its own, so that a message cannot be sent back to its sender.
    """
    agreed = own.agreement_private().exchange(peer.agreement())
    info = f"postroad/1 HS256 {sender} {receiver}".encode()
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(agreed)

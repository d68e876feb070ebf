"""A service's keys, and the trust bundle: everybody's public keys and rights.

Keys are JWKs (RFC 8037) in JSON files. A service has one key for each purpose:

- ``agreement``: X25519, for the key shared by two services;
- ``sealing``: X25519, to which others seal what only this service may read;
- ``events``: Ed25519, for events, which have many readers, and jobs, which may wait for long;
- ``tokens``: Ed25519, for user access tokens, trusted of a service with ``issues_tokens`` only.

While a key is being replaced there are two: the new one is known to all before it is used, the
old one is accepted for a while after (``postroad.security.rotation``).
"""

import base64
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from time import time
from typing import Literal, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from postroad.security.files import write_private

KeyT = TypeVar("KeyT", bound="PublicKey")
Purpose = Literal["agreement", "sealing", "events", "tokens"]
PURPOSES: tuple[Purpose, ...] = ("agreement", "sealing", "events", "tokens")


class KeyFileError(Exception):
    """A key file is missing or broken; the message names the file."""


class UnknownKey(Exception):
    """No such key is trusted for what it was used for."""


class PublicKey(BaseModel):
    """A public JWK (RFC 7517, RFC 8037); ``x`` is the raw key in base64url.

    It is put to use at ``active_from`` and accepted until ``retires_at``, seconds since 1970.
    """

    model_config = ConfigDict(frozen=True)

    kty: Literal["OKP"] = "OKP"
    crv: Literal["X25519", "Ed25519"]
    kid: str
    purpose: Purpose
    x: str
    active_from: float = 0.0
    retires_at: float | None = None

    def is_accepted(self, now: float) -> bool:
        """Say whether what was made with this key is still good."""
        return self.retires_at is None or now < self.retires_at

    def agreement(self) -> X25519PublicKey:
        """Give the key as one to agree with or seal to."""
        return X25519PublicKey.from_public_bytes(unpadded_b64decode(self.x))

    def verifier(self) -> Ed25519PublicKey:
        """Give the key as one that verifies signatures."""
        return Ed25519PublicKey.from_public_bytes(unpadded_b64decode(self.x))


class PrivateKey(PublicKey):
    """A private JWK; ``d`` is the raw private key in base64url."""

    d: SecretStr

    @classmethod
    def create(cls, service: str, purpose: Purpose, *, active_from: float = 0.0) -> Self:
        """Make a new key, named by its service, purpose and thumbprint (RFC 7638)."""
        curve: Literal["X25519", "Ed25519"]
        private: X25519PrivateKey | Ed25519PrivateKey
        if purpose in ("agreement", "sealing"):
            curve, private = "X25519", X25519PrivateKey.generate()
        else:
            curve, private = "Ed25519", Ed25519PrivateKey.generate()
        x = unpadded_b64encode(private.public_key().public_bytes_raw())
        canonical = json.dumps({"crv": curve, "kty": "OKP", "x": x}, separators=(",", ":"))
        thumbprint = hashlib.sha256(canonical.encode()).hexdigest()[:12]
        return cls(
            crv=curve,
            kid=f"{service}-{purpose}-{thumbprint}",
            purpose=purpose,
            x=x,
            active_from=active_from,
            d=SecretStr(unpadded_b64encode(private.private_bytes_raw())),
        )

    def agreement_private(self) -> X25519PrivateKey:
        """Give the private half as one to agree or unseal with."""
        return X25519PrivateKey.from_private_bytes(unpadded_b64decode(self.d.get_secret_value()))

    def signer(self) -> Ed25519PrivateKey:
        """Give the private half as one that signs."""
        return Ed25519PrivateKey.from_private_bytes(unpadded_b64decode(self.d.get_secret_value()))

    def public(self) -> PublicKey:
        """Leave the private half out."""
        return PublicKey.model_validate(self.model_dump(exclude={"d"}))


class Identity(BaseModel):
    """A service's private keys, newest first; the newest active one of a purpose is in use."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    service: str
    keys: tuple[PrivateKey, ...]

    @classmethod
    def create(cls, service: str) -> Self:
        """Make a new key for each purpose."""
        keys = tuple(PrivateKey.create(service, purpose) for purpose in PURPOSES)
        return cls(service=service, keys=keys)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an identity file.

        Raises:
            KeyFileError: it is missing, or not an identity.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise KeyFileError(f"cannot read the identity {path}: {error.strerror}") from error
        except ValidationError as error:
            raise KeyFileError(f"{path} is not an identity file") from error

    def save(self, path: Path) -> None:
        """Write the identity for its owner's eyes alone (mode 0600), whole or not at all."""
        write_private(path, self.to_json())

    def to_json(self) -> str:
        """Return the identity as JSON, private keys included."""
        keys = [key.public().model_dump() | {"d": key.d.get_secret_value()} for key in self.keys]
        return json.dumps({"service": self.service, "keys": keys}, indent=1)

    def key(self, purpose: Purpose) -> PrivateKey:
        """Give the key in use for a purpose."""
        return in_use(self.keys, purpose)

    def accepted(self, purpose: Purpose) -> list[PrivateKey]:
        """Give the keys of a purpose with which something may still have been made."""
        now = time()
        return [key for key in self.keys if key.purpose == purpose and key.is_accepted(now)]

    def public(self) -> dict[str, object]:
        """Give what others may know: the service's name and public keys."""
        return {"service": self.service, "keys": [key.public().model_dump() for key in self.keys]}


class TrustedService(BaseModel):
    """What everybody knows of a service: its public keys, newest first, and its rights."""

    model_config = ConfigDict(frozen=True)

    keys: tuple[PublicKey, ...]
    calls: tuple[str, ...] = ()
    publishes: tuple[str, ...] = ()
    enqueues: tuple[str, ...] = ()
    listens: tuple[str, ...] = ()
    acts_for_users: bool = False
    issues_tokens: bool = False
    redrives: bool = False

    def may_call(self, method: str) -> bool:
        """Say whether this service may call a method, by whole name or by prefix ``name.*``."""
        return is_covered(method, self.calls)

    def may_hear(self, event: str) -> bool:
        """Say whether this service may listen to an event while it runs."""
        return is_covered(event, self.listens)

    def may_send(self, typ: str, name: str) -> bool:
        """Say whether this service may send a request, an event or a job (the claim ``typ``)."""
        rights = {"request": self.calls, "event": self.publishes, "job": self.enqueues}
        return is_covered(name, rights.get(typ, ()))

    def key(self, purpose: Purpose) -> PublicKey:
        """Give the key to use with this service for a purpose."""
        return in_use(self.keys, purpose)


class TrustBundle(BaseModel):
    """All services, by name."""

    model_config = ConfigDict(frozen=True)

    services: dict[str, TrustedService]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a trust bundle.

        Raises:
            KeyFileError: it is missing, or not a trust bundle.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise KeyFileError(f"cannot read the trust bundle {path}: {error.strerror}") from error
        except ValidationError as error:
            raise KeyFileError(f"{path} is not a trust bundle") from error

    def token_keys(self) -> dict[str, PublicKey]:
        """Give the keys that may sign user access tokens, by key id."""
        return {
            key.kid: key
            for service in self.services.values()
            if service.issues_tokens
            for key in service.keys
            if key.purpose == "tokens" and key.is_accepted(time())
        }


def in_use(keys: Iterable[KeyT], purpose: Purpose) -> KeyT:
    """Give the newest key of a purpose that is active already."""
    now = time()
    return next(key for key in keys if key.purpose == purpose and key.active_from <= now)


def find_key(keys: Iterable[KeyT], kid: str, purpose: Purpose) -> KeyT:
    """Find a key by its id, to check or open what was made with it.

    Raises:
        UnknownKey: there is none of that id and purpose, or it is accepted no more.
    """
    now = time()
    for key in keys:
        if key.kid == kid and key.purpose == purpose and key.is_accepted(now):
            return key
    raise UnknownKey(f"no {purpose} key {kid[:100]!r}")


def is_covered(name: str, rights: tuple[str, ...]) -> bool:
    """Return whether rights, each a whole name or a prefix ``name.*``, cover a name."""
    return any(
        name == right or (right.endswith(".*") and name.startswith(right[:-1])) for right in rights
    )


def unpadded_b64encode(data: bytes) -> str:
    """Encode as base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unpadded_b64decode(text: str) -> bytes:
    """Decode base64url without padding (RFC 7515 section 2).

    Raises:
        ValueError: it is not base64url.
    """
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)

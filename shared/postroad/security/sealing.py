"""Secrets that travel through a queue, readable by one service alone (HPKE, RFC 9180)."""

from typing import Literal, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from pydantic import PrivateAttr, SecretStr

from postroad.contracts.auth import (
    ChangePassword,
    CreateSession,
    new_password_context,
    password_context,
)
from postroad.security.keys import (
    Identity,
    TrustBundle,
    unpadded_b64decode,
    unpadded_b64encode,
)

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_128_GCM)


class CannotUnseal(Exception):
    """The text was not sealed to us, for this context, or has been changed."""


def seal(secret: str, *, to: str, context: str, trust: TrustBundle) -> str:
    """Encrypt a secret to a service's sealing key; the result is base64url text.

    ``context`` says what the secret is for: it opens for the same context only.
    """
    key = trust.services[to].key("sealing").agreement()
    return unpadded_b64encode(_SUITE.encrypt(secret.encode(), key, info=context.encode()))


class SealedAsSent:
    """A request in which something is sealed for its one message, when it is sent."""

    def body_for(self, caller: str, message_id: str, deadline: float) -> bytes:
        raise NotImplementedError


class SignIn(CreateSession, SealedAsSent, abstract=True):
    """A sign-in that knows the password, and seals it as it is sent."""

    sealed_password: str = "-"  # noqa: S105  # until it is sent
    _password: SecretStr = PrivateAttr()
    _trust: TrustBundle = PrivateAttr()

    def with_password(self, password: SecretStr, trust: TrustBundle) -> Self:
        """Give the password, and whom it may be sealed to."""
        self._password, self._trust = password, trust
        return self

    def body_for(self, caller: str, message_id: str, deadline: float) -> bytes:
        """Return the JSON of one message, with the password sealed for it alone."""
        context = password_context(
            self.username, caller=caller, message_id=message_id, deadline=deadline
        )
        secret = self._password.get_secret_value()
        sealed = seal(secret, to=self.service, context=context, trust=self._trust)
        return self.model_copy(update={"sealed_password": sealed}).as_json


class PasswordChange(ChangePassword, SealedAsSent, abstract=True):
    """A change of password that knows both, and seals them as it is sent."""

    sealed_password: str = "-"  # noqa: S105  # until it is sent
    sealed_new_password: str = "-"  # noqa: S105  # likewise
    _current: SecretStr = PrivateAttr()
    _new: SecretStr = PrivateAttr()
    _trust: TrustBundle = PrivateAttr()

    def with_passwords(self, current: SecretStr, new: SecretStr, trust: TrustBundle) -> Self:
        """Give the passwords, and whom they may be sealed to."""
        self._current, self._new, self._trust = current, new, trust
        return self

    def body_for(self, caller: str, message_id: str, deadline: float) -> bytes:
        """Return the JSON of one message, with both passwords sealed for it alone."""

        def sealed(which: Literal["current", "new"], password: SecretStr) -> str:
            context = new_password_context(
                which, caller=caller, message_id=message_id, deadline=deadline
            )
            secret = password.get_secret_value()
            return seal(secret, to=self.service, context=context, trust=self._trust)

        update = {
            "sealed_password": sealed("current", self._current),
            "sealed_new_password": sealed("new", self._new),
        }
        return self.model_copy(update=update).as_json


def unseal(text: str, *, context: str, identity: Identity) -> str:
    """Decrypt what was sealed to one of our sealing keys.

    Raises:
        CannotUnseal: none of them opens it for this context.
    """
    try:
        sealed = unpadded_b64decode(text)
    except ValueError as error:
        raise CannotUnseal("not base64url") from error
    for key in identity.accepted("sealing"):
        try:
            opened = _SUITE.decrypt(sealed, key.agreement_private(), info=context.encode())
            return opened.decode()
        except (InvalidTag, ValueError):
            continue
    raise CannotUnseal("not sealed to a key of ours")

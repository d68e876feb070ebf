"""Secrets that travel through a queue, readable by one service alone (HPKE, RFC 9180)."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

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

"""TLS towards the broker: who it is, and who we are."""

import ssl
from pathlib import Path

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; TLS 1.3 has none that are worse (RFC 9325)


def client_context(ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """Trust the servers of one authority only, and show them our certificate.

    Raises:
        OSError: a file cannot be read, holds something else, or the key is not the certificate's.
    """
    context = _verifying(ca)
    context.load_cert_chain(certificate, key, password="")  # or it asks the terminal
    return context


def public_context() -> ssl.SSLContext:
    """Trust the servers of the authorities that the system trusts (or ``SSL_CERT_FILE`` names).

    They are shown no certificate: who we are, the password says alone.
    """
    return _verifying(None)


def _verifying(ca: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    return context

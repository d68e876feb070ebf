"""TLS towards the broker: who it is, and who we are."""

import ssl
from pathlib import Path


def client_context(ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """Trust the servers of one authority only, and show them our certificate.

    Raises:
        OSError: a file cannot be read, holds something else, or the key is not the certificate's.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key, password="")  # or it asks the terminal
    return context

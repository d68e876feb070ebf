"""The system's own certificate authority, and what it issues: who the broker and the services are.

Certificates hold for two years and are made anew, with new keys, in the second of them. Everybody
trusts this authority alone, so that no other, public or private, can speak for the broker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from postroad.security.files import write_private

AUTHORITY_LIFETIME = timedelta(days=3650)
LIFETIME = timedelta(days=730)
RENEWED_BEFORE_END = timedelta(days=365)
_CLOCKS_DIFFER = timedelta(hours=1)  # a certificate holds since then
_CA, _CERTIFICATE, _KEY = "ca.pem", "certificate.pem", "key.pem"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read them, none when they are not there.

        Raises:
            ValueError: a file holds something else.
        """
        if not (folder / _CERTIFICATE).exists() or not (folder / _KEY).exists():
            return None
        file = folder / _CERTIFICATE
        try:
            certificate = x509.load_pem_x509_certificate(file.read_bytes())
            file = folder / _KEY
            key = serialization.load_pem_private_key(file.read_bytes(), password=None)
        except ValueError as error:
            raise ValueError(f"{file.name} is not what it should be") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{file.name} holds a key of another kind")
        return cls(certificate, key)

    def save(self, folder: Path, *, mode: int = 0o600) -> None:
        """Write them; until both are there, who connects is refused and tries again."""
        private = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_private(folder / _KEY, private.decode(), mode=mode)
        write_private(folder / _CERTIFICATE, _pem(self.certificate), mode=mode)

    @property
    def fit(self) -> bool:
        return self.certificate.public_key() == self.key.public_key()

    def are_good(self, now: datetime, issuer: "Credentials", hosts: Sequence[str]) -> bool:
        """Tell whether they fit each other, the issuer and the hosts, and hold for a while."""
        certificate = self.certificate
        return (
            self.fit
            and certificate.not_valid_after_utc - now > RENEWED_BEFORE_END
            and certificate.issuer == issuer.certificate.subject
            and _hosts(certificate) == {_general_name(host) for host in hosts}
        )


class Authority:
    """Issues certificates, and keeps its own key in a folder that nobody else reads."""

    def __init__(self, folder: Path, *, now: datetime | None = None) -> None:
        """Open the authority, made the first time and in the last year of the one before.

        Raises:
            ValueError: a file of it is broken.
            OSError: it cannot be read or written.
        """
        self._now = now or datetime.now(UTC)
        own = Credentials.load(folder)
        if (
            own is None
            or not own.fit  # one of the two was written when the machine went down
            or own.certificate.not_valid_after_utc - self._now <= RENEWED_BEFORE_END
        ):
            own = _new_authority(self._now)
            own.save(folder)
        _add_trusted(folder / _CA, own.certificate, self._now)
        self._own = own
        self._trusted = (folder / _CA).read_text()

    def keep(
        self, folder: Path, name: str, *, hosts: Sequence[str] = (), mode: int = 0o600
    ) -> bool:
        """Keep somebody's certificate in date; tell whether it was made anew.

        ``hosts`` are a server's names and addresses; without them it is a client's.

        Raises:
            ValueError: a file of it is broken.
            OSError: it cannot be read or written.
        """
        current = Credentials.load(folder)
        write_private(folder / _CA, self._trusted, mode=mode)  # first, to know whoever is renewed
        if current is not None and current.are_good(self._now, self._own, hosts):
            return False
        self._issue(name, hosts).save(folder, mode=mode)
        return True

    def _issue(self, name: str, hosts: Sequence[str]) -> Credentials:
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        end = min(self._now + LIFETIME, self._own.certificate.not_valid_after_utc)
        builder = (
            _builder(key, _name(name), self._own.certificate.subject, self._now, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._own.key.public_key()),
                critical=False,
            )
        )
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return Credentials(builder.sign(self._own.key, hashes.SHA256()), key)


def _new_authority(now: datetime) -> Credentials:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"postroad {now:%Y-%m-%d %H:%M:%S}")  # two that overlap must have two names
    certificate = (
        _builder(key, name, name, now, now + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Credentials(certificate, key)


def _add_trusted(bundle: Path, certificate: x509.Certificate, now: datetime) -> None:
    """Trust an authority, and go on trusting those whose certificates may still be in use."""
    known = x509.load_pem_x509_certificates(bundle.read_bytes()) if bundle.exists() else []
    if certificate in known:
        return
    held = [each for each in known if each.not_valid_after_utc > now]
    write_private(bundle, "".join(map(_pem, [certificate, *held])))


def _builder(
    key: ec.EllipticCurvePrivateKey,
    subject: x509.Name,
    issuer: x509.Name,
    now: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _hosts(certificate: x509.Certificate) -> set[x509.GeneralName]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return set(names.value)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()

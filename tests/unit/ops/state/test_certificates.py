"""The system's own certificates: what they say, how long they hold, and when they are renewed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ops.state.certificates import AUTHORITY_LIFETIME, LIFETIME, Authority

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("authority", "auth", "broker"):
        (tmp_path / name).mkdir()
    return tmp_path


def keep(folder: Path, now: datetime = NOW, *, hosts: tuple[str, ...] = ()) -> bool:
    authority = Authority(folder / "authority", now=now)
    name = "broker" if hosts else "auth"
    return authority.keep(folder / name, name, hosts=hosts)


def certificate(folder: Path, file: str = "certificate.pem") -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / file).read_bytes())


def uses(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_a_service_is_named_and_may_not_pass_for_a_server(folder: Path) -> None:
    assert keep(folder)

    own = certificate(folder / "auth")
    assert own.subject.rfc4514_string() == "CN=auth"
    assert uses(own) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    own.verify_directly_issued_by(certificate(folder / "auth", "ca.pem"))


def test_the_broker_has_the_names_by_which_it_is_reached(folder: Path) -> None:
    assert keep(folder, hosts=("broker", "10.0.0.7"))

    own = certificate(folder / "broker")
    names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.7"]
    assert uses(own) == [ExtendedKeyUsageOID.SERVER_AUTH]


@pytest.mark.parametrize(("days_left", "is_renewed"), [(366, False), (365, True), (-5, True)])
def test_a_certificate_is_renewed_in_its_last_year(
    folder: Path, days_left: int, is_renewed: bool
) -> None:
    keep(folder)
    first = certificate(folder / "auth")

    assert keep(folder, NOW + LIFETIME - timedelta(days=days_left)) == is_renewed

    renewed = certificate(folder / "auth")
    assert (renewed.public_key() != first.public_key()) == is_renewed


def test_other_names_of_the_broker_need_another_certificate(folder: Path) -> None:
    keep(folder, hosts=("broker",))

    assert keep(folder, hosts=("broker", "broker-2"))
    assert not keep(folder, hosts=("broker-2", "broker"))


def test_a_key_that_was_left_without_its_certificate_is_replaced(folder: Path) -> None:
    keep(folder)
    (folder / "auth" / "key.pem").write_bytes((folder / "authority" / "key.pem").read_bytes())

    assert keep(folder)


def test_a_new_authority_is_trusted_beside_the_one_before_until_that_ends(folder: Path) -> None:
    keep(folder)
    (first,) = x509.load_pem_x509_certificates((folder / "auth" / "ca.pem").read_bytes())
    later = NOW + AUTHORITY_LIFETIME - timedelta(days=10)

    assert keep(folder, later)

    second, *others = x509.load_pem_x509_certificates((folder / "auth" / "ca.pem").read_bytes())
    assert others == [first]
    certificate(folder / "auth").verify_directly_issued_by(second)
    keep(folder, later + AUTHORITY_LIFETIME - timedelta(days=10))
    assert first not in x509.load_pem_x509_certificates((folder / "auth" / "ca.pem").read_bytes())


def test_no_certificate_outlives_its_authority(folder: Path) -> None:
    keep(folder)

    keep(folder, NOW + AUTHORITY_LIFETIME - timedelta(days=400))

    authority = certificate(folder / "auth", "ca.pem")
    assert certificate(folder / "auth").not_valid_after_utc == authority.not_valid_after_utc


def test_an_authority_cut_short_between_key_and_certificate_is_made_anew(folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    Authority(other, now=NOW)
    keep(folder)
    (other / "key.pem").replace(folder / "authority" / "key.pem")

    assert keep(folder, NOW + timedelta(days=1))

    bundle = x509.load_pem_x509_certificates((folder / "auth" / "ca.pem").read_bytes())
    certificate(folder / "auth").verify_directly_issued_by(bundle[0])
    assert len(bundle) == 2  # what the one before has issued may still be in use


def test_an_authority_cut_short_before_it_is_trusted_is_trusted_next(folder: Path) -> None:
    Authority(folder / "authority", now=NOW)
    (folder / "authority" / "ca.pem").unlink()

    assert keep(folder)

    certificate(folder / "auth").verify_directly_issued_by(certificate(folder / "auth", "ca.pem"))


@pytest.mark.parametrize("file", ["key.pem", "certificate.pem"])
def test_a_broken_file_is_named(folder: Path, file: str) -> None:
    keep(folder)
    (folder / "auth" / file).write_text("-----BEGIN")

    with pytest.raises(ValueError, match=f"{file} is not what it should be"):
        keep(folder)

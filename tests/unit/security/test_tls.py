"""What we agree to as clients of TLS."""

import ssl

import pytest

from postroad.security.tls import public_context


def test_only_ciphers_with_forward_secrecy_that_authenticate_are_offered() -> None:
    offered = public_context().get_ciphers()

    assert offered
    assert [each["name"] for each in offered if not each["aead"]] == []
    assert {each["kea"] for each in offered} <= {"kx-any", "kx-ecdhe"}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_nothing_older_than_tls_1_2_is_offered(version: ssl.TLSVersion) -> None:
    assert version < public_context().minimum_version

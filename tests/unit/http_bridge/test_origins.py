"""Where a page is from: our own site, or another."""

import pytest

from http_bridge.http.problems import CrossSite
from http_bridge.http.site import Site
from tests.support.bridges import request_with

UNKNOWN = Site(None, is_development=False)  # which goes by what a request says of itself


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("http", b"intra.example", b"http://intra.example"),
        ("http", b"intra.example:80", b"http://intra.example"),
        ("http", b"intra.example:", b"http://intra.example"),
        ("http", b"intra.example", b"http://intra.example:80"),
        ("https", b"intra.example:443", b"https://intra.example"),
        ("http", b"intra.example:8000", b"http://intra.example:8000"),
        ("http", b"Intra.Example", b"http://intra.example"),
        ("http", b"intra.example", b"HTTP://INTRA.example"),
        ("http", b"intra.example.", b"http://intra.example."),
        ("http", b"[::1]:8000", b"http://[::1]:8000"),
        ("http", b"[2001:DB8:0:0::1]", b"http://[2001:db8::1]:80"),
    ],
)
def test_an_origin_is_ours_by_scheme_host_and_port(scheme: str, host: bytes, origin: bytes) -> None:
    UNKNOWN.check_same_site(request_with((b"host", host), (b"origin", origin), scheme=scheme))


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("https", b"intra.example", b"http://intra.example"),
        ("http", b"intra.example", b"https://intra.example"),
        ("http", b"intra.example", b"ftp://intra.example"),
        ("http", b"intra.example", b"http://intra.example:8000"),
        ("http", b"intra.example:443", b"http://intra.example"),
        ("http", b"intra.example", b"http://intra.example."),  # another host (section 5)
        ("http", b"intra.example", b"http://intra.example.evil.example"),
        ("http", b"intra.example", b"http://evil.example@intra.example"),
        ("http", b"intra.example", b"http://intra.example/"),
        ("http", b"intra.example", b"http://evil.example http://intra.example"),
        ("http", b"intra.example", b"intra.example"),
        ("http", b"intra.example", b"null"),
        ("http", b"intra.example", b""),
        ("http", b"intra.example", b"http://["),
        ("http", b"", b"http://"),
        ("http", b"[::1]", b"http://[::2]"),
        ("http", b"[::g]", b"http://[::g]"),
        ("http", b"intra.example:x", b"http://intra.example"),
    ],
)
def test_an_origin_that_differs_or_is_none_is_another_site(
    scheme: str, host: bytes, origin: bytes
) -> None:
    with pytest.raises(CrossSite):
        UNKNOWN.check_same_site(request_with((b"host", host), (b"origin", origin), scheme=scheme))


def test_of_two_origins_neither_is_ours() -> None:
    ours = (b"origin", b"http://intra.example")

    with pytest.raises(CrossSite):
        UNKNOWN.check_same_site(request_with((b"host", b"intra.example"), ours, ours))

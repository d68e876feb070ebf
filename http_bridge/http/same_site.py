"""Whether a request that bears our cookies was made by a page of ours."""

import re
from ipaddress import IPv6Address

from http_bridge.asgi.messages import HttpRequest
from http_bridge.http.problems import CrossSite

_ORIGIN = re.compile(rb"(https?)://(?:\[([0-9a-f:.]+)\]|([^\s/?#@:,\[\]]+))(?::([0-9]{0,5}))?")
_PORTS = {b"http": 80, b"https": 443}


def check_same_site(request: HttpRequest) -> None:
    """Refuse a request that another site's page made with our cookies.

    A browser says where a request comes from (``Sec-Fetch-Site``, else ``Origin``); who says
    neither is no browser, and nobody's cookies are sent without their doing.

    Raises:
        CrossSite: it comes from elsewhere.
    """
    site = request.headers.get(b"sec-fetch-site")
    origin = request.headers.get(b"origin")
    if site is not None:
        is_own = site in (b"same-origin", b"none")
    elif origin is not None:
        scheme = b"https" if request.is_https else b"http"
        own = _read_origin(b"%b://%b" % (scheme, request.headers.get(b"host", b"")))
        is_own = own is not None and _read_origin(origin) == own
    else:
        is_own = True
    if not is_own:
        raise CrossSite("cookies are not taken from another site's page")


def is_of_a_browser(request: HttpRequest) -> bool:
    """Whether a page made a request: no script can take these headers away (Fetch, 2.2.2)."""
    return b"sec-fetch-site" in request.headers or b"origin" in request.headers


def _read_origin(text: bytes) -> tuple[bytes, bytes | IPv6Address, int] | None:
    """Return scheme, host and port (RFC 6454 section 4); none if it is no origin, as ``null``."""
    found = _ORIGIN.fullmatch(text.lower())
    if found is None:
        return None
    scheme, address, host, port = found.groups()
    try:
        return (
            scheme,
            IPv6Address(address.decode()) if address else host,
            int(port or _PORTS[scheme]),
        )
    except ValueError:  # such as "http://[::1::2]"
        return None

"""Where this server is on the web: its scheme, its host, and the pages that are its own."""

import re
from ipaddress import IPv4Address, IPv6Address

from http_bridge.asgi.messages import HttpRequest
from http_bridge.http.problems import CrossSite, UnknownHost

_ORIGIN = re.compile(rb"(https?)://(?:\[([0-9a-f:.]+)\]|([^\s/?#@:,\[\]]+))(?::([0-9]{0,5}))?")
_PORTS = {b"http": 80, b"https": 443}

_Host = bytes | IPv6Address
_Origin = tuple[bytes, _Host, int]


class Site:
    """What is ours, by ``BRIDGE_PUBLIC_URL`` if it is set, else by what each request says."""

    def __init__(self, public_url: str | None, *, host: str = "", is_development: bool) -> None:
        """``host`` is where it listens: if that is a name, it is ours as well."""
        self._public = None if public_url is None else _read_origin(public_url.encode())
        self._host = host.lower().encode()
        self._knows_hosts = self._public is not None or is_development
        self.is_https = None if self._public is None else self._public[0] == b"https"

    def check_host(self, request: HttpRequest) -> None:
        """Refuse to sign anybody in under a name that may be another's (DNS rebinding).

        A page of that name would be of our origin to a browser. An address is nobody's name.

        Raises:
            UnknownHost: it is neither an address, nor of this machine, nor the public one.
        """
        host = request.headers.get(b"host")
        if not self._knows_hosts or host is None:  # a browser sends it
            return
        found = _read_origin(b"http://" + host)
        if found is None or not self._is_known(found[1]):
            raise UnknownHost(
                f"nobody signs in at {host.decode('latin-1')[:100]}: set BRIDGE_PUBLIC_URL to the "
                "URL at which browsers reach this server, or call it by its address"
            )

    def check_same_site(self, request: HttpRequest) -> None:
        """Refuse a request that another site's page made with our cookies.

        Raises:
            CrossSite: it comes from elsewhere.
        """
        if not self.is_same_site(request):
            raise CrossSite("cookies are not taken from another site's page")

    def is_same_site(self, request: HttpRequest) -> bool:
        """Whether no other site's page made a request.

        A browser says where a request comes from (``Sec-Fetch-Site``, else ``Origin``); who says
        neither is no browser, and nobody's cookies are sent without their doing.
        """
        site = request.headers.get(b"sec-fetch-site")
        origin = request.headers.get(b"origin")
        if site is not None:
            return site in (b"same-origin", b"none")
        if origin is not None:
            scheme = b"https" if request.is_https else b"http"
            asked = _read_origin(b"%b://%b" % (scheme, request.headers.get(b"host", b"")))
            found = _read_origin(origin)
            return found is not None and found in (self._public, asked)
        return True

    def _is_known(self, host: _Host) -> bool:
        if isinstance(host, IPv6Address) or (self._public and host == self._public[1]):
            return True
        name = host.removesuffix(b".")
        if name == self._host:
            return True
        return name == b"localhost" or name.endswith(b".localhost") or _is_ipv4(name)


def is_of_a_browser(request: HttpRequest) -> bool:
    """Whether a page made a request: no script can take these headers away (Fetch, 2.2.2)."""
    return b"sec-fetch-site" in request.headers or b"origin" in request.headers


def _read_origin(text: bytes) -> _Origin | None:
    """Return scheme, host and port (RFC 6454 section 4); none if it is not an origin."""
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


def _is_ipv4(host: bytes) -> bool:
    try:
        IPv4Address(host.decode("latin-1"))
    except ValueError:
        return False
    return True

"""Whether a request that bears our cookies was made by a page of ours."""

from urllib.parse import urlsplit

from http_bridge.asgi.messages import HttpRequest
from http_bridge.http.problems import CrossSite


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
        is_own = _host(origin) == request.headers.get(b"host")
    else:
        is_own = True
    if not is_own:
        raise CrossSite("cookies are not taken from another site's page")


def _host(origin: bytes) -> bytes | None:
    """Return the host, and the port if it has one, of an origin; none if it is no origin."""
    try:
        return urlsplit(origin).netloc
    except ValueError:  # such as "http://["
        return None

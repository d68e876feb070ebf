"""The cookies that we set, and under which names."""

from dataclasses import dataclass

from http_bridge.asgi.headers import cookies
from http_bridge.asgi.messages import HttpRequest

COOKIES_MAX = 4  # of one name that are tried: each is a signature to verify, or a call


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie out of reach of scripts.

    Over HTTPS it has the name that a browser takes from HTTPS alone, and with ``__Host-`` from this
    very host (RFC 6265bis section 4.1.3); the other name is not read there: anybody's neighbour in
    the domain could have set it.
    """

    name: bytes
    secure_name: bytes
    path: str
    same_site: str

    def values(self, request: HttpRequest) -> list[str]:
        """Return the first few values that a request has, each once; the most specific first."""
        name = self.secure_name if request.is_https else self.name
        return cookies(request.headers, name)[:COOKIES_MAX]

    def header(self, request: HttpRequest, value: str, max_age_s: int) -> tuple[bytes, bytes]:
        """Return the header that sets it, or with no time left deletes it."""
        name, secure = (self.secure_name, "; Secure") if request.is_https else (self.name, "")
        text = (
            f"{name.decode()}={value}; Path={self.path}; Max-Age={max_age_s}; "
            f"HttpOnly; SameSite={self.same_site}{secure}"
        )
        return b"set-cookie", text.encode()


ACCESS = Cookie(b"token", b"__Host-token", "/", "Lax")
REFRESH = Cookie(b"refresh_token", b"__Secure-refresh_token", "/auth", "Strict")
DEVICE = Cookie(b"device", b"__Secure-device", "/auth", "Strict")  # stays after a sign-out

"""URLs in settings, read whole at the start: a part that is wrong would be noticed too late."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import unquote, urlsplit

from postroad.plain_text import plain

_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)
_BEFORE_LAST_AT = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)?.*@", re.DOTALL)
_BAD_CHARACTER = re.compile(r'[\s\x00-\x20\x7f"<>\\^`{|}]')  # RFC 3986 section 2
_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
_HOST_NAME = re.compile(r"[\w.~-]+")
_HOST_NAME_MAX = 253  # characters, as a name in the DNS (RFC 1035 section 2.3.4)
_SHORT_STRING_MAX_BYTES = 255  # AMQP 0-9-1 section 4.2.5.3
_PORT = re.compile("[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Url:
    """The parts of a URL that can be used; ``path`` is escaped as it was."""

    scheme: str
    host: str
    port: int | None
    path: str


def read_url(
    text: str, *schemes: str, allows_user: bool = False, allows_query: bool = False
) -> Url:
    """Read a URL of one of some schemes.

    Raises:
        ValueError: a part is wrong; the message names the URL, without its secrets, and the part.
    """
    try:
        return _read(text, schemes, allows_user=allows_user, allows_query=allows_query)
    except _Wrong as error:
        raise ValueError(f"{without_secrets(text)}: {error}" if text else str(error)) from None


def read_base_url(text: str) -> str:
    """Return the URL of an HTTP server, to which paths can be appended.

    Raises:
        ValueError: as ``read_url`` does.
    """
    read_url(text, "http", "https", allows_user=True)
    return text


def read_origin(text: str) -> str:
    """Return the URL of an HTTP server as an origin (RFC 6454): scheme, host, and port if given.

    Raises:
        ValueError: as ``read_url`` does.
    """
    url = read_url(text, "http", "https")
    if url.path not in ("", "/") or not text.isascii():
        raise ValueError(f"{without_secrets(text)}: must have no path, and its host in ASCII")
    return text.lower().removesuffix("/")


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """Where a broker listens, and which of its virtual hosts is ours."""

    is_encrypted: bool
    host: str
    port: int
    virtual_host: str


def read_broker_url(text: str) -> BrokerUrl:
    """Read ``amqp://host:port/vhost``, or ``amqps://`` for TLS (RabbitMQ URI specification).

    Raises:
        ValueError: as ``read_url`` does.
    """
    url = read_url(text, "amqp", "amqps")
    escaped = url.path[1:]
    if "/" in escaped:
        raise ValueError(
            f"{without_secrets(text)}: must not have a / in or after the virtual host; remove it, "
            "or write it as %2F"
        )
    try:
        virtual_host = unquote(escaped, errors="strict") or "/"
    except UnicodeDecodeError:
        virtual_host = None
    if virtual_host is None or len(virtual_host.encode()) > _SHORT_STRING_MAX_BYTES:
        raise ValueError(
            f"{without_secrets(text)}: the virtual host must be UTF-8 and at most "
            f"{_SHORT_STRING_MAX_BYTES} bytes long"
        )
    is_encrypted = url.scheme == "amqps"
    port = url.port or (5671 if is_encrypted else 5672)
    return BrokerUrl(is_encrypted, url.host, port, virtual_host)


def read_host(text: str) -> str:
    """Return a host name or an address to listen on; an IPv6 address without brackets.

    Raises:
        ValueError: it is neither.
    """
    try:
        if ":" in text:
            _check(IPv6Address, text, "must be an IPv6 address without brackets and port")
        else:
            _host_and_port(text)
    except _Wrong as error:
        raise ValueError(str(error)) from None
    return text


def check_address(text: str) -> None:
    """Check a host with or without a port, as it is in a URL.

    Raises:
        ValueError: a part is wrong; the message says which.
    """
    try:
        _host_and_port(text)
    except _Wrong as error:
        raise ValueError(str(error)) from None


def without_secrets(text: str) -> str:
    """Return a URL, good or not, for people: without user, password and query."""
    shown, query, _ = _BEFORE_LAST_AT.sub(r"\1", text).partition("?")
    shown = f"{shown}?…" if query else shown
    return plain(shown)


def is_loopback(url: str) -> bool:
    """Return whether a URL is of this machine, which no proxy knows."""
    host = urlsplit(url).hostname or ""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


class _Wrong(Exception):
    """A part of a URL is wrong; the message says which."""


def _read(text: str, schemes: tuple[str, ...], *, allows_user: bool, allows_query: bool) -> Url:
    parts = _PARTS.fullmatch(text)
    if parts is None or parts[1].lower() not in schemes:
        starts = " or ".join(f"{scheme}://" for scheme in schemes)
        raise _Wrong(f"{'must begin' if text else 'is empty; it must begin'} with {starts}")
    scheme, authority, path, query, fragment = parts.groups()
    user, has_user, address = authority.rpartition("@")
    if has_user and not allows_user:
        raise _Wrong("must not have a user or a password")
    if _BAD_CHARACTER.search(text):
        raise _Wrong("has a space or another character that a URL cannot have")
    if _BAD_ESCAPE.search(f"{user}{path}{query or ''}"):
        raise _Wrong("has a % without two hexadecimal digits; write % itself as %25")
    host, port = _host_and_port(address)
    if query is not None and not allows_query:
        raise _Wrong("must not have a query; remove the ? and what follows it")
    if fragment is not None:
        raise _Wrong("must not have a fragment; remove the # and what follows it")
    return Url(scheme.lower(), host, port, path)


def _host_and_port(address: str) -> tuple[str, int | None]:
    if address.startswith("["):
        host, is_closed, rest = address[1:].partition("]")
        if not is_closed:
            raise _Wrong("has a [ without a ]")
        if rest and not rest.startswith(":"):
            raise _Wrong("must have only : and a port after the ]")
        _check(IPv6Address, host, "must have an IPv6 address in the brackets")
        return host.lower(), _port(rest[1:])
    host, _, port = address.partition(":")
    if ":" in port:
        raise _Wrong("must have brackets around an IPv6 address, as in [::1]")
    if not host:
        raise _Wrong("has no host")
    if not _HOST_NAME.fullmatch(host):
        raise _Wrong("has a host that is neither a name nor an address")
    if host.rstrip(".").rpartition(".")[2].isdigit():
        _check(IPv4Address, host, "has a host that is not an IPv4 address")
    _check(_as_in_the_dns, host, "has a host that is not a name")
    return host.lower(), _port(port)


def _check(read: Callable[[str], object], host: str, problem: str) -> None:
    try:
        read(host)
    except ValueError:
        raise _Wrong(problem) from None


def _as_in_the_dns(name: str) -> None:
    if len(name.encode("idna").rstrip(b".")) > _HOST_NAME_MAX:
        raise ValueError("too long")


def _port(text: str) -> int | None:
    if not text:
        return None
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= 65_535:
        raise _Wrong("must have a port from 1 to 65535")  # not quoted: it may be half a password
    return int(text)

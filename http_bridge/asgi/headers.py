"""Headers that come several times, and cookies."""

from collections import defaultdict
from collections.abc import Iterable, Mapping


def joined(lines: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers of which some come in several lines, each as one (RFC 9110 section 5.3)."""
    values = defaultdict(list)
    for name, value in lines:
        values[name].append(value)
    return {
        name: (b"; " if name == b"cookie" else b", ").join(several)
        for name, several in values.items()
    }


def cookies(headers: Mapping[bytes, bytes], name: bytes) -> list[str]:
    """Return the values of a cookie, each once (RFC 6265 section 4.2).

    There may be several: of other paths, of other hosts of the domain, of other ports of the host.
    The most specific comes first. A value in quotes is from a client that still follows RFC 2965,
    as Java's does.
    """
    pairs = (pair.partition(b"=") for pair in headers.get(b"cookie", b"").split(b";"))
    values = (value.strip(b' \t"') for key, _, value in pairs if key.strip() == name)
    return list(dict.fromkeys(value.decode("latin-1") for value in values if value))

"""Client addresses: whom to count attempts against, and how much of an address to tell others."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_TOLD_PREFIX = {4: 24, 6: 48}
_COUNTED_PREFIX = {4: 32, 6: 64}  # a host on IPv6 usually has 2**64 addresses to itself


def told_network(address: str | None) -> str | None:
    """Cut an address to its network (/24, or /48 for IPv6); none if it is not an address."""
    return _cut(address, _TOLD_PREFIX)


def counted_network(address: str | None) -> str | None:
    """Return the network that one client has to itself; none for what is not an address."""
    return _cut(address, _COUNTED_PREFIX)


def _cut(address: str | None, prefixes: dict[int, int]) -> str | None:
    parsed = _parse(address)
    if parsed is None:
        return None
    return str(ip_network(f"{parsed}/{prefixes[parsed.version]}", strict=False))


def _parse(address: str | None) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address((address or "").strip())
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address):
        return parsed.ipv4_mapped or IPv6Address(int(parsed))  # without a zone, as in fe80::1%eth0
    return parsed

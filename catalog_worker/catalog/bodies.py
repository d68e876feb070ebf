"""Reading what a server sends: no more than is taken, packed or not, in whatever encoding."""

import json
import re
import zlib
from math import inf

import requests
from pydantic import JsonValue

from postroad.contracts.errors import UpstreamFailed

CHUNK_BYTES = 64 * 1024
_GZIP = b"\x1f\x8b"  # RFC 1952; no JSON begins so
_UNPACKED = {"", "identity", "gzip", "x-gzip"}  # the last two where it is not true

_INTEGER_MAX_DIGITS = 400  # more than any float has

# backslashes that stand for themselves, a character of two halves, or one half alone
_HALVES = re.compile(
    r"(?:\\\\)+|\\u[dD](?:[89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|([89a-fA-F][0-9a-fA-F]{2}))"
)


def read_body(response: requests.Response, *, most_bytes: int) -> bytes:
    """Read a body, and unpack it; neither may be longer than that.

    Raises:
        UpstreamFailed: it is, or cannot be unpacked.
    """
    body = bytearray()
    # Each piece as it comes: ``iter_content`` would wait for a whole chunk, however long.
    while piece := response.raw.read1(CHUNK_BYTES, decode_content=False):
        body += piece
        if len(body) > most_bytes:
            raise too_much()
    return _unpacked(bytes(body), response.headers.get("Content-Encoding", ""), most_bytes)


def read_json(body: bytes) -> JsonValue:
    """Read JSON in any of its encodings.

    What is wrong in one place does not spoil the rest: half a character becomes U+FFFD, a number
    without end infinite, and a line break in a text is one.

    Raises:
        ValueError: it is not JSON; the message says why.
    """
    text = body.decode(json.detect_encoding(body), "replace")
    text = _HALVES.sub(lambda found: "\\ufffd" if found[1] else found[0], text)
    try:
        content: JsonValue = json.loads(text, strict=False, parse_int=_integer)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return content


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= _INTEGER_MAX_DIGITS else inf


def too_much() -> UpstreamFailed:
    return UpstreamFailed("the product source answered too much")


def plain(text: str, most: int) -> str:
    """Return what a server sent so that it can stand in a message."""
    return "".join(
        each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[:most]
    )


def _unpacked(body: bytes, encoding: str, most_bytes: int) -> bytes:
    encoding = encoding.strip().lower()
    if body.startswith(_GZIP):
        window_bits = zlib.MAX_WBITS + 16
    elif encoding == "deflate":  # of zlib as it should be, or bare as some send it
        window_bits = zlib.MAX_WBITS if body[:1] == b"\x78" else -zlib.MAX_WBITS
    elif encoding in _UNPACKED:
        return body
    else:
        raise UpstreamFailed(
            f"the product source answered in an encoding not asked for: {plain(encoding, 40)}"
        )
    unpacking = zlib.decompressobj(window_bits)
    try:
        unpacked = unpacking.decompress(body, most_bytes + 1)
    except zlib.error as error:
        raise UpstreamFailed("the product source answered what cannot be unpacked") from error
    if len(unpacked) > most_bytes:
        raise too_much()
    if not unpacking.eof or unpacking.unused_data:
        raise UpstreamFailed("the product source answered what cannot be unpacked")
    return unpacked

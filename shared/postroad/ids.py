"""Ids: a new one for a message, and which ones from outside are taken."""

import os
import time

_WITHOUT_PUNCTUATION = str.maketrans("", "", "-_.:")


def new_id() -> str:
    """Make a UUIDv7 (RFC 9562 section 5.7) as text: unique, and sorted by time of making."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    high = (random >> 62) & 0x0FFF
    low = random & 0x3FFF_FFFF_FFFF_FFFF
    value = f"{milliseconds << 80 | 0x7000 << 64 | high << 64 | 0x8 << 60 | low:032x}"
    return f"{value[:8]}-{value[8:12]}-{value[12:16]}-{value[16:20]}-{value[20:]}"


def is_plain_id(text: str) -> bool:
    """Return whether an id from outside may be a claim: 1 to 128 of ``A-Z a-z 0-9 - _ . :``."""
    plain = text.translate(_WITHOUT_PUNCTUATION)
    return 0 < len(text) <= 128 and text.isascii() and (not plain or plain.isalnum())

"""Message ids: unique, and sorted by time of making."""

import os
import time


def new_id() -> str:
    """Make a UUIDv7 (RFC 9562 section 5.7) as text."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    high = (random >> 62) & 0x0FFF
    low = random & 0x3FFF_FFFF_FFFF_FFFF
    value = f"{milliseconds << 80 | 0x7000 << 64 | high << 64 | 0x8 << 60 | low:032x}"
    return f"{value[:8]}-{value[8:12]}-{value[12:16]}-{value[16:20]}-{value[20:]}"

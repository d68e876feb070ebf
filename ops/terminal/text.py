"""How times, ages and what strangers wrote are shown."""

from datetime import datetime
from time import time


def clock_time(moment: float) -> str:
    try:
        local = datetime.fromtimestamp(moment).astimezone()
    except (OverflowError, OSError, ValueError):  # a stranger may claim any number
        return f"{moment} seconds since 1970"
    return f"{local:%Y-%m-%d %H:%M:%S %z} ({distance(moment - time())})"


def distance(seconds: float) -> str:
    size = abs(seconds)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if size >= 2 * length:
            text = f"{size / length:.0f} {unit}"
            break
    else:
        text = f"{size:.0f} s"
    return f"in {text}" if seconds > 0 else f"{text} ago"


def plain(text: str) -> str:
    """Make what a stranger wrote harmless to a terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)

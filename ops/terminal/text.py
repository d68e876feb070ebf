"""How times, ages and what strangers wrote are shown."""

from collections.abc import Iterable
from datetime import datetime
from time import time

from postroad.plain_text import plain


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


def show(lines: Iterable[str]) -> None:
    """Print lines in which others may have written, each on one line."""
    for line in lines:
        print(plain(line))

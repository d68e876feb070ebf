"""Shifts the clock of the program that starts with this on PYTHONPATH, by what a file says.

Python runs it before the program imports anything, so whoever imports ``time`` gets the shifted
one. Timers are not touched: they run by the monotonic clock.
"""

import datetime as dt
import mmap
import os
import struct
import time

_true_time = time.time
_true_datetime = dt.datetime
_SECONDS = struct.Struct("d")

with open(os.environ["FAULTS_CLOCK_FILE"], "rb") as _file:  # noqa: PTH123  # before anything
    _shared = mmap.mmap(_file.fileno(), _SECONDS.size, access=mmap.ACCESS_READ)


def _shifted_time() -> float:
    shift_s: float = _SECONDS.unpack(_shared)[0]
    return _true_time() + shift_s


class _Kind(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _true_datetime)


class _ShiftedDatetime(_true_datetime, metaclass=_Kind):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
        return _true_datetime.fromtimestamp(_shifted_time(), tz)


time.time = _shifted_time
dt.datetime = _ShiftedDatetime  # type: ignore[misc]

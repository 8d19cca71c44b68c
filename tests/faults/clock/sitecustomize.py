"""Gives every Python process that finds it on its path the wall clock of the file that GRADLOOM_TEST_CLOCK names.

The file holds seconds by which the clock is ahead of the machine's. The monotonic clock is the machine's own.
"""

import datetime
import os
import time

_ahead = os.environ["GRADLOOM_TEST_CLOCK"]
_real_time, _real_datetime = time.time, datetime.datetime


def _seconds_ahead():
    with open(_ahead) as file:
        return float(file.read())


class _Kind(type):
    def __instancecheck__(cls, value):
        return isinstance(value, _real_datetime)


class _Datetime(_real_datetime, metaclass=_Kind):
    @classmethod
    def now(cls, tz=None):
        return _real_datetime.now(tz) + datetime.timedelta(seconds=_seconds_ahead())


time.time = lambda: _real_time() + _seconds_ahead()
time.time_ns = lambda: int(time.time() * 1e9)
datetime.datetime = _Datetime

"""waiting.py - waiting for what must become true, with a limit, and observing for a while."""
import time
from typing import Callable, TypeVar

T = TypeVar("T")


def until(what: str, condition: Callable[[], T], seconds: float = 15, every: float = 0.02) -> T:
    """The first true value of condition(); an exception in it counts as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            value = condition()
            problem = value
        except (OSError, ValueError, KeyError, AssertionError) as error:
            value, problem = None, error
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.3g} s: {what}; last: {problem!r}")
        time.sleep(every)


def observe(seconds: float, each: Callable[[], None], every: float = 0.05) -> None:
    """Calls each() again and again for so long: what must hold all the while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        each()
        time.sleep(every)

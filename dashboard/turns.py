"""Work of many visitors on one model: one at a time, in the order it was asked for, in one thread of its own.

NOTE: a thread, not a lock. A lock lets anyone in first, so that some wait long; and each visitor's thread would keep memory and
helping threads of its own for what it computes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
RECENT = 1.0
"""Seconds that count as just now."""


class Turns:
    """A queue of work, and who does it; its thread starts with the first piece of work."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="turns")
        self._clock, self._count, self._asked = clock, threading.Lock(), deque[float]()

    @property
    def crowd(self) -> int:
        """How many pieces of work were asked for in the last `RECENT` seconds."""
        with self._count:
            while self._asked and self._clock() - self._asked[0] > RECENT:
                self._asked.popleft()
            return len(self._asked)

    def take(self, work: Callable[[int], Result]) -> Result:
        """What ``work`` gives, or raises, when its turn has come; it is told the `crowd`, itself among it."""
        with self._count:
            self._asked.append(self._clock())
            turn = self._worker.submit(lambda: work(max(1, self.crowd)))
        return turn.result()

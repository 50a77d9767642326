"""Leaving long work when SIGINT or SIGTERM asks for it: at once where nothing can be lost, else when what was done is saved."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_SECONDS = 3.0
"""How long work that puts a stop off has to come to a good place; then it is left where it is."""


class Stop:
    """Whether the process was asked to stop. A signal raises `KeyboardInterrupt`, except within `deferred`."""

    def __init__(self) -> None:
        self.is_asked = False
        self._is_deferred = False

    def check(self, *_: object) -> None:
        """Raise if the process was asked to stop: an exception is lost where a library calls back from compiled code. It takes
        any arguments, so that it can be told of progress.

        Raises:
            KeyboardInterrupt: it was.
        """
        if self.is_asked:
            raise KeyboardInterrupt

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within, a signal is only noted: whoever is at work looks at `is_asked` and says `obey`. If that takes longer than
        `GRACE_SECONDS`, `KeyboardInterrupt` comes after all."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False
            self.obey()

    def obey(self) -> None:
        """Say that the stop is on its way: `deferred` waits as long as saving takes."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _receive(self, number: int, _: FrameType | None) -> None:
        is_first, self.is_asked = not self.is_asked, True
        if number == signal.SIGALRM or not self._is_deferred:
            raise KeyboardInterrupt
        if is_first:
            signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """A `Stop` that follows SIGINT and SIGTERM within. Outside the main thread signals are left alone."""
    stop = Stop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    try:
        before = {number: signal.signal(number, stop._receive) for number in numbers}
    except ValueError:  # not the main thread
        yield stop
        return
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

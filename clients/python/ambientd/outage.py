"""Outage: the time from the loss of a daemon until it serves again, spent in tries that come ever less often.

Delays double from 50 ms to 5 s, each shortened by up to half at random, so that hundreds of trainers do not come back
in step. The randomness is our own: the program's seeds decide its training, and are not touched.

Not here: what is done again (loader.py, job.py).
"""
from __future__ import annotations

import logging
import random
import time

from .errors import DisconnectedError

_FIRST_S = 0.05
_LONGEST_S = 5.0

_LOADER_HINT = "The loader's state is kept: iterate again once the daemon runs"

log = logging.getLogger("ambientd")


class Outage:
    """Begins with the error that told of it; `wait` until `over`."""

    def __init__(self, address: str, error: DisconnectedError, seconds: float, hint: str = _LOADER_HINT) -> None:
        """hint: what to do, said where the time is used up."""
        self.address = address
        self._hint = hint
        self._began = time.monotonic()
        self._give_up = self._began + seconds
        self._seconds = seconds
        self._delay = _FIRST_S
        self._random = random.Random()
        log.warning("the daemon at %s went away: %s; waiting up to %g s for it", address, str(error), seconds)

    @property
    def left(self) -> float:
        """Seconds until it is given up, above 0."""
        return max(0.001, self._give_up - time.monotonic())

    def wait(self, error: DisconnectedError) -> None:
        """Sleep until the next try; DisconnectedError where the time is used up."""
        now = time.monotonic()
        if now >= self._give_up:
            raise DisconnectedError(
                f"waited {now - self._began:.1f} s for the daemon at {self.address}, as long as reconnect_timeout="
                f"{self._seconds:g} allows; the last try: {error}. {self._hint}") from error
        time.sleep(min(self._delay * self._random.uniform(0.5, 1.0), self._give_up - now))
        self._delay = min(2 * self._delay, _LONGEST_S)

    def over(self) -> None:
        log.info("the daemon at %s serves again after %.1f s", self.address, time.monotonic() - self._began)

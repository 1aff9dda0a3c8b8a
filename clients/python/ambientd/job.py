"""Job: a handle to annotation work in the daemon. The work belongs to the daemon and goes on without this object."""
from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any, Callable, Iterator

from . import wire
from .errors import AmbientTimeoutError, AmbientWarning, DisconnectedError, JobError, NotFoundError, ProtocolError
from .outage import Outage
from .watch import Watch

if TYPE_CHECKING:
    from .client import Client

OVER = ("done", "failed", "cancelled")
_SILENCE_S = 30.0  # then the daemon is asked: an event that does not fit one frame is not sent


class Job:
    """`client.annotate(...)` and `client.jobs()` make these.

    facts  the job as the daemon last told it: a dict with id, dataset, kind, mode, state ("queued", "running",
           "paused", "waiting", "done", "failed", "cancelled"), reason, priority, total, done, given_up, unreadable,
           evaluations, samples_per_s, evaluations_per_s, eta_s, ... (proto/README.md, Jobs). It is as old as the last
           call; refresh() asks anew.
    """

    def __init__(self, client: Client, facts: dict[str, Any]) -> None:
        if not isinstance(facts, dict) or not isinstance(facts.get("id"), int) or "state" not in facts:
            raise ProtocolError(f"the daemon told of a job without id and state: {facts!r:.200}")
        self._client = client
        self.facts = facts

    @property
    def id(self) -> int:
        return int(self.facts["id"])

    @property
    def state(self) -> str:
        return str(self.facts["state"])

    @property
    def over(self) -> bool:
        """True if it has ended, in whatever way."""
        return self.state in OVER

    def refresh(self) -> Job:
        """Ask the daemon how it stands; NotFoundError if it has been forgotten (64 jobs of a dataset are kept)."""
        self.facts = self._find(self._client._query(wire.JOBS)["jobs"])
        return self

    def progress(self) -> dict[str, Any]:
        """The facts, asked anew."""
        return self.refresh().facts

    def pause(self) -> Job:
        """Stop for now; acknowledged samples stay. An error where it has ended."""
        return self._act("pause")

    def resume(self) -> Job:
        """Go on with a job that is paused, has failed, or was cancelled."""
        return self._act("resume")

    def cancel(self) -> Job:
        """End it; acknowledged samples stay."""
        return self._act("cancel")

    def set_priority(self, priority: int) -> Job:
        """-1000 to 1000; the job of the highest priority runs, then the oldest."""
        return self._act("priority", priority=priority)

    def wait(self, timeout: float | None = None, *, progress: Callable[[dict[str, Any]], object] | None = None,
             check: bool = True, reconnect_timeout: float = 300.0) -> Job:
        """Wait until the job has ended.

        timeout   seconds, None for ever; AmbientTimeoutError then, and the job goes on
        progress  called with the job's dict at once and at each change, at most four times a second
        check     raise JobError where it failed or was cancelled
        reconnect_timeout   seconds to wait for a daemon that is restarted, whose jobs go on; 0: DisconnectedError

        A job that is paused, or that waits for room on disk, is waited for like any other.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if _is_over(deadline):  # no time to be told of anything
            if not self.refresh().over:
                raise self._late()
            return self._judged(check)
        outage: Outage | None = None
        while True:
            try:
                for self.facts in self._changes(deadline):
                    if outage is not None:
                        outage.over()
                        outage = None
                    if progress is not None:
                        progress(self.facts)
                break
            except DisconnectedError as error:
                from .server import has_ended  # which imports the client

                if not reconnect_timeout > 0 or has_ended(self._client.address):
                    raise
                if outage is None:
                    outage = Outage(self._client.address, error, _sooner(reconnect_timeout, deadline) or 0.0,
                                    "The job goes on with the daemon")
                try:
                    outage.wait(error)
                except DisconnectedError as gone:
                    raise (self._late() if _is_over(deadline) else gone) from error
        return self._judged(check)

    def _judged(self, check: bool) -> Job:
        if check and self.facts["state"] != "done":
            raise JobError(f"job {self.id} {_ended(self.facts)}", detail=self.facts)
        return self

    def _changes(self, deadline: float | None) -> Iterator[dict[str, Any]]:
        """Its facts at once and at each change, until it has ended."""
        try:
            watch = Watch(self._client.address, self.facts.get("dataset"), connect_timeout=_sooner(self._client.timeout, deadline))
        except AmbientTimeoutError as error:
            raise (self._late() if _is_over(deadline) else error) from None
        with watch:
            over = False
            while not over:
                try:
                    row = self._find(watch.next(_sooner(_SILENCE_S, deadline))["jobs"])
                except AmbientTimeoutError:
                    if _is_over(deadline):
                        raise self._late() from None
                    row = self.refresh().facts
                over = row["state"] in OVER
                yield row

    def _late(self) -> AmbientTimeoutError:
        return AmbientTimeoutError(f"{self!r} has not ended in time; it goes on without you")

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.state}, {self.facts.get('done')} of {self.facts.get('total')}>"

    def _act(self, action: str, **more: Any) -> Job:
        self.facts = self._client._order(wire.JOB, id=self.id, action=action, **more)
        self._warn()
        return self

    def _warn(self) -> None:
        """Of what a restart of the daemon would not know."""
        if self.facts.get("unwritten"):
            warnings.warn(f"the daemon could not write down what job {self.id} is, and tries again: {self.facts['unwritten']}",
                          AmbientWarning, stacklevel=4)

    def _find(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        for row in rows:
            if row["id"] == self.id:
                return row
        raise NotFoundError(f"the daemon knows no job {self.id}; client.jobs() lists those that it remembers")


def _ended(facts: dict[str, Any]) -> str:
    """'was cancelled behind 3 of 9 samples', 'failed behind 3 of 9 samples: ...'"""
    how = "was cancelled" if facts["state"] == "cancelled" else "failed"
    reason = f": {facts['reason']}" if facts.get("reason") else ""
    return f"{how} behind {facts['done']} of {facts['total']} samples{reason}"


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def _sooner(seconds: float | None, deadline: float | None) -> float | None:
    """Seconds to wait, but not past the deadline."""
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    return seconds if left is None else left if seconds is None else min(seconds, left)

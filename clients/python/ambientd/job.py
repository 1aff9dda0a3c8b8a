"""Job: a handle to annotation work in the daemon. The work belongs to the daemon and goes on without this object."""
from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Callable, Iterator

from . import wire
from .errors import AmbientTimeoutError, DisconnectedError, JobError, NotFoundError
from .outage import Outage

if TYPE_CHECKING:
    from .client import Client

OVER = ("done", "failed", "cancelled")
_SILENCE_S = 30.0  # then the daemon is asked: an event that does not fit one frame is not sent


class Job:
    """`client.annotate(...)` and `client.jobs()` make these.

    info   the job as the daemon last told it: a dict with id, dataset, kind, mode, state ("queued", "running",
           "paused", "waiting", "done", "failed", "cancelled"), reason, priority, total, done, given_up, unreadable,
           evaluations, samples_per_s, evaluations_per_s, eta_s, ... (proto/README.md, Jobs). It is as old as the last
           call; progress() asks anew. Its entries are attributes too: job.state, job.done, job.eta_s.
    """

    def __init__(self, client: Client, info: dict[str, Any]) -> None:
        self._client = client
        self.info = info

    @property
    def id(self) -> int:
        return int(self.info["id"])

    @property
    def over(self) -> bool:
        """True if it has ended, in whatever way."""
        return self.info["state"] in OVER

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "info" or name not in self.info:
            raise AttributeError(f"a job has no {name!r}")
        return self.info[name]

    def progress(self) -> dict[str, Any]:
        """Ask the daemon how it stands; NotFoundError if it has been forgotten (64 jobs of a dataset are kept)."""
        self.info = self._find(self._client._query(wire.JOBS)["jobs"])
        return self.info

    def pause(self) -> dict[str, Any]:
        """Stop for now; acknowledged samples stay. An error where it has ended."""
        return self._act("pause")

    def resume(self) -> dict[str, Any]:
        """Go on with a paused job."""
        return self._act("resume")

    def cancel(self) -> dict[str, Any]:
        """End it; acknowledged samples stay."""
        return self._act("cancel")

    def set_priority(self, priority: int) -> dict[str, Any]:
        """-1000 to 1000; the job of the highest priority runs, then the oldest."""
        return self._act("priority", priority=priority)

    def wait(self, timeout: float | None = None, *, progress: Callable[[dict[str, Any]], object] | None = None,
             check: bool = True, reconnect_timeout: float = 300.0) -> dict[str, Any]:
        """Wait until the job has ended; what it is then.

        timeout   seconds, None for ever; AmbientTimeoutError then, and the job goes on
        progress  called with the job's dict at once and at each change, at most four times a second
        check     raise JobError where it failed or was cancelled
        reconnect_timeout   seconds to wait for a daemon that is restarted, whose jobs go on; 0: DisconnectedError

        A job that is paused, or that waits for room on disk, is waited for like any other.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        outage: Outage | None = None
        while True:
            try:
                for self.info in self._changes(deadline):
                    if outage is not None:
                        outage.over()
                        outage = None
                    if progress is not None:
                        progress(self.info)
                break
            except DisconnectedError as error:
                from .server import has_ended  # which imports the client

                if not reconnect_timeout > 0 or has_ended(self._client.address):
                    raise
                if outage is None:
                    outage = Outage(self._client.address, error, reconnect_timeout, "The job goes on with the daemon")
                outage.wait(error)
        if check and self.info["state"] != "done":
            raise JobError(f"job {self.id} {_ended(self.info)}", detail=self.info)
        return self.info

    def _changes(self, deadline: float | None) -> Iterator[dict[str, Any]]:
        """The job now, and at each change until it has ended."""
        with self._client.subscribe(dataset=self.info.get("dataset")) as watch:
            over = False
            while not over:
                left = math.inf if deadline is None else deadline - time.monotonic()
                try:
                    row = self._find(watch.next(max(0.0, min(left, _SILENCE_S)))["jobs"])
                except AmbientTimeoutError:
                    if left > _SILENCE_S:
                        row = self.progress()
                    else:
                        raise AmbientTimeoutError(f"{self!r} has not ended in time; it goes on without you") from None
                over = row["state"] in OVER
                yield row

    def __repr__(self) -> str:
        info = self.info
        return f"<Job {self.id} {info.get('kind')} {info.get('state')} {info.get('done')} of {info.get('total')}>"

    def _act(self, action: str, **more: Any) -> dict[str, Any]:
        self.info = self._client._order(wire.JOB, id=self.id, action=action, **more)
        return self.info

    def _find(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        for row in rows:
            if row["id"] == self.id:
                return row
        raise NotFoundError(f"the daemon knows no job {self.id}; client.jobs() lists those that it remembers")


def _ended(info: dict[str, Any]) -> str:
    """'was cancelled behind 3 of 9 samples', 'failed behind 3 of 9 samples: ...'"""
    how = "was cancelled" if info["state"] == "cancelled" else "failed"
    reason = f": {info['reason']}" if info.get("reason") else ""
    return f"{how} behind {info['done']} of {info['total']} samples{reason}"

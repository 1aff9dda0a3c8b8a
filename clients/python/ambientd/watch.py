"""Watch: what the daemon says of its jobs, as it changes, over a connection of its own.

Each event is the whole picture, so one that was missed is none that matters: where an interruption cut the connection,
another is opened and goes on. The daemon sends nothing while we do not read.
"""
from __future__ import annotations

import os
from collections import deque
from types import TracebackType
from typing import Any, Iterator

from . import wire
from .connection import Connection, CutError
from .errors import DisconnectedError


class Watch:
    """Events by iteration, without end; `close()`, or leaving the block, ends it. Use from one thread at a time.

    An event is {"jobs": [job..], "generation": {DATASET: number}}; a job is what proto/README.md, Jobs, says. The
    first comes at once, the others as things change, at most four a second.
    """

    def __init__(self, address: str | os.PathLike[str], dataset: str | None = None, timeout: float | None = None,
                 connect_timeout: float | None = 60.0) -> None:
        """timeout: seconds of silence until AmbientTimeoutError, None: for ever (nothing changes while nothing runs)."""
        self.address = os.fspath(address)
        self.timeout = timeout
        self._dataset = dataset
        self._connect_timeout = connect_timeout
        self._connection: _Watching | None = self._open()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        if self._connection is None:
            raise StopIteration
        return self.next(self.timeout)

    def next(self, timeout: float | None) -> dict[str, Any]:
        """The next event; AmbientTimeoutError where none comes in time, and the watch goes on."""
        while True:
            if self._connection is None:
                raise DisconnectedError("the watch is closed")
            try:
                return self._connection.next(timeout)
            except CutError:
                self._connection.close()
                self._connection = self._open()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _open(self) -> _Watching:
        return _Watching(self.address, self._dataset, self._connect_timeout)


class _Watching(Connection):
    """A connection that has said WATCH."""

    def __init__(self, address: str, dataset: str | None, timeout: float | None) -> None:
        self._events: deque[dict[str, Any]] = deque()
        super().__init__(address, timeout)
        try:
            self.query(wire.WATCH, dataset=dataset)
        except BaseException:
            self.close()
            raise

    def on_frame(self, type: int, flags: int, request_id: int, payload: bytes) -> bool:
        if type != wire.EVENT:
            return False
        self._events.append(wire.loads_object(payload, "EVENT"))
        return True

    def next(self, timeout: float | None) -> dict[str, Any]:
        if not self._events:
            self.check()
            self.pump(lambda: bool(self._events), timeout)
        return self._events.popleft()

"""Session: a connection that carries one stream, or answers requests for given sigmas.

The daemon lends slots ahead of the consumer; they wait in `pending` until they are asked for. A lease is made the
moment a LEND is parsed, so that a slot that nobody takes goes back by itself.

Not here: what a consumer wants (loader.py), resuming (loader.py).
"""
from __future__ import annotations

import _thread
import gc
import os
import weakref
from collections import deque
from typing import Any, Callable, Sequence

from . import wire
from .connection import Connection
from .errors import ConfigError, HoardError, ProtocolError, from_json
from .fields import Field
from .slab import Lease, Return, Slab

_SLOTS_MAX = 64


class Session(Connection):
    """SUBSCRIBE is said by the constructor; `reply` is the daemon's SUBSCRIBED."""

    def __init__(self, address: str | os.PathLike[str], subscribe: dict[str, Any],
                 timeout: float | None = 60.0) -> None:
        self.pending: deque[tuple[wire.Lend, Lease]] = deque()
        self.end: dict[str, Any] | None = None
        self.first_step = 0   # of the stream's steps, this session's first
        self.last_step = -1   # the last that the daemon lent
        self.instead: dict[tuple[Any, Any], tuple[Any, Any]] = {}  # fingerprints that cannot be had -> those that it stands on
        self.slab: Slab | None = None
        self._early: list[wire.Lend] = []  # lent in the same breath as SUBSCRIBED, before there was a slab
        self.reclaim: Callable[[], bool] = lambda: False  # wait for a slot that a device still reads
        self._flush_weakly = _weak_flush(self)
        super().__init__(address, timeout)
        try:
            self._subscribe(subscribe)
        except BaseException:
            self.close()
            raise

    def _subscribe(self, subscribe: dict[str, Any]) -> None:
        answer = self.call(wire.SUBSCRIBE, wire.dumps(subscribe), raw=True)
        if answer.type != wire.SUBSCRIBED:
            raise ProtocolError(f"SUBSCRIBE was answered by a frame of type {answer.type}")
        self.reply: dict[str, Any] = wire.loads_object(answer.payload, "SUBSCRIBED")
        fd = self.take_fd()
        try:
            self.first_step = int(self.reply["state"]["step"])
            self.n_slots = int(self.reply["slots"])
            self.batch_size = int(self.reply["batch_size"])
            slab = Slab(fd, self.n_slots, int(self.reply["slot_bytes"]))
            self.fields = {field["name"]: Field.from_json(field, self.batch_size, slab.slot_bytes)
                           for field in self.reply["fields"]}
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ProtocolError(f"the daemon's SUBSCRIBED lacks {error}") from None
        finally:
            os.close(fd)
        self.slab = slab
        for lend in self._early:
            self.pending.append((lend, self._lease(lend)))
        self._early.clear()

    # -- frames -----------------------------------------------------------------------------------------------

    def on_frame(self, type: int, flags: int, request_id: int, payload: bytes) -> bool:
        if type == wire.LEND:
            lend = wire.decode_lend(payload)
            if request_id == 0:
                self.last_step = lend.step
            if self.slab is None:
                self._early.append(lend)
                return True
            lease = self._lease(lend)
            if request_id == 0:
                self.pending.append((lend, lease))
            else:
                answer = self._answers.get(request_id)
                if answer is not None:  # else the request was interrupted: the lease dies here
                    answer.value, answer.done = (lend, lease), True
            return True
        if type == wire.END:
            self.end = wire.loads_object(payload, "END")
            return True
        return False

    def _lease(self, lend: wire.Lend) -> Lease:
        assert self.slab is not None
        if lend.count > self.batch_size:
            raise ProtocolError(f"the daemon lent {lend.count} samples in batches of {self.batch_size}")
        return self.slab.lease(lend.slot, self._send, self._flush_weakly)

    def encode(self, item: Any) -> bytes:
        if isinstance(item, Return):
            assert self.slab is not None
            self.slab.lent.pop(item.slot, None)
            return wire.encode_done(item.slot)
        return super().encode(item)

    # -- batches ----------------------------------------------------------------------------------------------

    def take(self, timeout: float | None) -> tuple[wire.Lend, Lease] | None:
        """The next batch of the stream, or None at its end. Raises HoardError where the consumer holds all slots."""
        if not self.pending:
            self.drain()
        if not self.pending and self.end is None:
            self.check()
            self._refuse_hoard()
            self.pump(lambda: bool(self.pending) or self.end is not None, timeout)
        if self.pending:
            return self.pending.popleft()
        assert self.end is not None
        if self.end.get("reason") == "error":
            raise from_json(self.end.get("error"))
        return None

    def request(self, sigmas: Sequence[float], scale: int, q: int, dataset: str, annotations: str,
                timeout: float | None) -> tuple[wire.Lend, Lease]:
        """A batch for given sigmas; the session was subscribed in mode "request"."""
        if not 1 <= len(sigmas) <= self.batch_size:
            raise ConfigError(f"a request of {len(sigmas)} sigmas; 1 to the batch size, {self.batch_size}, are allowed")
        self.check()
        self._refuse_hoard()
        payload = wire.encode_request(sigmas, scale, q, dataset, annotations)
        answer = self.call(wire.REQUEST, payload, raw=True, timeout=timeout)
        if not isinstance(answer, tuple):
            raise ProtocolError(f"REQUEST was answered by a frame of type {answer.type}")
        return answer

    def held(self) -> int:
        """Slots that live arrays or batches hold, those that wait in `pending` included."""
        assert self.slab is not None
        return sum(ref() is not None for ref in list(self.slab.lent.values()))

    def _refuse_hoard(self) -> None:
        while self.held() >= self.n_slots and self.reclaim():
            pass
        if self.held() < self.n_slots:
            return
        gc.collect()  # arrays in reference cycles
        if self.held() < self.n_slots:
            return
        raise HoardError(
            f"arrays of earlier batches hold all {self.n_slots} slots, so there is no memory for the next batch: let "
            f"go of batches, or of views and tensors of them, that are no longer needed, copy what is to be kept, take "
            f"more slots (slots=, up to {_SLOTS_MAX}), or let the loader copy (hoard=\"copy\")")


def _weak_flush(session: Session) -> Callable[[Any], None]:
    """What a dying lease calls. Arrays may outlive the session, so it must not hold it."""
    ref = weakref.ref(session)

    def flush(_: Any) -> None:
        try:
            alive = ref()
            if alive is not None:
                alive.flush()
        except KeyboardInterrupt:  # would be swallowed here: raise it again where the program is
            _thread.start_new_thread(_thread.interrupt_main, ())

    return flush

"""Slab: the session's shared memory, and the lease of one slot.

Arrays of a batch are views whose last base is the lease. When the last array, view or tensor dies, the lease dies,
and with it the slot goes back. The return is registered by a weak reference whose callback is `deque.append` itself:
one C call, which no interruption can cut in two; a second callback then sends it.

Not here: sending (connection.py), what lies in a slot (batch.py).
"""
from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from collections import deque
from typing import Any, Callable

import numpy as np

from .errors import ProtocolError


class Slab:
    """The memfd, mapped read-write once. The mapping lives as long as any lease."""

    def __init__(self, fd: int, n_slots: int, slot_bytes: int) -> None:
        """The caller keeps fd and may close it afterwards."""
        n_bytes = n_slots * slot_bytes
        actual = os.fstat(fd).st_size
        if n_slots < 1 or slot_bytes < 1 or actual < n_bytes:
            raise ProtocolError(f"a slab of {actual} bytes is said to hold {n_slots} slots of {slot_bytes}")
        self.n_slots = n_slots
        self.slot_bytes = slot_bytes
        self.n_bytes = n_bytes
        populate = getattr(mmap, "MAP_POPULATE", 0)  # fault in once: fresh pages are four times as slow
        self._map = mmap.mmap(fd, n_bytes, mmap.MAP_SHARED | populate, mmap.PROT_READ | mmap.PROT_WRITE)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.lent: dict[int, Return] = {}  # slots that the client holds, not yet handed to the send queue
        self.on_unmap: Callable[[], None] | None = None

    def __del__(self) -> None:
        if getattr(self, "on_unmap", None) is not None:
            self.on_unmap()  # type: ignore[misc]

    def lease(self, slot: int, returns: deque[Any], flush: Callable[[Any], None]) -> Lease:
        """Take charge of a slot that was just lent.

        When the lease dies, `returns` gets a Return, then `flush` is called. Neither may hold the connection: arrays
        may outlive it.
        """
        if slot >= self.n_slots or slot in self.lent:
            raise ProtocolError(f"the daemon lent slot {slot}; "
                                + (f"there are {self.n_slots}" if slot >= self.n_slots else "it was lent already"))
        lease = Lease(self, slot)
        # Callbacks run newest first: append, then flush.
        lease_flush = Return(lease, flush)
        lease_return = Return(lease, returns.append)
        lease_return.slot = slot
        lease_return.flush = lease_flush
        self.lent[slot] = lease_return
        return lease


class Return(weakref.ref):  # type: ignore[type-arg]
    """A slot on its way back."""

    __slots__ = ("slot", "flush")
    slot: int
    flush: Any


class Lease:
    """Memory of one slot for numpy, by the array interface, and the right to use it."""

    __slots__ = ("slab", "slot", "__weakref__")

    def __init__(self, slab: Slab, slot: int) -> None:
        self.slab = slab
        self.slot = slot

    @property
    def __array_interface__(self) -> dict[str, Any]:
        slab = self.slab
        return {"version": 3, "typestr": "|u1", "shape": (slab.slot_bytes,),
                "data": (slab.address + self.slot * slab.slot_bytes, False)}

    def bytes(self) -> np.ndarray:
        """The whole slot as u8; every view of it holds the lease."""
        return np.asarray(self)

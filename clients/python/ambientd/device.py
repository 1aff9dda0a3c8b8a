"""Device: batches on an accelerator, through torch or jax.

For CUDA the slab is registered once as pinned memory. Copies of a batch run on a stream of their own while the trainer
computes; the consumer's stream waits for them by an event, the host never does. The slot stays leased until the event
has passed: then the daemon may fill it again. One batch is copied ahead, if it has arrived.

Other devices: a plain copy, and the slot goes back at once.
"""
from __future__ import annotations

import warnings
from collections import deque
from typing import Any

from .batch import Batch
from .errors import AmbientWarning, ConfigError
from .slab import Slab


def mover(framework: str, device: Any) -> Any:
    """What moves batches to `device`, or None where there is nothing to do."""
    if device is None:
        return None
    if framework == "numpy":
        raise ConfigError(f'device={device!r} needs framework="torch" or "jax"; numpy arrays live on the host')
    if framework == "jax":
        return _Jax(device)
    import torch
    try:
        where = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device={device!r}: {error}") from None
    if where.type == "cpu":
        return None
    if where.type == "cuda":
        if not torch.cuda.is_available():
            built = torch.version.cuda or getattr(torch.version, "hip", None)
            raise ConfigError(f"device={device!r}, but CUDA is not available: "
                              + ("torch finds no usable GPU or driver" if built else "this torch is built without it"))
        return Cuda(torch, where)
    return _Torch(torch, where)


class _Torch:
    """Devices without pinned memory of ours: a copy that has finished when it returns."""

    ahead = False  # whether a batch may be started before it is asked for

    def __init__(self, torch: Any, device: Any) -> None:
        self._torch, self._device = torch, device

    def attach(self, slab: Slab) -> None:
        pass

    def start(self, batch: Batch) -> None:
        batch.detach({name: batch[name].to(self._device, copy=True) for name in batch.array_names()})

    def finish(self, batch: Batch) -> None:
        pass

    def wait(self) -> bool:
        return False

    def close(self) -> None:
        pass


class _Jax(_Torch):
    """jax.device_put, and a wait until it has read the slot."""

    def __init__(self, device: Any) -> None:
        import jax
        self._jax: Any = jax
        if isinstance(device, str):
            kind, _, index = device.partition(":")
            try:
                self._device = jax.devices(kind)[int(index or 0)]
            except (RuntimeError, ValueError, IndexError) as error:
                raise ConfigError(f"device={device!r}: {error}") from None
        else:
            self._device = device

    def start(self, batch: Batch) -> None:
        made = {}
        for name in batch.array_names():
            array = batch[name]
            # A copy of its own: device_put to the same CPU device would alias the slot.
            moved = self._jax.device_put(self._jax.numpy.array(array, copy=True), self._device)
            made[name] = moved
        self._jax.block_until_ready(made)
        batch.detach(made)


class Cuda:
    """Asynchronous copies out of pinned slots."""

    ahead = True

    def __init__(self, torch: Any, device: Any) -> None:
        self._torch = torch
        if device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._events: dict[int, Any] = {}                 # of batches copied ahead, by id
        self._in_flight: deque[tuple[Any, Any]] = deque()  # (event, slot): the slot is leased until the event

    def attach(self, slab: Slab) -> None:
        """Pin the slab. Where that is refused (locked-memory limit) the copies are right, but not asynchronous."""
        cudart = self._torch.cuda.cudart()
        with self._torch.cuda.device(self._device):
            status = cudart.cudaHostRegister(slab.address, slab.n_bytes, 0)
        if int(status) != 0:
            warnings.warn(f"cudaHostRegister of {slab.n_bytes} bytes answered {int(status)}: copies to the GPU will be "
                          "slower; see `ulimit -l`", AmbientWarning, stacklevel=4)
            return
        address = slab.address
        slab.on_unmap = lambda: cudart.cudaHostUnregister(address)

    def start(self, batch: Batch) -> None:
        """Begin the copies of a batch."""
        torch = self._torch
        slot = batch.slot
        # Buffers come from the allocator's pool of the side stream; finish() tells it who else uses them.
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            made = {name: batch[name].to(self._device, non_blocking=True) for name in batch.array_names()}
            event = torch.cuda.Event()
            event.record(self._stream)
        batch.detach(made)
        self._in_flight.append((event, slot))
        self._events[id(batch)] = event

    def finish(self, batch: Batch) -> None:
        """Order the consumer's stream behind the copies."""
        event = self._events.pop(id(batch))
        current = self._torch.cuda.current_stream(self._device)
        current.wait_event(event)
        for name in batch.array_names():
            batch[name].record_stream(current)
        self.collect()

    def collect(self) -> None:
        """Give slots back whose copies are done."""
        while self._in_flight and self._in_flight[0][0].query():
            self._in_flight.popleft()

    def wait(self) -> bool:
        """Wait for the oldest copy and give its slot back; False if there is none."""
        if not self._in_flight:
            return False
        self._in_flight[0][0].synchronize()
        self.collect()
        return True

    def close(self) -> None:
        while self.wait():
            pass
        self._events.clear()

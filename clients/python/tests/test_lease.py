"""Leases follow reference counts; hoarding is an error, never changed data."""
import copy
import gc
import pickle
import threading
import time

import numpy as np
import pytest

import ambientd
from .test_loader import make


def eventually(condition, timeout=5.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def test_the_slot_goes_back_with_the_last_view_and_at_once(daemon):
    loader = make(daemon)
    iterator = iter(loader)
    batch = next(iterator)
    view = batch.x_t[1:3, :, ::2].T
    memory = memoryview(batch.index)
    del batch
    gc.collect()
    time.sleep(0.05)
    assert daemon.done == []
    del view
    time.sleep(0.05)
    assert daemon.done == []
    del memory
    eventually(lambda: daemon.done == [0])  # without another call into the loader


def test_keys_and_members_hold_the_slot(daemon):
    loader = make(daemon, fields=["key", "member:txt"])
    iterator = iter(loader)
    keys = next(iterator).key
    time.sleep(0.05)
    assert daemon.done == [] and keys[0] == "key-0"
    del keys
    eventually(lambda: daemon.done == [0])


def test_a_held_batch_never_changes(daemon):
    """One batch is kept while the stream uses the other slots many times over."""
    loader = make(daemon, slots=3)
    iterator = iter(loader)
    kept = next(iterator).x_t
    for _ in range(50):
        next(iterator)
    assert kept[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


def test_hoarding_every_slot_is_an_error_that_says_what_to_do(daemon):
    loader = make(daemon, slots=3)
    iterator = iter(loader)
    kept = [next(iterator).x_t for _ in range(3)]
    with pytest.raises(ambientd.HoardError, match="all 3 slots.*hoard=\"copy\""):
        next(iterator)
    assert [array[0, 0, 0, 0] for array in kept] == [0, 4, 8]
    kept.pop(1)
    batch = next(iterator)
    assert batch.step == 3 and batch.index.tolist() == [12, 13, 14, 15]


def test_arrays_in_reference_cycles_are_no_hoard(daemon):
    loader = make(daemon, slots=2)
    gc.disable()
    try:
        for n, batch in zip(range(10), loader):
            cycle = [batch.x_t]
            cycle.append(cycle)
            del cycle
            assert batch.step == n
            del batch
    finally:
        gc.enable()


def test_hoard_copy_copies_and_goes_on(daemon):
    loader = make(daemon, slots=3, hoard="copy")
    kept = [batch.x_t for batch, _ in zip(loader, range(12))]
    assert [array[:, 0, 0, 0].tolist() for array in kept] == [list(range(4 * n, 4 * n + 4)) for n in range(12)]
    assert sum(array.base is None or array.base.base is None for array in kept) >= 9  # most are private memory


def test_hoard_copy_copies_only_the_batch_that_would_take_the_last_slot(daemon):
    """What waits in the loader is no hoard: a user of one batch at a time never pays for a copy."""
    loader = make(daemon, slots=4, hoard="copy")
    for n, batch in zip(range(20), loader):
        eventually(lambda: loader._session.drain() or len(loader._session.pending) == 3 or n > 17)
        assert not isinstance(batch.slot, np.ndarray) or batch.slot.base is not None, n


def test_a_batch_is_copied_and_pickled_without_its_slot(daemon):
    """As a DataLoader's worker sends it to its parent: the fields, what is known of the step, and no shared memory."""
    loader = make(daemon, fields=["x_t", "index", "key", "member:txt", "member:npy"])
    loader.request([1.0])
    batch = next(iter(loader))
    kept = [pickle.loads(pickle.dumps(batch)), copy.copy(batch), copy.deepcopy(batch)]
    want = [batch.x_t.copy(), batch.index.tolist(), list(batch.key), list(batch.member_txt), batch.missing("member:npy").tolist(), batch.state]
    del batch
    gc.collect()
    eventually(lambda: 0 in daemon.done or all(one.slot is None for one in kept))
    for one in kept:
        assert (one.step, one.count, one.state["q"]) == (0, 4, 1) and (one.x_t == want[0]).all()
        assert [one.index.tolist(), list(one.key), list(one.member_txt), one.missing("member:npy").tolist(), one.state] == want[1:]
        assert copy.copy(one).index.tolist() == want[1]


def test_requests_hoard_too(daemon):
    loader = make(daemon, slots=2)
    kept = [loader.request([1.0]).x_t for _ in range(2)]
    with pytest.raises(ambientd.HoardError):
        loader.request([1.0])
    del kept
    assert loader.request([1.0]).step == 2


def test_arrays_outlive_the_loader(daemon):
    loader = make(daemon)
    batch = next(iter(loader))
    array = batch.x_t
    loader.close()
    del loader, batch
    gc.collect()
    array += 1
    assert array[:, 0, 0, 0].tolist() == [1, 2, 3, 4]
    eventually(lambda: not daemon._open)


def test_a_forgotten_loader_closes_its_connections(daemon):
    loader = make(daemon)
    array = next(iter(loader)).x_t
    eventually(lambda: len(daemon._open) == 1)
    del loader
    eventually(lambda: not daemon._open)  # though an array is alive
    assert array[0, 0, 0, 0] == 0


def test_batches_may_die_in_other_threads_and_in_the_collector(daemon):
    """A second thread drops what the first one loads, some of it in cycles, while both run."""
    loader = make(daemon, slots=16)
    queue, total = [], 3000

    def consumer():
        n = 0
        while n < total:
            while queue:
                step, batch, index = queue.pop(0)
                assert index.tolist() == list(range(4 * step, 4 * step + 4))
                if step % 7 == 0:
                    loop = [batch]
                    loop.append(loop)
                n += 1
            time.sleep(0.0005)

    thread = threading.Thread(target=consumer)
    thread.start()
    iterator = iter(loader)
    for n in range(total):
        while len(queue) > 4:
            time.sleep(0.0002)
        batch = next(iterator)
        queue.append((batch.step, batch, batch.index))
        del batch
    thread.join()
    gc.collect()
    eventually(lambda: len(daemon.done) >= total)


def test_a_step_costs_little(daemon):
    """Of the loader's own time, the fake daemon's thread aside: CPU time of this thread."""
    iterator = iter(make(daemon))
    for _ in range(50):
        next(iterator).x_t
    best = 1.0
    for _ in range(5):
        began = time.thread_time()
        for _ in range(100):
            next(iterator).x_t
        best = min(best, (time.thread_time() - began) / 100)
    assert best < 200e-6, f"{best * 1e6:.0f} us a batch"


def test_bf16_and_f16_have_the_right_values(daemon):
    batch = next(iter(make(daemon, fields=["x_t:bf16", "x_tn:f16"])))
    assert batch.x_tn.dtype == np.float16 and batch.x_tn[3, 0, 0, 0] == 3
    if batch.x_t.dtype == np.uint16:  # without ml_dtypes: the bits
        assert (batch.x_t.astype(np.uint32) << 16).view(np.float32)[3, 0, 0, 0] == 3
    else:
        assert float(batch.x_t[3, 0, 0, 0]) == 3

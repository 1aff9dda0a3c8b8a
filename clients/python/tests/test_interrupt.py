"""KeyboardInterrupt at every bytecode of the client: no batch is lost or changed, no protocol error, no leaked slot."""
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

import ambientd
import ambientd.connection
import ambientd.session
from .test_loader import make

PACKAGE = str(Path(ambientd.__file__).parent)


class Bomb:
    """Raises KeyboardInterrupt before the n-th bytecode that the package executes in this thread."""

    def __init__(self, n):
        self.left = n
        self.fired = False

    def trace(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self.local

    def local(self, frame, event, arg):
        if event == "opcode" and not self.fired:
            self.left -= 1
            if self.left < 0:
                self.fired = True
                raise KeyboardInterrupt
        return self.local

    def __enter__(self):
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_):
        sys.settrace(None)


def interrupted_run(daemon, n, use):
    """Let `use` be interrupted at bytecode n, and return True if it came that far."""
    with Bomb(n) as bomb:
        try:
            use()
        except KeyboardInterrupt:
            pass
    return bomb.fired


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(ambientd.connection, "_STUCK_S", 0.02)
    swallowed = []

    class Thread:
        @staticmethod
        def start_new_thread(function, arguments):
            swallowed.append(function)

        interrupt_main = None

    monkeypatch.setattr(ambientd.session, "_thread", Thread)
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    return swallowed


def every(limit, stride):
    n = 0
    while n < limit:
        yield n
        n += stride


def test_iteration_survives_an_interrupt_at_any_bytecode(daemon, quick):
    """After each interrupt the stream must go on exactly behind the state, which is at most one batch ahead of what the
    loop body saw (the one that was being returned)."""
    n_fired = 0
    for n in every(40_000, 13):
        loader = make(daemon)
        iterator = iter(loader)
        seen = [next(iterator).index.tolist() for _ in range(2)]
        current = []

        def use():
            for batch in loader:
                current.append(batch.index.tolist())
                del batch
                if len(current) == 3:
                    return

        if not interrupted_run(daemon, n, use):
            break
        n_fired += 1
        step = loader.state_dict()["step"]
        seen += current
        assert len(seen) <= step <= len(seen) + 1, f"bytecode {n}: state {step}, seen {len(seen)}"
        for k in range(5):
            batch = next(iter(loader))
            assert batch.step == step + k, f"bytecode {n}"
            assert batch.index.tolist() == list(range(4 * batch.step, 4 * batch.step + 4))
        assert seen == [list(range(4 * i, 4 * i + 4)) for i in range(len(seen))]
        del batch
        loader.close()
        assert daemon.bad == [], f"bytecode {n}"
    assert n_fired > 50


def test_requests_survive_an_interrupt_at_any_bytecode(daemon, quick):
    n_fired = 0
    for n in every(40_000, 29):
        loader = make(daemon, slots=2)
        loader.request([1.0])
        got = []
        if not interrupted_run(daemon, n, lambda: got.append(loader.request([1.0]).step)):
            break
        n_fired += 1
        q = loader.state_dict()["q"]
        assert 1 + len(got) <= q <= 2
        for k in range(4):
            assert loader.request([1.0]).step == q + k, f"bytecode {n}"
        loader.close()
        assert daemon.bad == [], f"bytecode {n}"
    assert n_fired > 20


def test_connecting_survives_an_interrupt_at_any_bytecode(daemon, quick):
    n_fired = 0
    for n in every(100_000, 97):
        loader = make(daemon)
        if not interrupted_run(daemon, n, lambda: next(iter(loader))):
            break
        n_fired += 1
        step = loader.state_dict()["step"]
        assert step <= 1 and next(iter(loader)).step == step
        loader.close()
    assert n_fired > 20
    loader = None
    deadline = time.monotonic() + 5
    while daemon._open and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not daemon._open


def test_client_survives_an_interrupt_at_any_bytecode(daemon, quick):
    n_fired = 0
    client = ambientd.Client(daemon.path)
    for n in every(100_000, 53):
        if not interrupted_run(daemon, n, client.status):
            break
        n_fired += 1
        assert client.sample("a")["key"] == "inf"
    assert n_fired > 20
    client.close()


def test_interrupts_of_a_real_signal_are_survived(daemon, monkeypatch, request):
    """SIGINT from a timer thread, at moments nobody chose."""
    import _thread
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # pytest's own does not survive an interrupt
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    loader = make(daemon)
    loader.state_dict()
    stop = threading.Event()

    def shoot():
        while not stop.wait(0.003):
            _thread.interrupt_main()

    seen, n_interrupts = -1, 0
    thread = threading.Thread(target=shoot)
    end = time.monotonic() + 1.5
    thread.start()
    while True:
        try:
            if stop.is_set() or time.monotonic() > end:
                stop.set()
                thread.join()
                time.sleep(0.5)  # the last one lands here; one that fell into a finalizer is raised again by a thread
                break
            for batch in loader:
                assert batch.step >= seen + 1
                assert batch.index[0] == 4 * batch.step
                seen = batch.step
        except KeyboardInterrupt:
            n_interrupts += 1
    for k in range(3):
        batch = next(iter(loader))
        assert batch.index[0] == 4 * batch.step
    assert n_interrupts > 50 and daemon.bad == []

"""Fixtures of the integration tests: small data sets and daemons that die with their test."""

import contextlib
import os
import pathlib
import re
import select
import signal
import subprocess
import time

import pytest

import datasets
import wire

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = os.environ.get("AMBIENTD_BIN", str(ROOT / "build/daemon/ambientd"))


def sanitized():
    """The daemon is built with ASan or TSan, which keep what was freed: its memory says nothing."""
    binary = pathlib.Path(BIN).read_bytes()
    return b"__asan_init" in binary or b"__tsan_init" in binary


def pytest_configure(config):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background has it ignored, and children inherit that
    config.addinivalue_line("markers", "slow: takes long, or says nothing more under a sanitizer")
    config.addinivalue_line("markers", "threads: worth running under the thread sanitizer")
    config.addinivalue_line("markers", "alone: compares speeds, so it runs when nothing else does")


class Died(RuntimeError):
    """A daemon that ended before it served: `daemon.process.returncode`, `daemon.log()`."""

    def __init__(self, daemon):
        super().__init__(f"exit {daemon.process.returncode}: {daemon.log()}")
        self.daemon = daemon


class Daemon:
    """A running ambientd; `client()` speaks the bare protocol. prefix: a program that becomes the daemon, as `strace -D`."""

    def __init__(self, folder, *arguments, prefix=(), env=None, preexec_fn=None, binary=BIN):
        folder.mkdir(parents=True, exist_ok=True)
        self.socket = folder / "s"
        self.log_path = folder / "log"
        if not any(str(a).startswith("--config") for a in arguments):
            if "--socket" in arguments:
                self.socket = pathlib.Path(arguments[arguments.index("--socket") + 1])
            else:
                arguments = (*arguments, "--socket", self.socket)
            arguments = ("serve", *arguments, "--cache-dir", folder / "index")
        ready, write = os.pipe()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([*prefix, binary, *map(str, arguments), "--ready-fd", str(write)], stderr=log, stdout=log,
                                            stdin=subprocess.DEVNULL, pass_fds=[write], env=env, preexec_fn=preexec_fn)
        os.close(write)
        with open(ready, "rb") as pipe:
            if not select.select([pipe], [], [], 120)[0]:
                self.process.kill()
            self.ready = pipe.readline().decode()
        if not self.ready:
            self.process.wait(30)
            raise Died(self)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def client(self, **options):
        return wire.Client(self.socket, **options)

    def status(self):
        with self.client() as client:
            return client.call(wire.STATUS, {})

    def counter(self, name):
        return self.status()["counters"][name]

    def wait_for(self, what, timeout=10.0):
        """Until what(status) is true; its last value."""
        end = time.monotonic() + timeout
        while True:
            value = what(self.status())
            if value or time.monotonic() > end:
                return value
            time.sleep(0.02)

    def n_fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def n_maps(self):
        """Mapped slabs."""
        return len(re.findall("memfd:ambientd-slab", pathlib.Path(f"/proc/{self.process.pid}/maps").read_text()))

    def stop(self, signum=signal.SIGTERM, timeout=10):
        if self.process.poll() is None:
            self.process.send_signal(signum)
        return self.process.wait(timeout)


@pytest.fixture
def daemon(tmp_path):
    """daemon(*arguments): start one; all are stopped behind the test, and must stop cleanly."""
    with contextlib.ExitStack() as stack:
        count = iter(range(1000))

        def start(*arguments, **options):
            one = Daemon(tmp_path / f"daemon{next(count)}", *arguments, **options)
            stack.callback(end, one)
            return one

        def end(one):
            if one.process.poll() is None:
                status = one.stop()
                assert status == 0, one.log()
            assert "Sanitizer" not in one.log(), one.log()

        yield start


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """300 pictures of 16 x 16 in three tars: the glob."""
    return datasets.tar_set(tmp_path_factory.mktemp("shards") / "tars", 300)


@pytest.fixture(scope="session")
def annotations(tmp_path_factory):
    return datasets.annotate(tmp_path_factory.mktemp("annotations") / "a.jsonl", 300)

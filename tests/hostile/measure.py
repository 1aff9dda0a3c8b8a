"""What a daemon holds, and how a healthy trainer beside it fares."""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Footprint(NamedTuple):
    fds: int
    maps: int
    memfds: int
    rss: int

    @property
    def counts(self):
        return self.fds, self.maps, self.memfds


def footprint(pid):
    folder = pathlib.Path(f"/proc/{pid}")
    links = []
    for fd in (folder / "fd").iterdir():
        try:
            links.append(os.readlink(fd))
        except FileNotFoundError:
            pass
    maps = (folder / "maps").read_text()
    rss = int(re.search(r"VmRSS:\s+(\d+)", (folder / "status").read_text())[1]) << 10
    memfds = maps.count("memfd:") + sum("memfd:" in link for link in links)
    return Footprint(len(links), maps.count("\n"), memfds, rss)


def mapped_files(pid):
    """How often files of each kind are mapped: names without their numbers and hashes. Memory without a file is a cache's or malloc's."""
    lines = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
    names = (line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6)
    return collections.Counter(re.sub("[0-9a-f]{32}|[0-9]+", "N", name) for name in names)


def settled(pid, like=None, timeout=10.0):
    """The footprint once nothing changes any more, or once it has the counts of `like`."""
    end = time.monotonic() + timeout
    last = footprint(pid)
    while time.monotonic() < end:
        time.sleep(0.2)
        now = footprint(pid)
        if now.counts == last.counts and (like is None or now.counts == like.counts):
            return now
        last = now
    return last


class Trainer:
    """A process that trains at a steady pace: every 5 ms a batch is wanted, as of a small model. `result()` ends it."""

    PROGRAM = """
import json, sys, time
import ambientd
loader = ambientd.Loader(sys.argv[1], 64, ["x_t", "index"], seed=1, reconnect=False)
waits, seen, stop = [], 0, False
iterator = iter(loader)
next(iterator)
print("ready", flush=True)
import select
began = time.monotonic()
while not select.select([sys.stdin], [], [], 0)[0]:
    asked = time.monotonic()
    batch = next(iterator)
    waits.append(time.monotonic() - asked)
    seen += 1
    time.sleep(0.005)
waits.sort()
print(json.dumps({"batches_per_s": seen / (time.monotonic() - began), "p99_ms": 1e3 * waits[int(0.99 * len(waits))],
                  "last": batch.step, "index": batch.index.tolist()}))
"""

    def __init__(self, socket):
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "clients/python")}
        self.process = subprocess.Popen([sys.executable, "-c", self.PROGRAM, str(socket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=environment)
        assert self.process.stdout.readline() == "ready\n"

    def result(self):
        out, _ = self.process.communicate("stop\n", timeout=60)
        assert self.process.returncode == 0, "the healthy trainer failed"
        return json.loads(out)

"""Suite L1: soak by work, not by hours. A day of training is 1,728,000 batches, 1,440 reloads, 10,000 connections and 100,000
annotations; they come in this proportion and as fast as they go, for 30 s, with AMBIENTD_SOAK=1 for half an hour, or for
AMBIENTD_SOAK_SECONDS. -s prints the figures. Memory reaches its level behind some 200,000 batches, so the slope is judged
in runs that are long enough to see more than the way there.
"""

import contextlib
import json
import os
import random
import time

import numpy
import pytest

import describing
import wire
from conftest import sanitized
from hostile import measure, offenders, size
from test_hot_reload import FIELDS, SEED, Changing, Trainers, check

pytestmark = pytest.mark.slow
SECONDS = float(os.environ.get("AMBIENTD_SOAK_SECONDS", size(30, 1800)))
BATCHES, CONNECTIONS, ANNOTATIONS = 1200, 7, 70  # to one reload
KIB, SEGMENT = 1 << 10, 64 << 20
DAY = 1_728_000  # batches: memory may grow by 2 MiB for each, which records of new samples and past generations take
LONG_S = 400     # in such a run the slope counts


class Living(Changing):
    """As for H1, with a state directory, and annotations that come by IMPORT and stay with their samples."""

    def __init__(self, daemon, folder, rng):
        self.values = {}
        self.client = self.dataset = None
        super().__init__(daemon, folder, rng)

    def put(self, name, text):
        if name == "c.json":
            config = json.loads(text)
            del config["datasets"]["main"]["annotations"]
            # small enough to be full before the warm-up is over: a cache that fills is no leak
            text = json.dumps(config | {"state_dir": str(self.folder / "state"), "cache_bytes": 64 * KIB})
        super().put(name, text)

    def annotate(self):
        """IMPORT so many samples, which the daemon must have; as before only an eighth may not be used at low noise."""
        self.annotated = ()
        if self.client is None:
            return
        self.configure()
        self.reload()
        ids = self.rng.sample([i for shard in self.shards() for i in shard.ids()], ANNOTATIONS)
        values = {i: self.rng.choice([0.125, 0.25, 0.5]) if i % 8 == 0 else 0 for i in ids}
        self.put("a.jsonl", "".join(json.dumps({"filename": f"{i:06d}", "sigma_min": value}) + "\n" for i, value in values.items()))
        answer = self.client.call(wire.IMPORT, {"path": str(self.folder / "a.jsonl")})
        assert answer["matched"] == ANNOTATIONS and answer["durable"], answer
        self.values |= values
        self.announce(self.dataset, answer["generation"]["fingerprint"])

    def contents(self):
        plain = super().contents()
        sigma_min = [self.values.get(i, 0) for i in plain.ids.tolist()]
        low = [0 if value else low for value, low in zip(sigma_min, plain.low)]
        return describing.Contents(plain.ids, plain.generations, low=low, high=plain.high, sigma_min=sigma_min)

    def announce(self, dataset, annotations):
        self.dataset = dataset
        super().announce(dataset, annotations)

    def change(self):
        """Shards and weights; annotations apart."""
        change = self.rng.choice([self.add, self.remove, self.replace, self.grow, self.reweigh])
        if change == self.add and len(self.shards()) >= 12:
            change = self.remove
        if change == self.remove and len(self.shards()) <= 6:
            change = self.add
        change()


def visit(one, rng):
    """A connection that leaves in one of four ways."""
    way = rng.randrange(4)
    if way == 0:
        with contextlib.closing(offenders.bare(one.socket)) as bare:
            bare.send(offenders.HELLO[:7])
        return
    with one.client() as client:
        if way == 1:
            client.call(wire.STATUS, {})
            return
        stream = client.subscribe(batch_size=4, fields=["x_t", "index"], slots=2)
        lend = stream.next()
        if way == 2:
            stream.done(lend)


def slope(samples):
    """KiB a thousand batches, by least squares; rows of (batches, bytes)."""
    batches, rss = numpy.array(samples, float).T
    return float(numpy.polyfit(batches / 1000, rss / KIB, 1)[0])


def test_the_slope_is_a_slope():
    """The instrument itself: a leak of two KiB a thousand batches under noise is seen as that."""
    noise = numpy.random.default_rng(1).normal(0, 4 * KIB, 400)
    assert abs(slope([(1000 * i, (1 << 24) + 2 * KIB * i + noise[i]) for i in range(400)]) - 2) < 0.05


def test_l1_a_day_of_work_leaves_the_daemon_as_it_was(daemon, tmp_path):
    """Two trainers, and for each 1,200 of their batches a reload, 7 connections that come and go, and 70 annotations. Every row
    is the right one; memory behind the first tenth has no slope; at the end files and maps are those of the beginning, and
    the store holds no more than its records and two segments."""
    rng = random.Random(SEED)
    here = Living(daemon, tmp_path / "l1", rng)
    pid, samples, n, imports = here.one.process.pid, [], 0, 0
    with Trainers(here.one, here.checker) as trainers:
        before, maps_before = here.settle(trainers)
        began, first = time.monotonic(), sum(trainers.steps)
        while (now := time.monotonic() - began) < SECONDS and not here.checker.counts.disconnects:
            here.change()
            here.annotate()
            for _ in range(CONNECTIONS):
                visit(here.one, rng)
            n, imports = n + 1, imports + 1
            end = time.monotonic() + 60
            while sum(trainers.steps) - first < BATCHES * n and time.monotonic() < min(end, began + SECONDS):
                time.sleep(0.005)
            here.tidy()
            if now > SECONDS / 10:
                samples.append((sum(trainers.steps) - first, measure.footprint(pid).rss))
        batches = sum(trainers.steps) - first
        after, maps_after = here.settle(trainers)
    counts = here.checker.finish()
    store = here.client.call(wire.VERIFY, {})
    leak, grown = slope(samples), max(rss for _, rss in samples[-5:]) - samples[0][1]
    print(f"\nL1, seed {SEED}: {SECONDS:.0f} s: {batches:,} batches, {n:,} reloads, {CONNECTIONS * n:,} connections, {ANNOTATIONS * imports:,} annotations; "
          f"{counts}; rss {samples[0][1] / KIB:,.0f} KiB, slope {leak:+.2f} KiB a 1,000 batches, {grown / KIB:+,.0f} KiB in all; "
          f"fds {before.fds} -> {after.fds}, mapped files {maps_before.total()} -> {maps_after.total()}; journal {store['journal_bytes'] / KIB:,.0f} KiB, "
          f"table {store['table_bytes'] / KIB:,.0f} KiB for {store['records']:,} records and {store['generations']:,} generations")
    check(counts, here.checker)
    assert (after.fds, after.memfds) == (before.fds, before.memfds) and maps_after == maps_before
    assert store["damaged"] == 0
    assert sanitized() or grown <= (2 << 20) * max(1, batches / DAY)
    assert sanitized() or SECONDS < LONG_S or leak <= 1
    assert store["journal_bytes"] + store["table_bytes"] <= 2 * SEGMENT + 64 * store["records"] + 4096 * store["generations"]

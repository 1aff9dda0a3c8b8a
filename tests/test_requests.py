"""Requests that nobody sends: bodies that are almost right, in any order, at any time, on streams in any state. Each gets an
answer or a typed error, and a trainer beside them has its batches. AMBIENTD_REQUESTS_SEED is the seed; -s prints the figures."""

import collections
import os
import random

import pytest

import datasets
import wire
from fault import life
from hostile import size

SEED = int(os.environ.get("AMBIENTD_REQUESTS_SEED", "1"))
NOBODY = "0" * 32


class Mind:
    """What a client could come to know, and what it could make of that."""

    def __init__(self, rng, folder):
        self.rng = rng
        self.known = [NOBODY, None]  # fingerprints of data sets and annotations
        self.states = [None]
        self.files = [str(folder / name) for name in ("a.jsonl", "b.jsonl", "none.jsonl", "", "a.jsonl/x")]
        self.outs = [str(folder / f"out{i}") for i in range(3)]

    def odd(self):
        rng = self.rng
        return rng.choice([None, True, False, 0, -1, 1, 7, 63, 64, 2**31, 2**53, 2**63, -0.5, 1.5, 1e308, "", "x", "main", "000007", "\0", "é" * 40, NOBODY,
                           "x" * 5000, [], [0], [1.0, 80], [None], ["u8", "u8"], [[[]]], {}, {"x": 1}, {"step": 0}, rng.choice(self.known)])

    def moves(self):
        return [self.move(step) for step in sorted(self.rng.sample(range(40), self.rng.randrange(1, 5)))]

    def move(self, step=None):
        return {"step": self.rng.randrange(60) if step is None else step, "dataset": self.rng.choice(self.known), "annotations": self.rng.choice(self.known)}

    def subscribe(self):
        rng = self.rng
        body = {"batch_size": rng.choice([1, 4, 8]), "fields": rng.sample(["u8", "x0", "x_t", "x_tn", "s_t", "sigma_t", "label", "index", "key", "weight"], 3),
                "slots": rng.choice([1, 2, 3])}
        extra = {"dataset": "main", "mode": rng.choice(["request", "stream"]), "options": {"seed": rng.randrange(9), "policy": rng.choice(["pass", "uniform", "sequential"])},
                 "rank": rng.randrange(2), "world_size": 2, "state": rng.choice(self.states), "follow": rng.random() < 0.5, "moves": self.moves(),
                 "steps": rng.randrange(30), "passes": rng.randrange(3), "strict": rng.random() < 0.5, "on_generation_change": rng.choice(["error", "continue"])}
        for key in rng.sample(sorted(extra), rng.randrange(5)):
            body[key] = extra[key]
        return body

    def request(self):
        """A type, and a body that could be right."""
        rng = self.rng
        return rng.choice([
            lambda: (wire.STATUS, {}), lambda: (wire.GENERATIONS, {}), lambda: (wire.JOBS, {}), lambda: (wire.VERIFY, {}), lambda: (wire.MINT, {}),
            lambda: (wire.LIST, {"what": rng.choice(["samples", "shards", "sources"]), "start": rng.randrange(120), "count": rng.randrange(120)}),
            lambda: (wire.SAMPLE, {"index": rng.randrange(120)}), lambda: (wire.SAMPLE, {"key": f"{rng.randrange(120):06d}"}),
            lambda: (wire.CURVE, {"index": rng.randrange(120)}), lambda: (wire.COVERAGE, {"points": rng.randrange(1, 40)}),
            lambda: (wire.COVERAGE, {"sigmas": [rng.random() * 3], "buffer": 0.1}), lambda: (wire.QUARANTINE, {"start": 0, "count": 5}),
            lambda: (wire.ANNOTATIONS, {"start": rng.randrange(120), "count": rng.randrange(120), "generation": rng.choice(self.known)}),
            lambda: (wire.STATS, {"bins": rng.randrange(1, 30), "by": rng.choice(["source", "label"])}), lambda: (wire.PICTURES, {"index": [0, rng.randrange(120)]}),
            lambda: (wire.WATCH, {}), lambda: (wire.IMPORT, {"path": rng.choice(self.files)}), lambda: (wire.EXPORT, {"path": rng.choice(self.outs)}),
            lambda: (wire.MERGE, {"path": rng.choice(self.files)}), lambda: (wire.RELOAD, {"check": rng.random() < 0.5}),
            lambda: (wire.ANNOTATE, {"model": "fake:edge", "mode": "dense", "grid": [0.01, 3, 8], "trials": 1, "where": {"label": rng.randrange(10)},
                                     "dry_run": rng.random() < 0.5, "batch": 8}),
            lambda: (wire.JOB, {"id": rng.randrange(6), "action": rng.choice(["pause", "resume", "cancel"]), "priority": 1}),
            lambda: (wire.ADVANCE, self.move()), lambda: (wire.ADVANCE, self.move()), lambda: (wire.CANCEL_ADVANCE, {"step": rng.randrange(60)}),
        ])()

    def spoil(self, body):
        """Most stay as they are; others lose, gain or bend a key."""
        rng, body = self.rng, dict(body)
        while rng.random() < 0.3:
            what = rng.randrange(3)
            if what == 0 and body:
                del body[rng.choice(sorted(body))]
            elif what == 1 and body:
                body[rng.choice(sorted(body))] = self.odd()
            else:
                body[rng.choice(["dataset", "start", "count", "index", "key", "path", "step", "id", "state", "moves", "generation", "check"])] = self.odd()
        return body

    def learn(self, state):
        self.known += [state[key] for key in ("dataset", "annotations") if state[key] not in self.known]
        self.states.append(state)
        if len(self.states) > 200:  # some of the newest, some of long ago
            del self.states[self.rng.randrange(1, 200)]


class Someone:
    """A connection with a stream or without one, which is replaced where the daemon ends it."""

    def __init__(self, one, mind):
        self.one, self.mind, self.client, self.stream, self.requests = one, mind, None, None, False

    def act(self):
        rng = self.mind.rng
        if self.client is None:
            self.client = self.one.client(timeout=life.PATIENCE)
        if self.stream is None and rng.random() < 0.3:
            body = self.mind.spoil(self.mind.subscribe())
            self.stream, self.requests = self.client.subscribe(**body), body.get("mode") == "request"
        elif self.stream is not None and rng.random() < 0.5:
            self.draw()
        elif rng.random() < 0.05:
            self.leave()
        else:
            type, body = self.mind.request()
            self.client.call(type, self.mind.spoil(body))
            if type == wire.WATCH:  # what it tells from now on is for others to read
                self.leave()

    def draw(self):
        rng, mind = self.mind.rng, self.mind
        if self.requests:
            of = rng.choice(mind.states) or {"dataset": NOBODY, "annotations": NOBODY}
            lend = self.stream.request([rng.random() * 4 for _ in range(rng.randrange(5))], rng.randrange(9), of["dataset"], of["annotations"])
        else:
            lend = self.stream.next()
        if lend is None:
            self.leave()
            return
        if lend.state is not None:
            mind.learn(lend.state)
        self.stream.done(lend)

    def leave(self):
        if self.client is not None:
            self.client.close()
        self.client = self.stream = None


@pytest.mark.threads
@pytest.mark.parametrize("state", [True, False], ids=["store", "no-store"])
def test_any_request_at_any_time_is_answered(daemon, tmp_path, state):
    rng = random.Random(f"{SEED}/{state}")
    shards = datasets.tar_set(tmp_path / "tars", 100, per_shard=25)
    pictures = [datasets.sample(i, 8) for i in range(100)]
    for i, name in enumerate(("a.jsonl", "b.jsonl")):
        datasets.annotate(tmp_path / name, 100, i)
    one = daemon(shards, "--size", 8, *(["--state-dir", tmp_path / "state"] if state else []))
    mind = Mind(rng, tmp_path)
    some = [Someone(one, mind) for _ in range(4)]
    n, answered, codes = size(3000, 300_000), 0, collections.Counter()
    with one.client() as client:
        trainer = client.subscribe(batch_size=4, fields=["x_t"], slots=2, options={"seed": 1})
        for i in range(n):
            who = rng.choice(some)
            try:
                who.act()
                answered += 1
            except wire.Refused as refused:
                assert life.CODES.fullmatch(refused.code) and refused.error["message"], refused.error
                codes[refused.code] += 1
                if refused.fatal:
                    who.leave()
            except (wire.Closed, ConnectionError):
                assert one.process.poll() is None, one.log()[-4000:]
                codes["closed"] += 1
                who.leave()
            if i % 100 == 0:  # for the next reload
                k = rng.randrange(4)
                ids = sorted(rng.sample(range(25 * k, 25 * k + 25), rng.choice([24, 25])))
                datasets.write_tar(tmp_path / "tmp", [pictures[i] for i in ids])
                (tmp_path / "tmp").rename(sorted((tmp_path / "tars").glob("*.tar"))[k])
            if i % 150 == 0:  # for the next import
                datasets.annotate(tmp_path / rng.choice(["a.jsonl", "b.jsonl"]), 100, rng.randrange(1000))
            if i % 20 == 0:
                trainer.done(trainer.next())
    for who in some:
        who.leave()
    assert one.wait_for(lambda s: len(s["sessions"]) == 1, 30)
    assert one.counter("frames") > n // 2
    print(f"\nseed {SEED}, {'with' if state else 'without'} a state directory: {answered} of {n} answered, {dict(codes.most_common())}; "
          f"{len(mind.known) - 2} fingerprints, {len(mind.states) - 1} states")
    assert answered > n / 4 and len(codes) > 5 and len(mind.states) > 20

"""Suites H1, H2 and H3: shards that change under two trainers. -s prints the figures; AMBIENTD_SOAK=1 takes a night's sizes.

Every sample is a picture that says which it is and when it was written (describing.py), so each row that a trainer gets is
judged by its pixels.
"""

import collections
import contextlib
import functools
import json
import math
import os
import pathlib
import random
import shutil
import signal
import subprocess
import threading
import time

import numpy
import pytest

import ambientd
import datasets
import describing
import wire
from hostile import measure, nobody, offenders, size

pytestmark = pytest.mark.slow
FIELDS = ["u8", "key", "index", "replaced", "sigma_min"]
BUILD = pathlib.Path(os.environ.get("AMBIENTD_BUILD", pathlib.Path(__file__).resolve().parents[1] / "build"))
CTL = os.environ.get("AMBIENTCTL_BIN", str(BUILD / "clients/ctl/ambientctl"))
SEED = int(os.environ.get("AMBIENTD_SEED", "1"))


class Trainers:
    """Two of them, one on the Python client and one on the bare protocol, in threads; each batch goes to the checker."""

    def __init__(self, one, checker, batch_size=16, pause=0.0):
        self.one, self.checker, self.batch_size, self.pause = one, checker, batch_size, pause
        self.stopping = threading.Event()
        self.steps = [0, 0]
        self.threads = [threading.Thread(target=self.run, args=(i, body)) for i, body in enumerate([self.train, self.train_bare])]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a trainer hangs"

    def run(self, i, body):
        try:
            for _ in body():
                self.steps[i] += 1
                if self.stopping.wait(self.pause):
                    return
            self.checker.disconnected("the stream ended")
        except (ambientd.AmbientError, wire.Closed, wire.Refused, OSError) as error:
            self.checker.disconnected(error)

    def train(self):
        with ambientd.Loader(self.one.socket, self.batch_size, [*FIELDS[1:], "x0"], seed=SEED, reconnect=False, timeout=60) as loader:
            watch = self.checker.watch(loader.state_dict())
            for batch in loader:
                watch.take(batch.state, batch.moved, dict(batch.items()))
                yield

    def train_bare(self):
        with self.one.client(timeout=60) as client:
            stream = client.subscribe(batch_size=self.batch_size, fields=FIELDS, options={"seed": SEED + 1})
            watch = self.checker.watch(stream.reply["state"])
            while (lend := stream.next()) is not None:
                batch = stream.batch(lend)
                stream.done(lend)
                watch.take(lend.state, bool(lend.flags & 1), batch)
                yield

    def wait(self, n, timeout=60):
        """Until both have done n steps more, or one of them ended."""
        aims, end = [steps + n for steps in self.steps], time.monotonic() + timeout
        while any(steps < aim for steps, aim in zip(self.steps, aims)) and time.monotonic() < end and not self.checker.counts.disconnects:
            time.sleep(0.001)


def check(counts, checker):
    assert not any(counts.errors().values()), (str(counts), checker.notes)


# -- H3 --------------------------------------------------------------------------------------------------------------------


N_VICTIMS, N_LONG, N_OTHERS = 8, 2, 3  # shards; those of long samples are victims
SINGLE = 12  # attacks on one shard between two reloads, beside one on all of them
RAW = {"kind": "npy", "size": 32}  # nothing but the daemon's own care tells that they were torn
LONG = {"kind": "webp", "size": 32, "tail": 1 << 20}  # most of the time they take is that of their copy out of the map


class Attacked:
    """Shards that are changed in place, and others that are not."""

    def __init__(self, daemon, folder, pread):
        self.folder, self.generation = folder, 1
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.paths = [self.data / f"{i:02d}.tar" for i in range(N_VICTIMS + N_OTHERS)]
        self.generations = [1] * len(self.paths)
        self.bytes = [self.publish(i) for i in range(len(self.paths))]
        (folder / "c.json").write_text(json.dumps({
            "socket": str(folder / "s"), "cache_dir": str(folder / "index"), "workers": 2, "cache_bytes": 0,
            "decode": {"sandbox": False},  # so that most of a worker's time is reading, which is what is attacked
            "datasets": {"main": {"sources": {"main": {"shards": [str(self.data / "*.tar")], "pread": pread}}}}}))
        time.sleep(0.15)  # what was written just now is looked at again by a reload
        self.one = daemon("--config", folder / "c.json")
        self.one.socket = folder / "s"
        self.checker = describing.Checker()
        status = self.one.status()["datasets"]["main"]
        self.checker.expect(status["fingerprint"], status["annotations"]["fingerprint"], self.contents())

    @staticmethod
    def ids(i):
        return range(100 * i, 100 * i + (4 if i < N_LONG else 12))

    @staticmethod
    def form(i):
        return LONG if i < N_LONG else RAW

    def publish(self, i):
        """By rename, as it should be; the bytes."""
        self.generations[i] = self.generation
        return describing.write_tar(self.paths[i], self.ids(i), self.generation, **self.form(i)).read_bytes()

    def forge(self, i):
        """Other pictures in a tar that has the same headers in the same places."""
        path = describing.write_tar(self.folder / "forged.tar", self.ids(i), self.generations[i] + describing.PERIOD, **self.form(i))
        return path.read_bytes()

    def contents(self):
        return describing.Contents([k for i in range(len(self.paths)) for k in self.ids(i)],
                                   [self.generations[i] for i in range(len(self.paths)) for _ in self.ids(i)])

    def attack(self, victims, attack, rng):
        with contextlib.ExitStack() as stack:
            files = [(stack.enter_context(open_in_place(self.paths[i])), i) for i in victims]
            under_way = [attack(file, self.bytes[i], functools.partial(self.forge, i), rng) for file, i in files]
            for one in under_way:
                next(one)
            if rng.random() < 0.1:
                self.look()
            time.sleep(rng.random() * 0.002)
            for one in under_way:
                next(one, None)

    def look(self):
        """Index what is damaged now, and adopt nothing."""
        with self.one.client() as client:
            try:
                client.call(wire.RELOAD, {"check": True})
            except wire.Refused as error:
                assert error.code in ("format", "changed", "duplicate") and not error.fatal, error

    def quarantined(self):
        """Codes of the bad samples, which must all be of the victims."""
        with self.one.client() as client:
            rows = client.call(wire.QUARANTINE, {"count": 10000})["rows"]
        assert all(int(row["key"]) < 100 * N_VICTIMS for row in rows), rows
        return [row["code"] for row in rows]

    def renew(self):
        """The next generation of all victims, by rename and reload: what was found bad in the old ones is forgotten."""
        self.generation += 1
        self.bytes = [self.publish(i) for i in range(N_VICTIMS)]
        with self.one.client() as client:
            row = client.call(wire.RELOAD, {})["datasets"]["main"]
        assert row["kept"] >= N_OTHERS and row["opened"] <= N_VICTIMS
        self.checker.expect(row["fingerprint"], row["annotations"]["fingerprint"], self.contents())


@contextlib.contextmanager
def open_in_place(path):
    """Whoever restores the bytes of a file restores its times as well, as `cp -p` and `rsync --inplace` do."""
    before = os.stat(path)
    with open(path, "r+b", buffering=0) as file:
        yield file
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut(file, whole, forge, rng):
    n = rng.randrange(len(whole))
    file.truncate(n)
    yield
    file.seek(n)
    file.write(whole[n:])


def cut_and_stretch(file, whole, forge, rng):
    """As long as before at once, with zeros at its end."""
    n = rng.randrange(len(whole))
    file.truncate(n)
    file.truncate(len(whole))
    yield
    file.seek(n)
    file.write(whole[n:])


def overwrite(file, whole, forge, rng):
    """With pictures that are intact, of another generation."""
    begin, forged = rng.randrange(len(whole)), forge()
    assert len(forged) == len(whole)
    file.seek(begin)
    file.write(forged[begin:])
    yield
    file.seek(begin)
    file.write(whole[begin:])


def grow(file, whole, forge, rng):
    file.seek(len(whole))
    file.write(whole[:rng.randrange(1, len(whole))])
    yield
    file.truncate(len(whole))


ATTACKS = [cut, cut_and_stretch, overwrite, grow]


def read_on(path):
    """A stream that asks for no pixels: it costs next to nothing, and keeps the daemon at reading, but for the reloads' share."""
    client = wire.Client(path, timeout=60)
    stream = client.subscribe(batch_size=64, fields=["index"], slots=8)
    while True:
        stream.done(stream.next())
        time.sleep(0.005)


@contextlib.contextmanager
def reader(one):
    pid, pipe = offenders.start(read_on, one.socket)
    try:
        yield
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "the stream ended"
    finally:
        os.kill(pid, signal.SIGKILL)
        offenders.finish(pid, pipe)


@pytest.mark.parametrize("pread", [False, True], ids=["mapped", "pread"])
def test_h3_shards_changed_in_place_harm_only_themselves(daemon, tmp_path, pread):
    """Two trainers read shards that are cut, overwritten and grown in place, and put back. Rows are either replaced or the
    pixels that were indexed; the shards beside them lose nothing; mapped ones really raise SIGBUS."""
    n = size(500, 20000)
    here, rng = Attacked(daemon, tmp_path / "h3", pread), random.Random(SEED)
    began, codes, n_attacks = time.monotonic(), [], 0
    with reader(here.one), Trainers(here.one, here.checker, pause=0.003) as trainers:
        trainers.wait(5)
        while n_attacks < n or (not pread and n_attacks < 20 * n and here.one.counter("bus_errors") == 0):
            here.attack(range(N_VICTIMS), cut, rng)
            for _ in range(SINGLE):
                here.attack([rng.randrange(N_VICTIMS)], rng.choice(ATTACKS), rng)
            n_attacks += N_VICTIMS + SINGLE
            codes += here.quarantined()
            here.renew()
            trainers.wait(2)
    with here.one.client() as client:
        last = [batch for _, batch in client.subscribe(batch_size=32, fields=FIELDS, options={"policy": "sequential"}).take()]
    counts, counters = here.checker.finish(), here.one.status()["counters"]
    print(f"\nH3 {'pread' if pread else 'mapped'}, seed {SEED}: {n_attacks} attacks in {time.monotonic() - began:.1f} s; {counts}; "
          f"{len(codes)} quarantined, {counters['bus_errors']} bus errors caught, {counters['transient']} transient")
    check(counts, here.checker)
    assert sum(describing.decode(batch["u8"]).intact.sum() for batch in last) == len(here.contents().ids)
    assert all((batch["replaced"] == 0).all() for batch in last)
    assert codes and set(codes) == {"changed"}
    assert (counters["bus_errors"] > 0) == (not pread)


# -- H1 --------------------------------------------------------------------------------------------------------------------


WRITERS = {".tar": describing.write_tar, ".zip": describing.write_zip, "": describing.write_folder}
BASE, MOST, PER_SHARD = 8, 12, 16


class Shard:
    def __init__(self, path, serial):
        self.path, self.first, self.n, self.generation = path, 100 * serial, PER_SHARD, 0

    def ids(self):
        return range(self.first, self.first + self.n)


class Changing:
    """Two sources of shards in every container and encoding, a configuration and annotations, all of which change."""

    def __init__(self, daemon, folder, rng):
        self.folder, self.rng = folder, rng
        self.serial, self.generation = 0, 0
        self.repeat, self.rest, self.sigma_min = 1, 0, 0.5
        self.sources = {"a": [], "b": []}
        for name in self.sources:
            (folder / "data" / name).mkdir(parents=True)
        self.base()
        self.annotate()
        self.configure()
        self.one = daemon("--config", folder / "c.json")
        self.one.socket = folder / "s"
        self.client = self.one.client(timeout=60)
        self.checker = describing.Checker()
        status = self.one.status()["datasets"]["main"]
        self.announce(status["fingerprint"], status["annotations"]["fingerprint"])

    def shards(self):
        return self.sources["a"] + self.sources["b"]

    def write(self, shard):
        self.generation += 1
        shard.generation = self.generation
        WRITERS[shard.path.suffix](shard.path, shard.ids(), shard.generation, kind=self.rng.choice(describing.KINDS))

    def add(self, suffix=None):
        name, suffix = self.rng.choice("ab"), self.rng.choice([".tar", ".tar", ".zip", ""]) if suffix is None else suffix
        if len(self.shards()) < BASE:
            name = "a" if len(self.sources["a"]) < BASE // 2 else "b"
        shard = Shard(self.folder / "data" / name / f"{self.serial:06d}{suffix}", self.serial)
        self.serial += 1
        self.write(shard)
        self.sources[name].append(shard)

    def remove(self):
        name = self.rng.choice([name for name, shards in self.sources.items() if len(shards) > 2])
        describing.remove(self.sources[name].pop(self.rng.randrange(len(self.sources[name]))).path)

    def replace(self):
        self.write(self.rng.choice(self.shards()))

    def grow(self):
        shard = self.rng.choice(self.shards())
        shard.n = PER_SHARD if shard.n >= 32 else shard.n + 4
        self.write(shard)

    def reweigh(self):
        self.repeat = self.rng.choice([repeat for repeat in (0.5, 1, 1.5, 2) if repeat != self.repeat])
        self.configure()

    def annotate(self):
        """An eighth of the samples may not be used at low noise: few enough that passes have one interval."""
        self.rest, self.sigma_min = self.rng.randrange(8), self.rng.choice([0.125, 0.25, 0.5])
        lines = [{"filename": f"{i:06d}", "sigma_min": self.sigma_min} for shard in self.shards() for i in shard.ids() if i % 8 == self.rest]
        self.put("a.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        self.annotated = {int(line["filename"]) for line in lines}

    def configure(self):
        sources = {name: {"shards": [str(self.folder / "data" / name / "*")]} for name in self.sources}
        sources["b"]["repeat"] = self.repeat
        self.put("c.json", json.dumps({
            "socket": str(self.folder / "s"), "cache_dir": str(self.folder / "index"), "workers": 2, "cache_bytes": 1 << 20,
            "datasets": {"main": {"sources": sources, "image": {"size": 16}, "annotations": [{"import": str(self.folder / "a.jsonl")}]}}}))

    def put(self, name, text):
        (self.folder / f"{name}.new").write_text(text)
        os.replace(self.folder / f"{name}.new", self.folder / name)

    def contents(self):
        shards = self.shards()
        ids = [i for shard in shards for i in shard.ids()]
        repeat = [1 if shard in self.sources["a"] else self.repeat for shard in shards for _ in shard.ids()]
        free = [i not in self.annotated for i in ids]
        return describing.Contents(ids, [shard.generation for shard in shards for _ in shard.ids()],
                                   low=[math.floor(r) if is_free else 0 for r, is_free in zip(repeat, free)], high=[math.ceil(r) for r in repeat],
                                   sigma_min=[0 if is_free else self.sigma_min for is_free in free])

    def announce(self, dataset, annotations):
        self.checker.expect(dataset, annotations, self.contents())

    def reload(self):
        row = self.client.call(wire.RELOAD, {})["datasets"]["main"]
        assert (row["shards"], row["samples"]) == (len(self.shards()), len(self.contents().ids)) and not row["new_subscription"]
        self.announce(row["fingerprint"], row["annotations"]["fingerprint"])
        return row

    def hang_up(self):
        """As `reload`, by signal."""
        before = self.one.counter("reloads")
        self.one.process.send_signal(signal.SIGHUP)
        assert self.one.wait_for(lambda s: s["counters"]["reloads"] > before and s["reload"] is None, 60), self.one.log()
        status = self.one.status()["datasets"]["main"]
        self.announce(status["fingerprint"], status["annotations"]["fingerprint"])

    def change(self):
        for change in self.rng.choices([self.add, self.remove, self.replace, self.grow, self.reweigh, self.annotate, None], k=self.rng.choice([1, 1, 2])):
            if change == self.add and len(self.shards()) >= MOST:
                change = self.remove
            if change == self.remove and len(self.shards()) <= BASE - 2:
                change = self.add
            if change is not None:
                change()

    def is_settled(self):
        rows = self.client.call(wire.GENERATIONS, {})["dataset"]
        return len(rows) == 1 and rows[0]["streams"] == 2

    def tidy(self):
        """Old folders may go once nobody reads them."""
        if self.is_settled():
            for folder in (self.folder / "data").iterdir():
                describing.remove_old(folder)

    def base(self):
        """As many tars as at the start, all new, written long enough ago for an index of them to be kept."""
        for shards in self.sources.values():
            while shards:
                describing.remove(shards.pop().path)
        for _ in range(BASE):
            self.add(".tar")
        self.repeat = 1
        time.sleep(0.15)

    def settle(self, trainers):
        """What the daemon holds once it serves nothing but the base."""
        self.base()
        self.annotate()
        self.configure()
        self.reload()
        end = time.monotonic() + 30
        while not self.is_settled() and time.monotonic() < end:
            trainers.wait(1)
        assert self.is_settled(), self.client.call(wire.GENERATIONS, {})
        self.tidy()
        pid = self.one.process.pid
        return measure.settled(pid), measure.mapped_files(pid)


def test_h1_reloads_under_load_lose_and_mix_nothing(daemon, tmp_path):
    """Two trainers read on while shards come, go, are replaced and grow, weights and annotations change, and the daemon is told
    to reload each time. Every row is the sample that its key says, in the generation of the fingerprints that its step was
    drawn under; every whole pass has each sample as often as its weight says; at the end one pass over everything has
    each sample once, in its newest generation; the daemon holds as many files and maps as at the start."""
    n, rng = size(1000, 100000), random.Random(SEED)
    here = Changing(daemon, tmp_path / "h1", rng)
    with Trainers(here.one, here.checker, pause=0.004) as trainers:
        for _ in range(20):
            here.change()
            here.reload()
        before, maps_before = here.settle(trainers)
        began, first = time.monotonic(), here.generation
        for i in range(n):
            here.change()
            if i % 20 == 7:
                here.hang_up()
            else:
                here.reload()
            trainers.wait(rng.choice([0, 0, 1, 1, 3, 12]))
            if i % 20 == 0:
                here.tidy()
        took, written = time.monotonic() - began, here.generation - first
        after, maps_after = here.settle(trainers)
        with here.one.client() as client:
            last = [batch for _, batch in client.subscribe(batch_size=32, fields=FIELDS, options={"policy": "sequential"}).take()]
    seen = [describing.decode(batch["u8"]) for batch in last]
    held = here.contents()
    counts, status = here.checker.finish(), here.one.status()
    print(f"\nH1, seed {SEED}: {n} reloads in {took:.1f} s, {written} shards written; {counts}; fds {before.fds} -> {after.fds}, "
          f"mapped files {maps_before.total()} -> {maps_after.total()}, maps {before.maps} -> {after.maps}, rss {(after.rss - before.rss) / 1024:+.0f} KiB, {status['counters']['moves']} moves, "
          f"{status['counters']['thrown_away']} batches thrown away, {len(list((here.folder / 'index').iterdir()))} cached indexes")
    check(counts, here.checker)
    assert [i for one in seen for i in one.ids] == held.ids.tolist() and all(one.intact.all() for one in seen)
    assert [g for one in seen for g in one.generations] == held.generations.tolist()
    assert counts.replaced == 0 and status["datasets"]["main"]["quarantined"] == 0
    assert counts.moves > n // 4 and counts.passes > n // 4 and counts.unjudged == 0
    assert status["counters"]["reloads_refused"] == 0 and status["counters"]["moves_refused"] == 0
    assert (after.fds, after.memfds) == (before.fds, before.memfds)
    assert maps_after == maps_before


# -- H2 --------------------------------------------------------------------------------------------------------------------


# Each makes the file at path bad, in place or by putting something else there, and says which codes may answer.


def middle(rng):
    """Within the bytes of a picture, which has 512 bytes of header: a tar that is cut between two samples is a shorter tar."""
    return rng.randrange(12) * 2560 + 512 + rng.randrange(1, 1800)


def truncated(path, whole, rng):
    replace_by(path, lambda beside: beside.write_bytes(whole[:middle(rng) % (len(whole) - 1)]))
    return {"format"}


def emptied(path, whole, rng):
    replace_by(path, lambda beside: beside.write_bytes(b""))
    return {"format"}


def of_wrong_magic(path, whole, rng):
    head = rng.choice([b"\x1f\x8b\x08\0", b"BZh9", b"\x28\xb5\x2f\xfd", b"MZ", b"not a shard", bytes(16)])
    replace_by(path, lambda beside: beside.write_bytes(head + rng.randbytes(3000)))
    return {"format", "unsupported"}


def unreadable(path, whole, rng):
    path.chmod(0)
    return {"EACCES"}


def a_folder(path, whole, rng):
    replace_by(path, lambda beside: beside.mkdir())
    return {"format"}


def a_pipe(path, whole, rng):
    replace_by(path, os.mkfifo)
    return {"format"}


def a_device(path, whole, rng):
    replace_by(path, lambda beside: beside.symlink_to("/dev/zero"))
    return {"format"}


def a_link_to_itself(path, whole, rng):
    replace_by(path, lambda beside: beside.symlink_to(path.name))
    return {"ELOOP"}


def deleted(path, whole, rng):
    path.unlink()
    return {"config", "ENOENT"}


def truncated_in_place(path, whole, rng):
    os.truncate(path, middle(rng) % (len(whole) - 1))
    return {"format"}


def overwritten_in_place(path, whole, rng):
    with open(path, "r+b") as file:
        file.write(rng.randbytes(rng.randrange(300, len(whole))))
        file.seek(-22, os.SEEK_END)  # where a zip ends
        file.write(rng.randbytes(22))
    return {"format"}


BAD_FILES = [truncated, emptied, of_wrong_magic, unreadable, a_folder, a_pipe, a_device, a_link_to_itself, deleted, truncated_in_place,
             overwritten_in_place]
IN_PLACE = [truncated_in_place, overwritten_in_place]


def replace_by(path, make):
    """What `make` makes takes the place of the file, whatever it is; the file's inode stays as it was."""
    beside = path.with_name(f".{path.name}.bad")
    make(beside)
    clear(path)
    os.rename(beside, path)


def clear(path):
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    elif path.is_symlink() or path.exists():
        path.unlink()


class Refusing:
    """A daemon without privileges over shards that break in every way, named one by one in its configuration."""

    def __init__(self, folder, pread):
        self.folder = folder
        (folder / "data").mkdir()
        self.paths = [folder / "data" / f"{i}{suffix}" for i, suffix in enumerate([".tar", ".zip", ".tar", ".tar", ".zip", ".tar"])]
        for i, path in enumerate(self.paths):
            WRITERS[path.suffix](path, self.ids(i), 1, kind=describing.KINDS[i % 3])
        self.bytes = [path.read_bytes() for path in self.paths]
        describing.write_tar(folder / "data" / "twice.tar", self.ids(0), 2)
        datasets.write_tar(folder / "data" / "texts.tar", [(f"{i}", {"txt": b"no picture"}) for i in range(5)])
        self.source = {"shards": [str(path) for path in self.paths], "pread": pread}
        time.sleep(0.15)
        self.one = nobody.serve(folder, {"workers": 2, "cache_bytes": 0, **self.datasets()})
        self.whole = (folder / "c.json").read_text()
        self.client = self.one.client(timeout=60)
        self.checker = describing.Checker()
        status = self.one.status()["datasets"]["main"]
        self.under = status["fingerprint"], status["annotations"]["fingerprint"]
        self.checker.expect(*self.under, describing.Contents([k for i in range(len(self.paths)) for k in self.ids(i)], [1] * 12 * len(self.paths)))
        with self.one.client() as client:
            stream = client.subscribe(batch_size=16, fields=[*FIELDS, "x_t"], options={"seed": 9})
            self.state = stream.take(3)[-1][0].state
            self.reference = [self.rows(batch) for _, batch in stream.take(5)]

    def datasets(self, **main):
        return {"datasets": {"main": {"sources": {"main": self.source}, **main}}}

    def configure(self, **main):
        """Another configuration, from the one that was."""
        (self.folder / "c.json").write_text(json.dumps({**json.loads(self.whole), **self.datasets(**main)}))

    @staticmethod
    def ids(i):
        return range(100 * i, 100 * i + 12)

    @staticmethod
    def rows(batch):
        """Each row's bytes, None where it stands for another one."""
        return [None if batch["replaced"][i] else (bytes(batch["key"][i]), batch["u8"][i].tobytes(), batch["x_t"][i].tobytes())
                for i in range(len(batch["key"]))]

    def serves(self, changed=()):
        """From the state of before come the rows of before; only samples of shards that were written in place may be missing."""
        with self.one.client() as client:
            stream = client.subscribe(batch_size=16, fields=[*FIELDS, "x_t"], state=self.state)
            found = [self.rows(batch) for _, batch in stream.take(5)]
        for now, then in zip(found, self.reference):
            for row, (key, *pixels) in zip(now, then):
                assert row == (key, *pixels) or (row is None and int(key) // 100 in changed), key
        return sum(row is None for now in found for row in now)

    def generations(self):
        """Numbers and fingerprints; the same contents out of other files are the same generation."""
        return {(row["number"], row["fingerprint"]) for row in self.client.call(wire.GENERATIONS, {})["dataset"]}

    def refused(self, names, codes, check):
        """One typed error; of its problems one for each name, and none besides."""
        with pytest.raises(wire.Refused) as refused:
            self.client.call(wire.RELOAD, {"check": check})
        error, problems = refused.value, refused.value.detail["problems"]
        assert not error.fatal and error.code in codes, (error, problems)
        assert problems[0] in str(error) or problems[0][:100] in str(error), (str(error), problems)
        for name in names:
            assert sum(name in problem for problem in problems) == 1, (name, problems)
        assert len(problems) == len(names), (names, problems)
        assert [problem for problem in problems if problem.strip() == ""] == []
        return error.code

    def refused_by_ctl(self, names):
        done = subprocess.run([CTL, "reload", "--check", "--socket", self.one.socket], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and all(name in done.stderr for name in names), done

    def repair(self):
        for path, whole in zip(self.paths, self.bytes):
            if path.is_symlink() or not path.is_file() or path.read_bytes() != whole or path.stat().st_mode & 0o777 != 0o644:
                replace_by(path, lambda beside: beside.write_bytes(whole))
        (self.folder / "c.json").write_text(self.whole)
        row = self.client.call(wire.RELOAD, {})["datasets"]["main"]
        assert (row["fingerprint"], row["annotations"]["fingerprint"]) == self.under
        return row


def misspelt(here, rng):
    here.source = {**here.source, rng.choice(["shardz", "repeet", "formt"]): 1}
    here.configure()
    here.source.popitem()
    return ["datasets.main.sources.main"], {"config"}


def not_json(here, rng):
    (here.folder / "c.json").write_text(here.whole[:rng.randrange(1, len(here.whole) - 1)])
    return ["c.json"], {"format"}


def no_config(here, rng):
    (here.folder / "c.json").unlink()
    return ["c.json"], {"ENOENT", "config"}


def without_samples(here, rng):
    here.source = {**here.source, "shards": [*here.source["shards"], str(here.folder / "data" / "texts.tar")]}
    here.configure()
    here.source = {**here.source, "shards": here.source["shards"][:-1]}
    return ["texts.tar"], {"format", "config"}


def without_a_match(here, rng):
    here.source = {**here.source, "shards": [*here.source["shards"], str(here.folder / "data" / "none-*.tar")]}
    here.configure()
    here.source = {**here.source, "shards": here.source["shards"][:-1]}
    return ["none-*.tar"], {"config", "not-found", "ENOENT"}


def a_key_twice(here, rng):
    here.source = {**here.source, "shards": [*here.source["shards"], str(here.folder / "data" / "twice.tar")]}
    here.configure()
    here.source = {**here.source, "shards": here.source["shards"][:-1]}
    return ["twice.tar"], {"duplicate"}


def lost_annotations(here, rng):
    here.configure(annotations=[{"import": str(here.folder / "lost.jsonl")}])
    return ["lost.jsonl"], {"ENOENT"}


def damaged_annotations(here, rng):
    (here.folder / "damaged.jsonl").write_text('{"filename": "000001", "sigma_min": 0.5}\n{"filename": \n')
    here.configure(annotations=[{"import": str(here.folder / "damaged.jsonl")}])
    return ["damaged.jsonl"], {"format"}


BAD_CONFIGS = [misspelt, not_json, no_config, without_samples, without_a_match, a_key_twice, lost_annotations, damaged_annotations]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to run the daemon as somebody who may not read everything")
@pytest.mark.parametrize("pread", [False, True], ids=["mapped", "pread"])
def test_h2_bad_reloads_are_refused_and_the_old_one_serves(pread):
    """Shards that are cut, empty, damaged, unreadable, gone, or no files at all, one at a time and several at once, and
    configurations that say nonsense: a typed error names every one of them, --check too, the generation stays, batches
    stay the same bytes, and after the repair a reload is taken. Two trainers run through all of it."""
    n, rng = size(100, 2500), random.Random(SEED + pread)
    began, codes, n_replaced, n_many = time.monotonic(), collections.Counter(), 0, 0
    with nobody.open_folder() as folder:
        here = Refusing(folder, pread)
        try:
            order = here.generations()
            with Trainers(here.one, here.checker, pause=0.01):
                for i in range(n):
                    changed = []
                    if i % 4 == 3:
                        names, allowed = rng.choice(BAD_CONFIGS)(here, rng)
                    else:
                        victims = rng.sample(range(len(here.paths)), rng.choice([1, 1, 2, 3, 6]))
                        kinds = {victim: BAD_FILES[i % len(BAD_FILES)] if k == 0 else rng.choice(BAD_FILES) for k, victim in enumerate(victims)}
                        allowed = set().union(*[kind(here.paths[v], here.bytes[v], rng) for v, kind in kinds.items()])
                        names = [here.paths[v].name for v in victims]
                        changed = [v for v, kind in kinds.items() if kind in IN_PLACE]
                        n_many += len(victims) > 1
                    if i % 3 == 0:
                        here.refused(names, allowed, check=True)
                    if i % 25 == 0:
                        here.refused_by_ctl(names)
                    codes[here.refused(names, allowed, check=False)] += 1
                    assert here.generations() == order
                    n_replaced += here.serves(changed)
                    here.repair()
                    assert here.generations() == order and here.serves() == 0
            counts, counters = here.checker.finish(), here.one.status()["counters"]
            print(f"\nH2 {'pread' if pread else 'mapped'}, seed {SEED}: {n} bad reloads, {n_many} of several shards, in {time.monotonic() - began:.1f} s; "
                  f"codes {dict(codes)}; {counts}; {n_replaced} rows of shards written in place replaced, {counters['bus_errors']} bus errors caught")
            check(counts, here.checker)
            assert counts.moves == 0 and codes.total() == n == counters["reloads_refused"] == counters["reloads"]
            assert here.one.process.poll() is None
            here.client.close()
            assert here.one.stop() == 0 and "Sanitizer" not in here.one.log()
        finally:
            if here.one.process.poll() is None:
                here.one.process.kill()
                here.one.process.wait()


# -- beside a large reload ---------------------------------------------------------------------------------------------------


@pytest.mark.alone
def test_fill_workers_keep_their_rate_while_a_thousand_shards_are_indexed(daemon, tmp_path):
    """A stream that is always wanting counts its batches while 1,000 shards are opened and indexed for the first time, and
    without that for as long, half of it before and half behind. The floor is generous: what it would notice is a reload that
    holds up the loop or the workers."""
    n_shards, n_rounds = 1000, size(2, 10)
    data, away = tmp_path / "data", tmp_path / "away"
    data.mkdir()
    describing.write_tar(data / "first.tar", range(900000, 900200), 1, size=32)
    away.mkdir()
    payload = describing.encode(describing.pictures([0], 1, 32)[0], "png", 1)
    for i in range(n_shards):
        datasets.write_tar(away / f"{i:04d}.tar", [(f"{100 * i + k:06d}", {"png": payload, "cls": b"1"}) for k in range(8)])
    time.sleep(0.15)
    (tmp_path / "c.json").write_text(json.dumps({
        "socket": str(tmp_path / "s"), "cache_dir": str(tmp_path / "index"), "workers": 2, "cache_bytes": 0,
        "datasets": {"main": {"sources": {"main": {"shards": [str(data / "*.tar")]}}}}}))
    one = daemon("--config", tmp_path / "c.json")
    one.socket = tmp_path / "s"
    besides, alones, seconds = [], [], []
    with one.client(timeout=60) as client, one.client(timeout=120) as owner:
        stream = client.subscribe(batch_size=64, fields=["x_t"], slots=4, follow=False)

        def count(until):
            """Batches, and seconds."""
            began, n = time.monotonic(), 0
            while not until(time.monotonic() - began):
                stream.done(stream.next())
                n += 1
            return numpy.array([n, time.monotonic() - began])

        def reload():
            answers = []
            thread = threading.Thread(target=lambda: answers.append(owner.call(wire.RELOAD, {})))
            thread.start()
            counted = count(lambda _: not thread.is_alive())
            thread.join()
            return answers[0]["datasets"]["main"], counted

        for _ in range(n_rounds):
            for i in range(n_shards):  # other inodes, so no index of before fits
                shutil.copy(away / f"{i:04d}.tar", data)
            time.sleep(0.15)
            count(lambda s: s > 0.3)
            before = count(lambda s: s > 2)
            row, beside = reload()
            assert row["samples"] == 200 + 8 * n_shards and row["opened"] == n_shards and row["kept"] == 1
            besides.append(beside)
            alones.append(before + count(lambda s: s > beside[1] - 2))
            for i in range(n_shards):
                (data / f"{i:04d}.tar").unlink()
            assert reload()[0]["samples"] == 200
    rates = [[n / s for n, s in rows] for rows in (besides, alones)]
    ratios = [beside / alone for beside, alone in zip(*rates)]
    (n, s), (n_alone, s_alone) = sum(besides), sum(alones)
    ratio = n / s * s_alone / n_alone
    print(f"\n{n_shards} shards indexed in {min(s for _, s in besides):.1f} to {max(s for _, s in besides):.1f} s; beside it "
          f"{ratio:.2f} of the {n_alone / s_alone:.0f} batches/s without, over {n_rounds} rounds; of each {', '.join(f'{r:.2f}' for r in ratios)}")
    assert ratio > 0.5

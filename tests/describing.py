"""Pictures whose pixels say which sample they are, in which generation they were written, and whether they are intact.

What a trainer gets can so be judged from its pixels alone, whatever was replaced, cut or overwritten meanwhile. Every
encoding is lossless. The length of what is written depends on the generation, because the fingerprint of a data set sees
lengths and checksums, not pixels, and two generations must differ in it.
"""

import dataclasses
import hashlib
import os
import pathlib
import shutil
import struct
import tarfile
import threading
import zipfile
import zlib

import numpy

import datasets

HEAD = 16  # bytes: MAGIC, id, generation, CRC-32 over id, generation and all bytes behind the head
MAGIC = 0x31424D41
KEPT = 1000  # generations that a stream may be behind
PERIOD = 4096  # payload lengths repeat after so many generations
KINDS = ("png", "webp", "npy")


def pictures(ids, generation, size=16, channels=3):
    """u8 [n, size, size, channels]: head and a filler that id and generation decide."""
    ids = numpy.asarray(ids, numpy.uint32)
    n_bytes = size * size * channels
    position = numpy.arange((n_bytes + 3) // 4, dtype=numpy.uint64)
    words = (ids.astype(numpy.uint64)[:, None] << numpy.uint64(32) | numpy.uint64(generation)) + position * numpy.uint64(0x9E3779B97F4A7C15)
    words = (words ^ words >> numpy.uint64(30)) * numpy.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> numpy.uint64(27)
    rows = numpy.ascontiguousarray(words.astype("<u4")).view(numpy.uint8)[:, :n_bytes].copy()
    head = rows[:, :HEAD].view("<u4")
    head[:, 0], head[:, 1], head[:, 2] = MAGIC, ids, generation
    for row, words in zip(rows, head):
        words[3] = zlib.crc32(row[HEAD:], zlib.crc32(row[4:12]))
    return rows.reshape(-1, size, size, channels)


def _padded(data, kind, generation, n_bytes):
    """The same picture in a length that says its generation."""
    short = n_bytes + n_bytes // 8 + 1024 + generation % PERIOD - len(data)
    assert short >= 0, (kind, len(data), n_bytes)
    if kind == "png":  # a private chunk before IEND
        body = b"paDs" + bytes(short - 12)
        return data[:-12] + struct.pack(">I", short - 12) + body + struct.pack(">I", zlib.crc32(body)) + data[-12:]
    if kind == "npy":  # the header may have any number of spaces
        length = struct.unpack("<H", data[8:10])[0]
        return data[:8] + struct.pack("<H", length + short) + data[10:9 + length] + b" " * short + data[9 + length:]
    return data + bytes(short)  # behind the end of the RIFF


def encode(pixels, kind, generation, tail=0):
    """tail: so many bytes more behind a WebP, which decoders pass over."""
    assert tail == 0 or kind == "webp"
    data = datasets.npy(pixels[..., 0] if pixels.shape[-1] == 1 else pixels) if kind == "npy" else datasets.encode(pixels, kind)
    return _padded(data, kind, generation, pixels.size) + bytes(tail)


def samples(ids, generation, kind="png", size=16, channels=3, tail=0):
    """(key, {extension: bytes}) for datasets.write_tar: keys are the ids in six digits."""
    return [(f"{i:06d}", {kind: encode(pixels, kind, generation, tail)}) for i, pixels in zip(ids, pictures(ids, generation, size, channels))]


# -- writers: beside, then renamed into place; what begins with a dot no pattern matches ---------------------------------


def _beside(path):
    return path.with_name(f".{path.name}.new")


def write_tar(path, ids, generation, **picture):
    path = pathlib.Path(path)
    os.replace(datasets.write_tar(_beside(path), samples(ids, generation, **picture)), path)
    return path


def write_zip(path, ids, generation, deflated=False, **picture):
    path = pathlib.Path(path)
    with zipfile.ZipFile(_beside(path), "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as archive:
        for key, members in samples(ids, generation, **picture):
            for extension, data in members.items():
                archive.writestr(f"{key}.{extension}", data)
    os.replace(_beside(path), path)
    return path


def write_folder(path, ids, generation, **picture):
    """A folder that was there is moved to a name beside it, for readers that hold it open; remove_old() ends that."""
    path = pathlib.Path(path)
    fresh = _beside(path)
    fresh.mkdir(parents=True)
    for key, members in samples(ids, generation, **picture):
        for extension, data in members.items():
            (fresh / f"{key}.{extension}").write_bytes(data)
    if path.exists():
        path.rename(path.with_name(f".{path.name}.old-{generation}"))
    fresh.rename(path)
    return path


def remove(path):
    """Take a shard away; a folder stays readable for those that hold it, below a hidden name."""
    path = pathlib.Path(path)
    if path.is_dir():
        path.rename(path.with_name(f".{path.name}.old-gone-{len(list(path.parent.iterdir()))}"))
    else:
        path.unlink()


def remove_old(folder):
    for old in pathlib.Path(folder).glob(".*.old-*"):
        shutil.rmtree(old)


def key_order(path):
    """Keys in the order in which a daemon numbers the samples of a shard."""
    path = pathlib.Path(path)
    if path.is_dir():
        return sorted(entry.stem for entry in path.iterdir())
    if zipfile.is_zipfile(path):
        return sorted(pathlib.Path(name).stem for name in zipfile.ZipFile(path).namelist())
    with tarfile.open(path) as archive:
        return [pathlib.Path(name).stem for name in archive.getnames()]


# -- reading what was delivered ------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Seen:
    """What the pixels of a batch say, one row a sample."""

    ids: numpy.ndarray
    generations: numpy.ndarray
    intact: numpy.ndarray  # bool


def decode(planes):
    """planes: u8 [n, C, H, W], or x0 as f32 of the same shape."""
    planes = numpy.asarray(planes)
    if planes.dtype != numpy.uint8:
        levels = numpy.rint((planes + 1) * 127.5)
        planes = numpy.where((levels >= 0) & (levels <= 255), levels, 0).astype(numpy.uint8)
    rows = numpy.ascontiguousarray(planes.transpose(0, 2, 3, 1)).reshape(len(planes), -1)
    head = numpy.ascontiguousarray(rows[:, :HEAD]).view("<u4")
    sums = numpy.array([zlib.crc32(row[HEAD:], zlib.crc32(row[4:12])) for row in rows], numpy.uint32)
    return Seen(head[:, 1].astype(numpy.int64), head[:, 2].astype(numpy.int64), (head[:, 0] == MAGIC) & (head[:, 3] == sums))


# -- the checker -----------------------------------------------------------------------------------------------------------


class Contents:
    """What a data set holds under one pair of fingerprints, by sample number."""

    def __init__(self, ids, generations, low=None, high=None, sigma_min=None):
        """low, high: how often each sample comes in one pass; 0 as low where its annotation may pass it over."""
        self.ids = numpy.asarray(ids, numpy.int64)
        self.generations = numpy.asarray(generations, numpy.int64)
        self.low = numpy.ones(len(self.ids), int) if low is None else numpy.asarray(low, int)
        self.high = numpy.ones(len(self.ids), int) if high is None else numpy.asarray(high, int)
        self.sigma_min = None if sigma_min is None else numpy.asarray(sigma_min, numpy.float32)

    def digest(self):
        return hashlib.sha256(b"".join(getattr(self, name).tobytes() for name in ("ids", "generations", "low", "high"))).digest()

    def differs(self, other):
        """What is not the same in another one, in words; empty: nothing."""
        for name in ("ids", "generations", "low", "high"):
            here, there = getattr(self, name), getattr(other, name)
            if len(here) != len(there):
                return f"{len(here)} and {len(there)} samples"
            at = numpy.flatnonzero(here != there)
            if len(at):
                return f"{name} of {len(at)} samples, the first: {self.ids[at[0]]} with {here[at[0]]} and {there[at[0]]}"
        return ""


@dataclasses.dataclass
class Counts:
    """Errors down to `unflagged`, then what was looked at."""

    wrong: int = 0        # rows whose CRC is bad, or whose pixels are another sample than key and index say
    missing: int = 0      # samples that a whole pass left out
    duplicated: int = 0   # samples that came too often in one (fingerprints, pass)
    mixed: int = 0        # rows of another generation than the fingerprints under which their step was drawn
    disconnects: int = 0
    unflagged: int = 0    # batches that are, or are not, the first of other fingerprints, and say otherwise
    replaced: int = 0     # rows that stand for another sample
    unjudged: int = 0     # batches about whose passes nothing can be said
    batches: int = 0
    rows: int = 0
    passes: int = 0       # whole ones, seen from beginning to end
    moves: int = 0        # batches that were the first of other fingerprints

    def errors(self):
        return {name: getattr(self, name) for name in ("wrong", "missing", "duplicated", "mixed", "disconnects", "unflagged")}

    def __str__(self):
        return ", ".join(f"{getattr(self, field.name)} {field.name}" for field in dataclasses.fields(self))


class Checker:
    """Judges streams against what was announced by `expect`. Batches under fingerprints not announced yet wait for it."""

    def __init__(self):
        self.counts = Counts()
        self.known = {}    # (dataset, annotations): Contents, of the newest KEPT
        self.digests = {}  # of all
        self.watches = []
        self.lock = threading.RLock()
        self.notes = []  # the first errors, in words

    def expect(self, dataset, annotations, contents):
        with self.lock:
            under = dataset, annotations
            before = self.known.pop(under, contents)
            assert self.digests.setdefault(under, contents.digest()) == contents.digest(), \
                f"two states of the data under one fingerprint {dataset}, annotations {annotations}: {before.differs(contents)}"
            self.known[under] = contents
            if len(self.known) > KEPT:
                del self.known[next(iter(self.known))]
            for watch in self.watches:
                watch.judge_waiting()

    def watch(self, state):
        """A stream that begins with this state."""
        with self.lock:
            self.watches.append(Watch(self, state))
            return self.watches[-1]

    def disconnected(self, why):
        with self.lock:
            self.counts.disconnects += 1
            self.note(f"disconnected: {why}")

    def note(self, text):
        if len(self.notes) < 20:
            self.notes.append(text)

    def finish(self):
        """The counts; batches of fingerprints that nobody ever announced are mixed."""
        with self.lock:
            for watch in self.watches:
                for one in watch.waiting:
                    self.counts.mixed += len(one.index)
                    self.note(f"step {one.step}: drawn under unknown fingerprints {one.under}")
                watch.waiting = []
            return self.counts


@dataclasses.dataclass
class Taken:
    """One batch, as far as it is judged."""

    step: int
    under: tuple
    moved: bool
    before: list  # cursors
    after: list    # None: the state behind it begins other passes, under other fingerprints
    index: numpy.ndarray
    keys: numpy.ndarray
    seen: Seen
    replaced: numpy.ndarray
    sigma_min: numpy.ndarray


class Watch:
    """One stream."""

    def __init__(self, checker, state):
        self.checker, self.state = checker, state
        self.waiting = []
        self.under = None         # fingerprints of the batch before
        self.standing = None      # (fingerprints, pass) that the tally is of
        self.tally = None         # how often each sample came in it
        self.is_whole = False     # the tally began with the pass
        self.n_wild = 0           # rows of it that stand for others

    def take(self, state, moved, batch):
        """batch: u8 or x0, index, key, replaced, and perhaps sigma_min; state: the one behind it; moved: flag 0 of its LEND."""
        before, self.state = self.state, state
        one = Taken(step=before["step"], under=(before["dataset"], before["annotations"]), moved=moved, before=before["cursors"],
                    after=state["cursors"] if (state["dataset"], state["annotations"]) == (before["dataset"], before["annotations"]) else None,
                    index=numpy.array(batch["index"], numpy.int64), keys=numpy.array([int(key) for key in batch["key"]], numpy.int64),
                    seen=decode(batch["u8"] if "u8" in batch else batch["x0"]), replaced=numpy.array(batch["replaced"], numpy.int64),
                    sigma_min=numpy.array(batch["sigma_min"], numpy.float32) if "sigma_min" in batch else None)
        with self.checker.lock:
            self.waiting.append(one)
            self.judge_waiting()

    def judge_waiting(self):
        while self.waiting and self.waiting[0].under in self.checker.known:
            one = self.waiting.pop(0)
            self.judge(one, self.checker.known[one.under])

    def judge(self, one, contents):
        counts, note = self.checker.counts, self.checker.note
        counts.batches += 1
        counts.rows += len(one.index)
        counts.replaced += int((one.replaced != 0).sum())
        changed, self.under = self.under not in (None, one.under), one.under
        counts.moves += changed
        counts.unflagged += changed != one.moved
        readable = one.replaced != 2
        inside = (one.index >= 0) & (one.index < len(contents.ids))
        place = numpy.where(inside, one.index, 0)
        right = inside & (contents.ids[place] == one.keys) & (~readable | one.seen.intact & (one.seen.ids == one.keys))
        fits = ~readable | (one.seen.generations == contents.generations[place])
        if one.sigma_min is not None and contents.sigma_min is not None:
            fits &= one.sigma_min == contents.sigma_min[place]
        for i in numpy.flatnonzero(~right):
            note(f"step {one.step}: key {one.keys[i]}, index {one.index[i]} has pixels of {one.seen.ids[i]}, intact {one.seen.intact[i]}")
        for i in numpy.flatnonzero(right & ~fits):
            note(f"step {one.step}: sample {one.keys[i]} of generation {one.seen.generations[i]}, {contents.generations[place[i]]} is that of {one.under}")
        counts.wrong += int((~right).sum())
        counts.mixed += int((right & ~fits).sum())
        self.judge_passes(one, contents, numpy.where(one.replaced == 0, place, -1))

    # -- passes --

    def judge_passes(self, one, contents, drawn):
        """drawn: sample numbers in order, -1 where another one stands for it."""
        counts = self.checker.counts
        if len(one.before) > 1 or len(one.after or [0]) != 1:  # several intervals: which of them a row is of is not told
            counts.unjudged += 1
            self.standing = None
            return
        first, position = one.before[0] if one.before else (0, 0)
        if self.standing != (one.under, first):
            self.begin(one.under, first, contents, position == 0)
        if one.after is None:  # whether the pass ended in its last batch is not told either
            last = first + (excess(self.tally + count(drawn, len(contents.ids)), contents.high) > 0)
        else:
            last = one.after[0][0]
        if last == first:
            self.add(one, contents, drawn)
        elif last == first + 1:
            end, start = self.split(contents, drawn)
            self.add(one, contents, drawn[:end])
            self.end(one, contents)
            self.begin(one.under, last, contents, True)
            self.n_wild = start - end
            self.add(one, contents, drawn[start:])
        else:
            counts.unjudged += 1
            self.standing = None

    def begin(self, under, number, contents, is_whole):
        self.standing, self.is_whole, self.n_wild = (under, number), is_whole, 0
        self.tally = numpy.zeros(len(contents.ids), int)

    def split(self, contents, drawn):
        """Where in the batch its pass ends, by the fewest errors: at the least here, at the most there.

        Between the two lie rows of samples that may come in the one pass or in the other; they are counted in none.
        """
        def errors(n):
            ahead, behind = drawn[:n], drawn[n:]
            tally = self.tally + count(ahead, len(contents.ids))
            after = count(behind, len(contents.ids))
            return self.lacking(contents, tally, self.n_wild + (ahead < 0).sum()) + excess(tally, contents.high) + excess(after, contents.high)
        found = [errors(n) for n in range(len(drawn) + 1)]
        return found.index(min(found)), len(drawn) - found[::-1].index(min(found))

    def lacking(self, contents, tally, n_wild):
        return max(0, int(numpy.maximum(contents.low - tally, 0).sum()) - int(n_wild)) if self.is_whole else 0

    def add(self, one, contents, drawn):
        before = excess(self.tally, contents.high)
        self.tally += count(drawn, len(contents.ids))
        self.n_wild += int((drawn < 0).sum())
        more = excess(self.tally, contents.high) - before
        self.checker.counts.duplicated += more
        if more:
            often = numpy.flatnonzero(self.tally > contents.high)
            self.checker.note(f"step {one.step}: too often in pass {self.standing[1]}: {contents.ids[often].tolist()}")

    def end(self, one, contents):
        lacking = self.lacking(contents, self.tally, self.n_wild)
        self.checker.counts.missing += lacking
        self.checker.counts.passes += self.is_whole
        if lacking:
            self.checker.note(f"step {one.step}: not in pass {self.standing[1]}: {contents.ids[self.tally < contents.low].tolist()}")


def count(numbers, n):
    return numpy.bincount(numbers[numbers >= 0], minlength=n)


def excess(tally, high):
    return int(numpy.maximum(tally - high, 0).sum())

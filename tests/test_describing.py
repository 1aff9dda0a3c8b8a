"""The instruments of the reload suites measure: pictures that say what they are, and a checker that sees each kind of error."""

import os

import numpy
import pytest

import describing
import wire

N = 40


def test_pixels_say_which_sample_they_are(tmp_path):
    """u8 and x0 (f32) as a batch has them give id, generation and integrity back; one changed bit anywhere is seen, and so is
    a picture made of two."""
    one, two = describing.pictures(range(8), 3), describing.pictures(range(8), 4)
    planes = one.transpose(0, 3, 1, 2)
    for batch in (planes, planes.astype(numpy.float32) / numpy.float32(127.5) - 1):
        seen = describing.decode(batch)
        assert seen.intact.all() and seen.ids.tolist() == list(range(8)) and (seen.generations == 3).all()
    rng = numpy.random.default_rng(1)
    for _ in range(200):
        bad = planes.copy()
        at = tuple(int(rng.integers(n)) for n in bad.shape)
        bad[at] ^= 1 << rng.integers(8)
        assert not describing.decode(bad).intact[at[0]] and describing.decode(bad).intact.sum() == 7
    torn = numpy.concatenate([one[:, :8], two[:, 8:]], 1).transpose(0, 3, 1, 2)
    assert not describing.decode(torn).intact.any()
    assert not describing.decode(numpy.zeros_like(planes)).intact.any()


@pytest.mark.parametrize("kind", describing.KINDS)
@pytest.mark.parametrize("writer, name", [(describing.write_tar, "a.tar"), (describing.write_zip, "a.zip"), (describing.write_folder, "a")])
def test_every_container_and_encoding_arrives(daemon, tmp_path, kind, writer, name):
    """Through the daemon, pixel by pixel; of two generations of a shard no two payloads have one length."""
    lengths = []
    for generation in (7, 8):
        (tmp_path / str(generation)).mkdir()
        path = writer(tmp_path / str(generation) / name, range(100, 112), generation, kind=kind)
        assert describing.key_order(path) == [f"{i:06d}" for i in range(100, 112)]
        one = daemon(path)
        with one.client() as client:
            rows = client.subscribe(batch_size=5, fields=["u8", "x0", "key", "index"], options={"policy": "sequential"}).take()
            lengths.append({row["bytes"] for row in client.call(wire.LIST, {"what": "samples"})["rows"]})
        for field in ("u8", "x0"):
            seen = describing.decode(numpy.concatenate([batch[field] for _, batch in rows]))
            assert seen.intact.all() and (seen.generations == generation).all()
            assert seen.ids.tolist() == [int(key) for _, batch in rows for key in batch["key"]] == list(range(100, 112))
        one.stop()
    assert all(lengths) and not lengths[0] & lengths[1]


def test_lengths_tell_generations_apart():
    """Whatever the encoding: the fingerprint of a folder knows nothing but lengths."""
    for size in (8, 16, 32):
        pixels = describing.pictures([5], 1, size)[0]
        lengths = [{len(describing.encode(pixels, kind, generation)) for kind in describing.KINDS} for generation in range(50)]
        assert all(len(one) == 1 for one in lengths) and len(set.union(*lengths)) == 50


def test_shards_appear_whole(tmp_path):
    """Writers rename: while one writes, a pattern finds the old file or the new one, and the old inode keeps its bytes."""
    path = describing.write_tar(tmp_path / "a.tar", range(5), 1)
    with open(path, "rb") as old:
        before = old.read()
        describing.write_tar(path, range(5), 2)
        old.seek(0)
        assert old.read() == before != path.read_bytes()
    describing.write_folder(tmp_path / "f", range(3), 1)
    held = os.open(tmp_path / "f", os.O_DIRECTORY)
    describing.write_folder(tmp_path / "f", range(3), 2)
    describing.remove(tmp_path / "f")
    names = sorted(path.name for path in tmp_path.glob("*"))
    assert [name for name in names if not name.startswith(".")] == ["a.tar"] and len(os.listdir(held)) == 3
    describing.remove_old(tmp_path)
    assert os.listdir(held) == [] and [path.name for path in tmp_path.iterdir()] == ["a.tar"]
    os.close(held)


# -- the checker: a made stream, with one error put into it ----------------------------------------------------------------


def contents(generation=1, **options):
    return describing.Contents(range(500, 500 + N), [generation] * N, **options)


class Made:
    """A stream of passes over the samples, as a daemon would send it; `plant` may change a batch before it is judged."""

    def __init__(self, checker, held, under=("d1", "a1"), seed=0):
        self.held, self.under, self.rng = held, under, numpy.random.default_rng(seed)
        self.step, self.number, self.position, self.order, self.moved = 0, 0, 0, self.shuffled(), False
        self.watch = checker.watch(self.state())

    def shuffled(self):
        copies = numpy.repeat(numpy.arange(len(self.held.ids)), self.held.high)
        return self.rng.permutation(copies)

    def state(self):
        return {"step": self.step, "dataset": self.under[0], "annotations": self.under[1], "cursors": [[self.number, self.position]]}

    def draw(self):
        if self.position == len(self.order):
            self.number, self.position, self.order = self.number + 1, 0, self.shuffled()
        self.position += 1
        return self.order[self.position - 1]

    def batch(self, n):
        index = numpy.array([self.draw() for _ in range(n)])
        self.step += 1
        u8 = numpy.concatenate([describing.pictures([self.held.ids[i]], self.held.generations[i]) for i in index]).transpose(0, 3, 1, 2).copy()
        return {"u8": u8, "index": index, "key": [b"%06d" % self.held.ids[i] for i in index], "replaced": numpy.zeros(n, numpy.uint8)}

    def give(self, batch, after=None, moved=None):
        self.watch.take(after or self.state(), self.moved if moved is None else moved, batch)
        self.moved = False

    def run(self, n_batches, n=7, plant=None):
        for i in range(n_batches):
            batch = self.batch(n)
            if plant is not None:
                plant(i, batch)
            self.give(batch)

    def move(self, batch, held, under):
        """As follow does it: the state behind the last batch names the new fingerprints and begins a new pass."""
        self.held, self.under = held, under
        self.number, self.position, self.order = self.number + 1, 0, self.shuffled()
        self.give(batch)
        self.moved = True


def judged(n_batches=30, held=None, plant=None, before=None):
    checker = describing.Checker()
    held = contents() if held is None else held
    checker.expect("d1", "a1", held)
    made = Made(checker, held)
    if before is not None:
        before(checker, made)
    made.run(n_batches, plant=plant)
    return checker, checker.finish()


def only(counts, **expected):
    """Just these errors and no others."""
    found = {name: n for name, n in counts.errors().items() if n}
    assert found == expected, (found, expected)


@pytest.mark.parametrize("n", [1, 7, 16])
def test_a_clean_stream_is_clean(n):
    """Passes end anywhere in a batch; none is taken for an error, each whole one is counted, whatever the size of batches."""
    checker = describing.Checker()
    checker.expect("d1", "a1", contents())
    made = Made(checker, contents())
    made.run(300 // n, n)
    only(checker.finish())
    assert checker.counts.rows == 300 // n * n and checker.counts.passes in (made.number, made.number + 1) and not checker.counts.unjudged


@pytest.mark.parametrize("seed", range(10))
def test_a_clean_stream_with_weights_is_clean(seed):
    """repeat 2.5: each sample two or three times in a pass; and some are passed over, at times or always."""
    low = [0 if i < 5 else 2 for i in range(N)]
    checker, held = describing.Checker(), contents(low=low, high=[3] * N)
    checker.expect("d1", "a1", held)
    made = Made(checker, held, seed=seed)
    made.shuffled = lambda: made.rng.permutation(numpy.repeat(numpy.arange(N), made.rng.integers(low, [4] * N)))
    made.order = made.shuffled()
    made.run(60)
    only(checker.finish())
    assert checker.counts.passes == made.number >= 3


def test_damage_is_counted_as_wrong():
    def plant(i, batch):
        if i == 4:
            batch["u8"][2, 1, 5, 5] ^= 1
    only(judged(plant=plant)[1], wrong=1)


@pytest.mark.parametrize("field", ["key", "index", "u8"])
def test_another_sample_is_counted_as_wrong(field):
    """Intact pixels, but of somebody else than key or index say: two rows change places in one of the three."""
    def plant(i, batch):
        if i == 4:
            batch[field] = batch[field].copy()
            batch[field][0], batch[field][1] = (batch[field][1].copy(), batch[field][0].copy()) if field == "u8" else (batch[field][1], batch[field][0])
    only(judged(plant=plant)[1], wrong=2)


def test_a_number_outside_the_data_is_counted_as_wrong():
    def plant(i, batch):
        if i == 4:
            batch["index"][3] = N
    counts = judged(5, plant=plant)[1]
    assert counts.wrong == 1


def test_a_sample_of_another_generation_is_counted_as_mixed():
    """Intact, and the right sample, but written before the generation that the step was drawn under."""
    def plant(i, batch):
        if i == 4:
            batch["u8"][3] = describing.pictures([int(batch["key"][3])], 0)[0].transpose(2, 0, 1)
    only(judged(plant=plant)[1], mixed=1)


def test_another_annotation_is_counted_as_mixed():
    def plant(i, batch):
        batch["sigma_min"] = numpy.full(7, 0.5, numpy.float32)
        batch["sigma_min"][0] = 0.25 if i == 4 else 0.5
    only(judged(held=contents(sigma_min=[0.5] * N), plant=plant)[1], mixed=1)


def test_fingerprints_that_nobody_announced_are_mixed():
    """And batches that come before the announcement wait for it."""
    for announced in (True, False):
        checker = describing.Checker()
        made = Made(checker, contents())
        made.run(3)
        assert checker.counts.batches == 0
        if announced:
            checker.expect("d1", "a1", contents())
        checker.finish()
        only(checker.counts, **({} if announced else {"mixed": 21}))
        assert checker.counts.batches == (3 if announced else 0)


@pytest.mark.parametrize("at", [0, 2, 4, 6])
def test_a_sample_twice_in_a_pass_is_counted(at):
    """In the place of another one, which the pass then misses; also where the pass ends in the same batch (40 = 5 * 7 + 5)."""
    kept = {}

    def plant(i, batch):
        if i == 0:
            kept["first"] = {name: batch[name][1] for name in batch}
        if i == (5 if at == 6 else at) and i > 0:
            for name, value in kept["first"].items():
                batch[name][2] = value
    counts = judged(30, plant=plant)[1]
    only(counts, **({"duplicated": 1, "missing": 1} if at else {}))


def test_a_sample_twice_in_one_batch_is_counted():
    def plant(i, batch):
        if i == 3:
            for name in batch:
                batch[name][0] = batch[name][4]
    only(judged(30, plant=plant)[1], duplicated=1, missing=1)


def test_what_comes_more_often_than_its_weight_is_counted():
    held = contents(low=[0] * N, high=[2] * N)

    def before(checker, made):
        made.order = numpy.array([0, 0, 0, *range(1, N), *range(1, N)])
    assert judged(3, held=held, before=before)[1].duplicated == 1


def test_a_sample_that_a_pass_leaves_out_is_counted():
    """The order of a pass lacks one sample. One that its annotation may pass over is not missed."""
    for low, expected in ((None, {"missing": 1}), ([0] + [1] * (N - 1), {})):
        def before(checker, made):
            made.order = numpy.arange(1, N)
        only(judged(30, held=contents(low=low), before=before)[1], **expected)


@pytest.mark.parametrize("n", range(1, 13))
def test_a_move_is_judged_by_the_fingerprints_of_the_step(n):
    """The batch behind a move must be of the new generation, and say that it is the first; a new pass begins, wherever the old
    one was (that of 40 samples ends in the sixth batch of 7)."""
    for stale, silent in ((False, False), (True, False), (False, True)):
        checker = describing.Checker()
        checker.expect("d1", "a1", contents(1))
        checker.expect("d2", "a1", contents(2))
        made = Made(checker, contents(1))
        made.run(n - 1)
        made.move(made.batch(7), contents(1) if stale else contents(2), ("d2", "a1"))
        batch = made.batch(7)
        made.give(batch, moved=not silent)
        made.held = contents(2)
        made.run(12)
        only(checker.finish(), **({"mixed": 7} if stale else {"unflagged": 1} if silent else {}))
        assert checker.counts.moves == 1 and not checker.counts.unjudged and checker.counts.passes >= 2 + (n > 6)


def test_a_sample_twice_in_the_batch_before_a_move_is_counted():
    """Where no other pass can explain it: three times."""
    checker = describing.Checker()
    checker.expect("d1", "a1", contents(1))
    checker.expect("d2", "a1", contents(2))
    made = Made(checker, contents(1))
    made.run(2)
    batch = made.batch(7)
    for name in batch:
        batch[name][0] = batch[name][1] = batch[name][2]
    made.move(batch, contents(2), ("d2", "a1"))
    made.run(12)
    assert checker.finish().duplicated >= 1


def test_a_replaced_row_is_neither_missed_nor_twice():
    """It stands for a draw of the pass and may be any sample; the drawn one does not come."""
    def plant(i, batch):
        if i == 3:
            for name in batch:
                batch[name][0] = batch[name][4]
            batch["replaced"][0] = 1
    counts = judged(30, plant=plant)[1]
    only(counts)
    assert counts.replaced == 1


def test_several_intervals_are_not_judged_and_said():
    checker = describing.Checker()
    checker.expect("d1", "a1", contents())
    made = Made(checker, contents())
    made.give(made.batch(7), after={**made.state(), "cursors": [[0, 4], [0, 3]]})
    assert checker.finish().unjudged == 1


def test_two_states_under_one_fingerprint_are_refused():
    checker = describing.Checker()
    checker.expect("d1", "a1", contents(1))
    checker.expect("d1", "a1", contents(1))
    with pytest.raises(AssertionError, match="one fingerprint"):
        checker.expect("d1", "a1", contents(2))


def test_a_cut_connection_is_counted():
    checker = describing.Checker()
    checker.disconnected("closed")
    only(checker.finish(), disconnects=1)
    assert "closed" in checker.notes[0]

"""Reload: other shards, sources and options under running streams; what is refused; coming back to what was before."""

import contextlib
import json
import os
import pathlib
import resource
import signal
import subprocess
import threading
import time
import zipfile

import numpy
import pytest

import ambientd
import datasets
import wire
from conftest import ROOT, Died

CTL = os.environ.get("AMBIENTCTL_BIN", str(ROOT / "build/clients/ctl/ambientctl"))

FIELDS = ["u8", "x_t", "index", "key"]
UNIFORM = {"batch_size": 8, "fields": FIELDS, "slots": 2}


def put(path, ids, size=16, per=None):
    """A tar of the pictures `ids`, published by rename, its times in the past: an index of it may be cached and kept."""
    path = pathlib.Path(path)
    datasets.write_tar(path.with_suffix(".tmp"), [datasets.sample(i, size) for i in ids])
    os.utime(path.with_suffix(".tmp"), (1_700_000_000, 1_700_000_000 + ids[0]))
    path.with_suffix(".tmp").rename(path)


class Served:
    """A daemon over one folder of shards, its configuration in a file."""

    def __init__(self, daemon, folder, n_shards=3, state=True, **options):
        self.start, self.folder, self.data = daemon, folder, folder / "data"
        self.data.mkdir(parents=True)
        self.state, self.options = state, options
        for i in range(n_shards):
            put(self.shard(i), range(100 * i, 100 * i + 20))
        self.configure()
        self.one = self.run()

    def shard(self, i):
        return self.data / f"{i}.tar"

    def configure(self, extra={}, **dataset):
        sources = dataset.pop("sources", {"main": {"shards": [str(self.data / "*.tar")]}})
        config = {"socket": str(self.folder / "s"), "cache_dir": str(self.folder / "index"), "workers": 2,
                  "datasets": {"main": {"sources": sources, **dataset}}, **self.options, **extra}
        if self.state:
            config["state_dir"] = str(self.folder / "state")
        (self.folder / "c.json").write_text(json.dumps(config))

    def run(self):
        one = self.start("--config", self.folder / "c.json")
        one.socket = self.folder / "s"
        return one

    def restart(self):
        assert self.one.stop() == 0, self.one.log()
        self.one = self.run()

    def ask(self, type, body={}):
        with self.one.client() as client:
            return client.call(type, body)

    def reload(self, check=False):
        return self.ask(wire.RELOAD, {"check": check})

    def generations(self):
        return self.ask(wire.GENERATIONS)["dataset"]


@pytest.fixture
def served(daemon, tmp_path):
    return lambda **options: Served(daemon, tmp_path / f"served{len(list(tmp_path.iterdir()))}", **options)


def ctl(one, *arguments):
    return subprocess.run([CTL, *map(str, arguments), "--socket", str(one.socket)], capture_output=True, text=True, timeout=60)


def keys(rows):
    return {key.decode() for _, batch in rows for key in batch["key"]}


def right(rows):
    """Every picture is the one that its key says."""
    return all((batch["u8"][i].transpose(1, 2, 0) == datasets.picture(int(key))).all()
               for _, batch in rows for i, key in enumerate(batch["key"]))


def until_moved(stream, limit=5000):
    """Batches up to the first under other fingerprints; how soon that comes is a matter of who is let in."""
    rows = stream.take(1)
    while not rows[-1][0].flags & 1:
        rows += stream.take(1)
        assert len(rows) < limit
    return rows


@pytest.mark.threads
def test_a_following_stream_takes_up_other_shards(served):
    """One shard goes, one comes, one is replaced by rename and grows: the stream moves at a step that its state names and
    flags, from there on sees exactly the new samples, and what did not change stays mapped."""
    here = served()
    with here.one.client() as client:
        stream = client.subscribe(**UNIFORM)
        early = stream.take(4)
        here.shard(0).unlink()
        put(here.shard(1), range(150, 175))
        put(here.shard(3), range(300, 320))
        got = here.reload()
        row = got["datasets"]["main"]
        assert got["changed"] and row["changed"] and not row["new_subscription"] and row["number"] == 2
        assert (row["samples"], row["shards"], row["kept"], row["opened"], row["gone"]) == (65, 3, 1, 2, 2)
        late = until_moved(stream) + stream.take(40)
    assert right(early + late)
    flagged = [i for i, (lend, _) in enumerate(late) if lend.flags & 1]
    assert len(flagged) == 1 and late[-1][0].state["dataset"] == row["fingerprint"] != early[0][0].state["dataset"]
    before, after = late[:flagged[0]], late[flagged[0]:]
    assert keys(after) == {f"{i:06d}" for i in [*range(150, 175), *range(200, 220), *range(300, 320)]}
    assert keys(early + before) <= {f"{100 * i + k:06d}" for i in range(3) for k in range(20)}
    assert [g["number"] for g in here.generations()] == [2]


def test_nothing_changed_changes_nothing(served):
    """A reload without a change keeps the generation, its number and every shard, and throws no work away."""
    here = served()
    with here.one.client() as client:
        stream = client.subscribe(**UNIFORM)
        stream.take(2)
        before = here.generations()
        row = here.reload()
        assert not row["changed"] and not row["datasets"]["main"]["changed"] and row["datasets"]["main"]["kept"] == 3
        after = here.generations()
        assert after == before and after[0]["streams"] == 1
        session = next(row["id"] for row in here.one.status()["sessions"] if row["mode"] == "stream")
        assert after[0]["holders"] == [session]
        assert not any(lend.flags & 1 for lend, _ in stream.take(10))
    assert here.one.counter("thrown_away") <= 2  # of the end of the stream, not of the reload


def test_the_same_contents_in_other_files_change_no_byte(served):
    """Shards published again with the same contents: new files, new maps, the same fingerprint; a stream goes over to them
    without a move, and draws what it would have drawn."""
    here = served()
    with here.one.client() as client:
        stream = client.subscribe(**UNIFORM, options={"seed": 5})
        rows = stream.take(3)
        for i in range(3):
            put(here.shard(i), range(100 * i, 100 * i + 20))
        row = here.reload()["datasets"]["main"]
        assert row["changed"] and row["kept"] == 0
        rows += stream.take(20)
        while len(here.generations()) > 1:
            rows += stream.take(5)
            assert len(rows) < 5000
        assert [g["number"] for g in here.generations()] == [1]
    with here.one.client() as client:
        again = client.subscribe(**UNIFORM, options={"seed": 5}).take(len(rows))
    assert not any(lend.flags & 1 for lend, _ in rows)
    assert all((a["x_t"] == b["x_t"]).all() and (a["index"] == b["index"]).all() for (_, a), (_, b) in zip(rows, again))
    assert here.one.wait_for(lambda s: len(here.generations()) == 1)


def test_descriptors_and_maps_go_back(served):
    """Old generations are closed once nobody stands on them: after ten turns the daemon holds as many files as before."""
    here = served()
    with here.one.client() as client:
        stream = client.subscribe(**UNIFORM)
        stream.take(2)
        fds = here.one.n_fds()
        for turn in range(10):
            put(here.shard(2), range(200 + turn, 230 + turn))
            here.reload()
            stream.take(4)
        held = stream.next()  # a lent slot holds no generation
        put(here.shard(2), range(200, 220))
        here.reload()
        stream.done(held)
        stream.take(8)
        assert here.one.wait_for(lambda s: len(here.generations()) == 1), here.generations()
        end = time.monotonic() + 10  # without asking: each question is a descriptor
        while here.one.n_fds() > fds and time.monotonic() < end:
            time.sleep(0.02)
        assert here.one.n_fds() <= fds


def test_ranks_advance_to_other_shards_together(served):
    """Streams that do not follow stay, pinned, until both ranks advance to the same step and fingerprints; then the old
    generation goes. A fingerprint that nobody knows moves nothing."""
    here = served()
    both = {"world_size": 2, "batch_size": 4, "fields": FIELDS, "slots": 2}
    with here.one.client() as a, here.one.client() as b, here.one.client() as lone:
        streams = [a.subscribe(rank=0, **both), b.subscribe(rank=1, **both)]
        single = lone.subscribe(batch_size=8, fields=FIELDS, slots=2, follow=False)
        early = [stream.take(2) for stream in streams]
        put(here.shard(7), range(700, 720))
        row = here.reload()["datasets"]["main"]
        assert {g["number"]: g["streams"] for g in here.generations()} == {1: 3, 2: 0}
        with pytest.raises(wire.Refused) as refused:
            a.call(wire.ADVANCE, {"step": 8, "dataset": "0" * 32, "annotations": None})
        assert refused.value.code in ("state", "not-found")
        move = {"step": 8, "dataset": row["fingerprint"], "annotations": row["annotations"]["fingerprint"]}
        assert a.call(wire.ADVANCE, move) == b.call(wire.ADVANCE, {**move, "annotations": None}) == move
        late = [stream.take(10) for stream in streams]
        stay = single.take(12)
    for rows in late:
        assert [lend.step for lend, _ in rows if lend.flags & 1] == [8]
        assert {lend.state["dataset"] for lend, _ in rows if lend.step >= 7} == {row["fingerprint"]}
    assert len({lend.state["dataset"] for lend, _ in stay}) == 1
    assert right(late[0] + late[1] + stay)
    together = [[k for (_, batch) in (x, y) for k in batch["key"]] for x, y in zip(*[e + l for e, l in zip(early, late)])]
    assert all(len(step) == 8 for step in together)
    assert here.one.wait_for(lambda s: [g["number"] for g in here.generations()] == [2])


def test_a_state_of_an_older_generation_draws_the_same_bytes(served):
    """With a state directory an older generation is rebuilt, also after a restart, as long as its files are there: here
    they were only taken out of the configuration. Without a state directory a typed error says so."""
    here = served()
    with here.one.client() as client:
        stream = client.subscribe(**UNIFORM)
        rows = stream.take(6)
    state = rows[2][0].state
    here.configure(sources={"main": {"shards": [str(here.shard(0))]}})
    assert here.reload()["datasets"]["main"]["samples"] == 20
    assert here.one.wait_for(lambda s: len(here.generations()) == 1)
    for turn in range(2):
        with here.one.client() as client:
            again = client.subscribe(**UNIFORM, state=state, follow=False).take(3)
        assert all((a["x_t"] == b["x_t"]).all() for (_, a), (_, b) in zip(rows[3:], again))
        assert "generation.recalled" in here.one.log()
        with here.one.client() as client:  # and one that follows goes on from there to what there is now
            stream = client.subscribe(**UNIFORM, state=state)
            moved = stream.take(1) + until_moved(stream) + stream.take(4)
        assert (moved[0][1]["x_t"] == rows[3][1]["x_t"]).all() and keys(moved[-4:]) <= {f"{i:06d}" for i in range(20)}
        assert here.one.wait_for(lambda s: len(here.generations()) == 1)
        here.restart()


def test_a_generation_that_is_gone_is_named_or_left(served):
    """A shard of the older generation was removed: the error names it; on_generation_change=continue goes on with what there
    is, at the step and draw counter of the state, in new passes, and says so."""
    here = served()
    with here.one.client() as client:
        state = client.subscribe(**UNIFORM).take(6)[-1][0].state
    here.shard(1).unlink()
    here.reload()
    with here.one.client() as client:
        with pytest.raises(wire.Refused) as refused:
            client.subscribe(**UNIFORM, state=state)
        assert refused.value.code == "state" and "1.tar" in str(refused.value) and "continue" in str(refused.value)
        stream = client.subscribe(**UNIFORM, state=state, on_generation_change="continue")
        assert any("1.tar" in text for text in stream.reply["warnings"])
        rows = stream.take(10)
    assert rows[0][0].step == state["step"] and rows[0][0].k == state["k"] and rows[0][0].flags & 1
    assert right(rows) and not keys(rows) & {f"{i:06d}" for i in range(100, 120)}
    with here.one.client() as client, pytest.raises(wire.Refused) as refused:
        client.subscribe(**UNIFORM, state=state, on_generation_change="perhaps")
    assert refused.value.code == "config"


def test_without_a_state_directory_nothing_older_is_remembered(served):
    here = served(state=False)
    with here.one.client() as client:
        state = client.subscribe(**UNIFORM).take(2)[-1][0].state
    put(here.shard(4), range(400, 420))
    here.reload()
    with here.one.client() as client, pytest.raises(wire.Refused) as refused:
        client.subscribe(**UNIFORM, state=state)
    assert refused.value.code == "state" and "dataset" in str(refused.value)


def test_a_move_to_what_nobody_knows_is_refused_without_a_state_directory(served):
    """A fingerprint of a data set alone, in `moves` and in ADVANCE: a typed error, and the daemon goes on."""
    here = served(state=False)
    nothing = {"dataset": "0" * 32, "annotations": None}
    with here.one.client() as client:
        stream = client.subscribe(**UNIFORM, follow=False)
        with pytest.raises(wire.Refused) as refused:
            client.call(wire.ADVANCE, {"step": 9, **nothing})
        assert refused.value.code == "state" and "0" * 32 in str(refused.value)
        with here.one.client() as other, pytest.raises(wire.Refused) as refused:
            other.subscribe(**UNIFORM, follow=False, moves=[{"step": 0, **nothing}])
        assert refused.value.code == "state"
        assert right(stream.take(4))


def test_moves_set_ahead_are_limited(served):
    """64 of them; each has a sampler of its own."""
    here = served()
    with here.one.client() as client:
        stream = client.subscribe(**UNIFORM, follow=False)
        now = {"dataset": stream.next().state["dataset"], "annotations": None}
        for i in range(64):
            client.call(wire.ADVANCE, {"step": 1000 + i, **now})
        with pytest.raises(wire.Refused) as refused:
            client.call(wire.ADVANCE, {"step": 2000, **now})
        assert refused.value.code == "limit" and "64" in str(refused.value)
        client.call(wire.CANCEL_ADVANCE, {"step": 1000})
        client.call(wire.ADVANCE, {"step": 2000, **now})


def test_ranks_on_files_that_were_moved_advance_to_new_annotations(served):
    """The same contents in other files are the same data set: streams that stand on the files of before find the
    annotations that came after."""
    here = served()
    lines = here.folder / "a.jsonl"
    lines.write_text(json.dumps({"filename": "000003", "sigma_min": 1.5}) + "\n")
    both = {"world_size": 2, "batch_size": 4, "fields": FIELDS, "slots": 2}
    with here.one.client() as a, here.one.client() as b:
        streams = [a.subscribe(rank=0, **both), b.subscribe(rank=1, **both)]
        for stream in streams:
            stream.take(2)
        shard = here.shard(1)
        shard.with_suffix(".tmp").write_bytes(shard.read_bytes())
        shard.with_suffix(".tmp").rename(shard)
        row = here.reload()["datasets"]["main"]
        assert row["changed"] and row["fingerprint"] == here.generations()[-1]["fingerprint"]
        new = here.ask(wire.IMPORT, {"path": str(lines)})["generation"]["fingerprint"]
        for client, dataset in ((a, None), (b, row["fingerprint"])):
            assert client.call(wire.ADVANCE, {"step": 9, "dataset": dataset, "annotations": new})["annotations"] == new
        rows = [stream.take(12) for stream in streams]
    for some in rows:
        assert {lend.state["annotations"] for lend, _ in some if lend.step > 9} == {new} and right(some)


def test_the_archive_knows_where_the_files_went(served):
    """Shards move to another folder, then one comes: a state of before is drawn from where they lie now."""
    here = served()
    with here.one.client() as client:
        rows = client.subscribe(**UNIFORM).take(6)
    state = rows[2][0].state
    moved = here.folder / "moved"
    here.data.rename(moved)
    here.data = moved
    here.configure()
    assert here.reload()["datasets"]["main"]["fingerprint"] == state["dataset"]
    put(here.shard(8), range(800, 820))
    assert here.reload()["datasets"]["main"]["fingerprint"] != state["dataset"]
    assert here.one.wait_for(lambda s: len(here.generations()) == 1)
    with here.one.client() as client:
        again = client.subscribe(**UNIFORM, state=state, follow=False).take(3)
    assert all((a["x_t"] == b["x_t"]).all() for (_, a), (_, b) in zip(rows[3:], again))


def test_shards_that_return_lead_back_to_what_they_had(served):
    """Annotations are imported on F1, then F2 is served, by a reload or from a start on, then F1 again, with what was
    imported meanwhile: every state of F1 draws the bytes that it drew, and so after a restart."""
    here = served()

    def annotate(key, sigma_min):
        (here.folder / "a.jsonl").write_text(json.dumps({"filename": f"{key:06d}.png", "sigma_min": sigma_min}) + "\n")
        here.ask(wire.IMPORT, {"path": str(here.folder / "a.jsonl")})

    def draw(state=None):
        with here.one.client() as client:
            return client.subscribe(**UNIFORM, follow=False, state=state).take(4)

    drawn = [draw()]
    for turn, come in enumerate([here.reload, here.restart, here.reload]):
        for key in (turn, turn + 10):
            annotate(key, 0.5)
            drawn.append(draw())
        put(here.shard(9), range(900, 920))
        come()
        if turn > 0:
            annotate(turn + 100, 0.9)
        here.shard(9).unlink()
        come()
    for turn in range(2):
        for rows in drawn:
            again = draw(rows[1][0].state)
            assert all((a["x_t"] == b["x_t"]).all() for (_, a), (_, b) in zip(rows[2:], again))
        here.restart()
    assert len({rows[0][0].state["dataset"] for rows in drawn}) == 1
    assert len({rows[0][0].state["annotations"] for rows in drawn}) == len(drawn) == 7


def test_a_generation_without_excludes_stays_without(served):
    """The file of excludes was empty, then it names a sample: the generation of before has that sample again."""
    here = served()
    (here.folder / "out.txt").write_text("")
    here.configure(exclude=str(here.folder / "out.txt"))
    here.restart()
    with here.one.client() as client:
        rows = client.subscribe(**UNIFORM).take(6)
    (here.folder / "out.txt").write_text("main/000005\n")
    assert here.reload()["datasets"]["main"]["samples"] == 59
    assert here.one.wait_for(lambda s: len(here.generations()) == 1)
    with here.one.client() as client:
        again = client.subscribe(**UNIFORM, state=rows[2][0].state, follow=False).take(3)
    assert all((a["x_t"] == b["x_t"]).all() for (_, a), (_, b) in zip(rows[3:], again))


def test_a_generation_whose_paths_are_no_utf8_can_be_had_again(served):
    here = served()
    os.rename(here.shard(1), os.fsencode(here.data) + b"/caf\xe9.tar")
    here.reload()
    with here.one.client() as client:
        rows = client.subscribe(**UNIFORM).take(6)
    put(here.shard(9), range(900, 920))
    here.reload()
    assert here.one.wait_for(lambda s: len(here.generations()) == 1)
    with here.one.client() as client:
        again = client.subscribe(**UNIFORM, state=rows[2][0].state, follow=False).take(3)
    assert all((a["x_t"] == b["x_t"]).all() for (_, a), (_, b) in zip(rows[3:], again))
    assert "archive.unkept" not in here.one.log()


def test_a_bad_reload_names_everything_and_changes_nothing(served):
    """Two bad shards and a pattern without a match: all three are named at once; the stream goes on as it would have; after
    the repair the reload is taken."""
    here = served()
    with here.one.client() as client:
        stream = client.subscribe(**UNIFORM, options={"seed": 3})
        rows = stream.take(2)
        here.configure(sources={"main": {"shards": [str(here.data / "*.tar"), str(here.data / "none-*.tar")]}})
        (here.data / "8.tar").write_bytes(b"short")
        (here.data / "9.tar").write_bytes(b"")
        for check in (True, False):
            with pytest.raises(wire.Refused) as refused:
                here.reload(check)
            problems = refused.value.detail["problems"]
            assert len(problems) == 3 and all(any(word in p for p in problems) for word in ("8.tar", "9.tar", "none-"))
        (here.folder / "c.json").write_text('{"datasets": {"main": {"sorces": {}}}}')
        with pytest.raises(wire.Refused) as refused:
            here.reload()
        assert "sources" in str(refused.value)
        rows += stream.take(10)
        (here.data / "8.tar").unlink()
        (here.data / "9.tar").unlink()
        here.configure()
        assert not here.reload()["changed"]
        rows += stream.take(4)
    with here.one.client() as client:
        again = client.subscribe(**UNIFORM, options={"seed": 3}).take(16)
    assert all((a["x_t"] == b["x_t"]).all() for (_, a), (_, b) in zip(rows, again))
    assert here.one.counter("reloads_refused") == 2


def kill_and_run(here):
    here.one.stop(signal.SIGKILL)
    here.one = here.run()


def findings(here):
    return here.one.status()["datasets"]["main"]["findings"]


def test_what_was_served_before_a_refused_reload_is_served_after_a_restart(served):
    """Two bad shards come: the reload is refused, and so is a start; the generation of before goes on, every reason is in the
    log and in STATUS, a stream draws the same bytes; the next reload takes what is repaired."""
    here = served()
    with here.one.client() as client:
        rows = client.subscribe(**UNIFORM).take(6)
    for name in ("8.tar", "9.tar"):
        (here.data / name).write_bytes(b"short")
    with pytest.raises(wire.Refused):
        here.reload()
    before = here.generations()
    kill_and_run(here)
    assert [g["fingerprint"] for g in here.generations()] == [g["fingerprint"] for g in before]
    assert [g["number"] for g in here.generations()] == [1]
    for words in ([line for line in here.one.log().splitlines() if "error dataset.refused" in line], findings(here)):
        assert len(words) == 2 and all(any(name in line for line in words) for name in ("8.tar", "9.tar"))
    with here.one.client() as client:
        again = client.subscribe(**UNIFORM, state=rows[2][0].state).take(3)
    assert all((a["x_t"] == b["x_t"]).all() for (_, a), (_, b) in zip(rows[3:], again))
    with pytest.raises(wire.Refused):
        here.reload()
    assert findings(here)
    (here.data / "8.tar").unlink()
    put(here.data / "9.tar", range(900, 920))
    row = here.reload()["datasets"]["main"]
    assert (row["samples"], row["number"]) == (80, 2) and findings(here) == []
    here.restart()
    assert here.generations()[0]["fingerprint"] == row["fingerprint"] and findings(here) == []


def test_annotations_whose_file_is_gone_are_served_after_a_restart(served):
    """A file of annotations is gone when the daemon starts: their last values are served. An import is kept, and counts once
    the file is back."""
    here = served()
    (here.folder / "a.jsonl").write_text(json.dumps({"filename": "000003.png", "sigma_min": 0.5}) + "\n")
    here.configure(annotations=[{"import": str(here.folder / "a.jsonl")}, {"fixed": [{"key": "000007", "sigma_min": 2, "sigma_max": 0}]}])
    here.reload()
    (here.folder / "b.jsonl").write_text(json.dumps({"filename": "000004.png", "sigma_min": 0.25}) + "\n")
    here.ask(wire.IMPORT, {"path": str(here.folder / "b.jsonl")})
    before = here.one.status()["datasets"]["main"]["annotations"]["fingerprint"]
    (here.folder / "a.jsonl").rename(here.folder / "away")
    kill_and_run(here)
    row = here.one.status()["datasets"]["main"]
    assert row["annotations"]["fingerprint"] == before and "a.jsonl" in row["findings"][0]
    assert here.ask(wire.SAMPLE, {"key": "000007"})["annotation"]["sigma_min"] == 2  # the other entries are read
    (here.folder / "c.jsonl").write_text(json.dumps({"filename": "000005.png", "sigma_min": 0.75}) + "\n")
    with pytest.raises(wire.Refused, match="a.jsonl"):
        here.ask(wire.IMPORT, {"path": str(here.folder / "c.jsonl")})
    assert here.one.status()["datasets"]["main"]["annotations"]["fingerprint"] == before
    (here.folder / "away").rename(here.folder / "a.jsonl")
    assert here.reload()["changed"] and findings(here) == []
    values = [here.ask(wire.SAMPLE, {"key": f"{i:06d}"})["annotation"]["sigma_min"] for i in (3, 4, 5)]
    assert values == [0.5, 0.25, 0.75]


def test_a_start_fails_where_nothing_older_can_be_had(served):
    """Without a state directory, and where a shard of what was served is gone too, a bad shard ends the start."""
    for state in (False, True):
        here = served(state=state)
        (here.data / "8.tar").write_bytes(b"short")
        here.shard(1).unlink()
        here.one.stop(signal.SIGKILL)
        with pytest.raises(Died) as died:
            here.run()
        assert died.value.daemon.process.returncode == 1 and "8.tar" in died.value.daemon.log()


def test_bad_annotations_are_named_together(served):
    """Two files that are missing and one that is damaged are named at once; beside a bad shard the missing ones, for what
    is in the third cannot be told without samples."""
    here = served(state=False)
    paths = [str(here.folder / name) for name in ("gone.jsonl", "bad.jsonl", "lost.jsonl")]
    pathlib.Path(paths[1]).write_text('{"filename": "000000.png", "sigma_min": 0.5}\n{"filename"\n')
    here.configure(annotations=[{"import": path} for path in paths])

    def problems():
        with pytest.raises(wire.Refused) as refused:
            here.reload()
        return refused.value.detail["problems"]

    told = problems()
    assert len(told) == 3 and all(path in line for path, line in zip(paths, told))
    (here.data / "9.tar").write_bytes(b"short")
    told = problems()
    assert len(told) == 3 and all(word in line for word, line in zip(("9.tar", "gone.jsonl", "lost.jsonl"), told))
    (here.data / "9.tar").unlink()
    for path in paths:
        pathlib.Path(path).write_text('{"filename": "000000.png", "sigma_min": 0.5}\n')
    assert here.reload()["changed"]


@pytest.mark.parametrize("where", ["import", "sigmas", "exclude", "config"])
def test_a_pipe_is_named_and_not_waited_for(served, where):
    """In place of any file that a reload reads: it is refused, the desks go on, and with a file there the next is taken."""
    here = served(state=False)
    paths = {name: here.folder / name for name in ("import", "sigmas", "exclude")}
    paths["import"].write_text('{"filename": "000000.png", "probabilities": [0.9, 0.6, 0.5]}\n')
    paths["sigmas"].write_text("0.1 1 10\n")
    paths["exclude"].write_text("main/000001\n")
    here.configure(annotations=[{"import": str(paths["import"]), "sigmas": str(paths["sigmas"])}], exclude=str(paths["exclude"]))
    assert here.reload()["datasets"]["main"]["samples"] == 59
    path = {**paths, "config": here.folder / "c.json"}[where]
    text = path.read_text()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(wire.Refused) as refused:
        here.reload()
    assert f"{path}: is a pipe, allowed: a regular file" in str(refused.value)
    path.unlink()
    path.write_text(text)
    assert not here.reload()["changed"]


def test_pipes_in_requests_are_not_waited_for(served):
    """Annotations to import, a store to merge: each is refused, and the clerk goes on."""
    here = served()
    other = here.folder / "other"
    other.mkdir()
    os.mkfifo(other / "MANIFEST")
    os.mkfifo(here.folder / "pipe")
    for type, path in ((wire.IMPORT, here.folder / "pipe"), (wire.MERGE, other)):
        with pytest.raises(wire.Refused):
            here.ask(type, {"path": str(path)})
    assert not here.reload()["changed"]


def test_check_says_what_would_be_and_changes_nothing(served):
    """Other pictures, another size, another number of workers: --check tells of a new subscription and of a restart."""
    here = served()
    before = here.generations()
    put(here.shard(5), range(500, 520))
    here.configure(image={"size": 8}, extra={"workers": 1})
    got = here.reload(check=True)
    row = got["datasets"]["main"]
    assert got["check"] and got["changed"] and row["new_subscription"] and row["samples"] == 80 and row["number"] is None
    assert any(text.startswith("workers") for text in got["needs_restart"])
    assert here.generations() == before and here.one.counter("reloads") == 0


def test_another_size_needs_a_new_subscription(served):
    """The slots of a stream are sealed: it stays where it is, STATUS says why, and a new one gets the new size."""
    here = served()
    with here.one.client() as client:
        stream = client.subscribe(**UNIFORM)
        stream.take(1)
        here.configure(image={"size": 8})
        assert here.reload()["datasets"]["main"]["new_subscription"]
        assert here.one.wait_for(lambda s: any(row["stays"] for row in s["sessions"]))
        assert "subscribe anew" in next(row["stays"] for row in here.one.status()["sessions"] if row["stays"])
        assert stream.take(5)[-1][1]["u8"].shape == (8, 3, 16, 16)
        with here.one.client() as other:
            assert other.subscribe(**UNIFORM).take(1)[0][1]["u8"].shape == (8, 3, 8, 8)
        state = stream.take(1)[-1][0].state
    with here.one.client() as client:  # the older generation is rebuilt with the size that it had
        assert client.subscribe(**UNIFORM, state=state, follow=False).take(1)[0][1]["u8"].shape == (8, 3, 16, 16)


def test_latents_without_their_deviation_are_no_latents_with_it(served):
    """Means and deviations of four planes each, replaced by four planes of means: of one shape, but not what the stream's
    rows are made for. It stays, and a new one gets the new."""
    here = served()
    path = here.folder / "latents.tar"

    def publish(planes):
        rows = [(f"{i:06d}", {"npy": datasets.npy(numpy.full((planes, 4, 4), i, "f4"))}) for i in range(20)]
        datasets.write_tar(here.folder / "tmp", rows)
        (here.folder / "tmp").rename(path)
        here.configure(sources={"main": {"shards": [str(path)]}}, latent={"std": planes == 8})
        return here.reload()["datasets"]["main"]

    publish(8)
    latents = {"batch_size": 8, "fields": ["x0", "index"], "slots": 2}
    with here.one.client() as client:
        stream = client.subscribe(**latents)
        stream.take(2)
        assert publish(4)["new_subscription"]
        assert stream.take(6)[-1][1]["x0"].shape == (8, 4, 4, 4)
        with here.one.client() as other:
            assert other.subscribe(**latents).take(1)[0][1]["x0"].shape == (8, 4, 4, 4)
        assert any(row["stays"] and "deviation" in row["stays"] for row in here.one.status()["sessions"])


def test_weights_and_sources_can_change(served):
    """A second source comes, and the first is weighted: the shares of both follow."""
    here = served()
    put(here.folder / "more.tar", range(900, 960))
    with here.one.client() as client:
        stream = client.subscribe(batch_size=40, fields=["key"], options={"policy": "uniform"})
        stream.take(1)
        here.configure(sources={"main": {"shards": [str(here.data / "*.tar")], "repeat": 3},
                                "more": {"shards": [str(here.folder / "more.tar")]}})
        here.reload()
        until_moved(stream)
        rows = stream.take(60)
    share = numpy.mean([int(key) >= 900 for _, batch in rows for key in batch["key"]])
    assert 0.2 < share < 0.3  # 60 of 60 * 3 + 60


def test_annotations_stay_with_their_samples(served):
    """Imported annotations go by key: after a reload that renumbers everything each sample has its own, without another
    import; new samples have the default; annotations of a later import need no reload."""
    here = served()
    lines = here.folder / "a.jsonl"
    lines.write_text("".join(json.dumps({"filename": f"{i:06d}", "sigma_min": 1 + i / 1000}) + "\n" for i in range(200, 220)))
    here.ask(wire.IMPORT, {"path": str(lines)})
    here.shard(0).unlink()
    put(here.shard(3), range(300, 320))
    here.reload()

    here.configure(annotations=[{"import": str(lines)}], sources={"main": {"shards": [str(here.data / "*.tar")],
                                                                           "default_annotation": "0.5,0"}})
    got = here.reload(check=True)["datasets"]["main"]
    assert not got["changed"] and got["annotations"]["changed"] and got["annotations"]["number"] is None
    here.configure()

    def value(i):
        return here.ask(wire.SAMPLE, {"key": f"{i:06d}"})["annotation"]["sigma_min"]

    assert numpy.allclose([value(i) for i in (200, 219)], [1.2, 1.219]) and value(300) == 0
    lines.write_text(json.dumps({"filename": "000300", "sigma_min": 2.5}) + "\n")
    here.ask(wire.IMPORT, {"path": str(lines)})
    assert value(300) == 2.5
    here.restart()
    assert numpy.allclose([value(i) for i in (200, 219, 300)], [1.2, 1.219, 2.5])


@pytest.mark.parametrize("state", [False, True])
def test_what_was_imported_outlives_its_file(served, state):
    """With and without a state directory: a file sets one side of a sample, the next file the other and is then written
    anew, and both are gone: reloads keep what they said, also for a shard that was away meanwhile."""
    here = served(state=state)

    def annotation(key):
        return here.ask(wire.SAMPLE, {"key": key})["annotation"]

    for name, sides in {"a": {"sigma_min": 0.5}, "b": {"sigma_max": 0.25}}.items():
        rows = [{"filename": f"{key:06d}.png", **sides} for key in (3, 103)]
        (here.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert here.ask(wire.IMPORT, {"path": str(here.folder / name)})["matched"] == 2
    before = annotation("000103")
    assert (before["sigma_min"], before["sigma_max"]) == (0.5, 0.25)
    (here.folder / "a").unlink()
    (here.folder / "b").write_text(json.dumps({"filename": "000103.png", "sigma_max": 7}) + "\n")
    here.shard(0).rename(here.folder / "away")
    put(here.shard(9), range(900, 920))
    assert here.reload()["changed"] and annotation("000103") == before
    (here.folder / "b").unlink()
    (here.folder / "away").rename(here.shard(0))
    assert here.reload()["changed"] and annotation("000103") == annotation("000003") == before


def test_hangups_and_requests_share_reloads(served):
    """Many who ask at once all get an answer of a reload that began after they asked; a storm of signals is few reloads."""
    here = served()
    clients = [here.one.client() for _ in range(8)]
    put(here.shard(6), range(600, 620))
    for client in clients:
        client.send(wire.frame(wire.RELOAD, b"{}", client.new_id()))
    for _ in range(50):
        here.one.process.send_signal(signal.SIGHUP)
    answers = [json.loads(client.answer(client.new_id() - 1).payload) for client in clients]
    assert {a["datasets"]["main"]["samples"] for a in answers} == {80}
    for client in clients:
        client.close()
    assert here.one.wait_for(lambda s: s["reload"] is None)
    assert 1 <= here.one.counter("reloads") <= 12


def test_others_may_not_reload(served, tmp_path):
    here = served()
    os.chmod(here.folder, 0o755)
    pid = os.fork()
    if pid == 0:  # another uid; the socket's folder is open for the test alone
        try:
            os.chmod(here.folder / "s", 0o666)
            for folder in [here.folder, *here.folder.parents][:-1]:
                os.chmod(folder, os.stat(folder).st_mode | 0o5)
            os.setgid(65534)
            os.setuid(65534)
            with here.one.client() as client:
                client.call(wire.RELOAD, {})
        except wire.Refused as error:
            os._exit(0 if error.code == "denied" else 3)
        except BaseException:
            os._exit(4)
        os._exit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_the_quarantine_goes_with_its_shard(served):
    """A bad sample of a shard that stays is known as bad in the next generation; one of a shard that was repaired is not."""
    here = served()
    for i in (0, 1):
        rows = [datasets.sample(100 * i + k) for k in range(20)]
        rows[3][1]["png"] = b"no picture"
        datasets.write_tar(here.data / "x.tmp", rows)
        os.utime(here.data / "x.tmp", (1_700_000_000, 1_700_000_500))
        (here.data / "x.tmp").rename(here.shard(i))
    here.reload()
    with here.one.client() as client:
        client.subscribe(batch_size=30, fields=["index"], options={"policy": "sequential"}).take()
    assert here.one.status()["datasets"]["main"]["quarantined"] == 2
    put(here.shard(0), range(0, 20))
    put(here.shard(4), range(400, 420))
    here.reload()
    rows = here.ask(wire.QUARANTINE)["rows"]
    assert [row["key"] for row in rows] == ["000103"]


def test_files_that_came_back_are_good_again(served):
    """A class of a folder is moved away while its pictures are read, and back: after a reload that finds nothing changed, and
    after one that finds another source, they are samples; away again, they are bad again."""
    here = served(cache_bytes=0)
    photos = here.folder / "photos"
    datasets.folder_set(photos, 40)
    for path in photos.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    sources = {"main": {"shards": [str(photos)]}}
    here.configure(sources=sources)
    here.reload()

    def replaced():
        with here.one.client() as client:
            stream = client.subscribe(batch_size=20, fields=["index"], options={"policy": "sequential"})
            return sum(lend.n_replaced for lend, _ in stream.take())

    def move_away_and_back():
        (photos / "class3").rename(here.folder / "away")
        n = replaced()
        (here.folder / "away").rename(photos / "class3")
        return n

    assert replaced() == 0
    n = move_away_and_back()
    assert n > 0 and here.one.status()["datasets"]["main"]["quarantined"] == n
    row = here.reload()["datasets"]["main"]
    assert not row["changed"] and row["kept"] == 1
    assert here.one.status()["datasets"]["main"]["quarantined"] == replaced() == 0
    assert move_away_and_back() == n
    assert here.one.status()["datasets"]["main"]["quarantined"] == n
    here.configure(sources={**sources, "other": {"shards": [str(here.data / "*.tar")]}})
    assert here.reload()["datasets"]["main"]["kept"] == 1
    assert here.one.status()["datasets"]["main"]["quarantined"] == replaced() == 0


def test_another_transform_takes_what_was_bad_for_the_first(served):
    """Pictures of another size where nothing resizes them are quarantined; with a crop they are samples like others."""
    here = served()
    put(here.shard(1), range(100, 120), size=24)
    here.configure(image={"size": 16, "transform": "none"})
    here.reload()
    everything = {"batch_size": 20, "fields": ["index"], "options": {"policy": "sequential"}}
    with here.one.client() as client:
        client.subscribe(**everything).take()
    assert here.one.status()["datasets"]["main"]["quarantined"] == 20
    here.configure(image={"size": 16, "transform": "center-crop"})
    here.reload()
    assert here.one.status()["datasets"]["main"]["quarantined"] == 0
    with here.one.client() as client:
        assert sum(lend.n_replaced for lend, _ in client.subscribe(**everything).take()) == 0


def test_who_comes_first_of_a_key_can_change(served):
    """key_scope shard: of two shards of one name the first counts. The second's samples are good once the first is gone, and
    not once it is there again, though the cache has them."""
    here = served()
    for name, ids in (("a", range(0, 20)), ("b", range(500, 520))):
        (here.folder / name).mkdir()
        rows = [(f"{k:06d}", datasets.sample(i)[1]) for k, i in enumerate(ids)]
        datasets.write_tar(here.folder / name / "x.tar", rows)
        os.utime(here.folder / name / "x.tar", (1_700_000_000, 1_700_000_000))
    first, second = (str(here.folder / name / "x.tar") for name in "ab")

    def replaced(*shards):
        here.configure(sources={"main": {"shards": list(shards), "key_scope": "shard"}})
        here.reload()
        with here.one.client() as client:
            return sum(lend.n_replaced for lend, _ in client.subscribe(batch_size=20, fields=["u8"], options={"policy": "sequential"}).take())

    assert replaced(second) == 0
    assert replaced(first, second) == 20
    assert replaced(second) == 0


def test_a_zip_overwritten_under_its_old_times_is_noticed(served, tmp_path):
    """In place, other pictures of the same names and lengths in its second half, the times put back: the directory's checksums
    are not those that were indexed."""
    here, path = served(cache_bytes=0), tmp_path / "x.zip"

    def archive(ids):
        with zipfile.ZipFile(tmp_path / "new.zip", "w", zipfile.ZIP_STORED) as out:
            for k, i in enumerate(ids):
                out.writestr(zipfile.ZipInfo(f"{k:06d}.png"), datasets.encode(datasets.picture(i)).ljust(2000, b"\0"))
        return (tmp_path / "new.zip").read_bytes()

    path.write_bytes(archive(range(20)))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    here.configure(sources={"main": {"shards": [str(path)]}})
    here.reload()
    other = archive([*range(10), *range(40, 50)])
    assert len(other) == path.stat().st_size
    with open(path, "r+b") as file:
        file.write(other)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    with here.one.client() as client:
        [(lend, batch)] = client.subscribe(batch_size=20, fields=["u8"], slots=1, options={"policy": "sequential"}).take()
    assert lend.n_replaced == 10
    assert all((batch["u8"][i].transpose(1, 2, 0) == datasets.picture(i)).all() for i in range(10))
    assert not batch["u8"][10:].any()  # this policy puts nothing in their place


def test_a_watch_reloads_by_itself(served):
    """With `watch` a shard that comes by rename, a folder's new picture, an annotation file and the configuration each bring a
    reload without a word; what changes nothing that is served brings no generation, and a file beside the shards, which the
    daemon's own log may be, no reload."""
    here = served(watch=True)
    pictures = here.folder / "pictures" / "deep"
    pictures.mkdir(parents=True)
    (pictures / "p900.png").write_bytes(datasets.encode(datasets.picture(900)))
    lines = here.folder / "a.jsonl"
    lines.write_text("")
    sources = {"main": {"shards": [str(here.data / "*.tar")]}, "folder": {"shards": [str(here.folder / "pictures")]}}
    here.configure(sources=sources, annotations=[{"import": str(lines)}])

    def samples(n):
        return here.one.wait_for(lambda s: s["datasets"]["main"]["samples"] == n and s["reload"] is None, 20)

    assert samples(61)
    put(here.shard(3), range(300, 320))
    assert samples(81)
    (pictures / "tmp").write_bytes(datasets.encode(datasets.picture(901)))
    (pictures / "tmp").rename(pictures / "p901.png")
    assert samples(82)
    lines.write_text(json.dumps({"filename": "000300", "sigma_min": 1.5}) + "\n")
    assert here.one.wait_for(lambda s: s["datasets"]["main"]["annotations"]["set"] == 1, 20)
    before = here.generations()
    reloads = here.one.counter("reloads")
    os.utime(lines)
    assert here.one.wait_for(lambda s: s["counters"]["reloads"] > reloads, 20) and here.generations() == before
    assert here.one.wait_for(lambda s: s["reload"] is None)
    time.sleep(1)
    reloads = here.one.counter("reloads")
    for _ in range(20):
        with open(here.data / "note.txt", "a") as note:
            note.write("not a shard\n")
        time.sleep(0.1)
    assert here.one.counter("reloads") == reloads
    here.shard(0).unlink()
    assert samples(62)


def linked(here, folder, i, ids):
    """A shard by a link, where nobody tells of a change of what it leads to; write it, or what takes its place."""
    folder.mkdir(exist_ok=True)
    put(folder / f"{i}.tar", ids)
    if not here.shard(i).is_symlink():
        here.shard(i).symlink_to(folder / f"{i}.tar")


def samples(here, n, timeout=60):
    return here.one.wait_for(lambda s: s["datasets"]["main"]["samples"] == n and s["reload"] is None, timeout)


def quiet(here, seconds=2.5):
    """Until the watch has done what it had to; the reloads up to there, also those that were refused. Two polls of a second by
    default."""
    count, since = None, time.monotonic()
    end = since + 60
    while time.monotonic() - since < seconds:
        status = here.one.status()
        now = [status["counters"][name] for name in ("reloads", "reloads_refused")]
        count, since = (count, since) if now == count and status["reload"] is None else (now, time.monotonic())
        assert time.monotonic() < end, f"{now} reloads, and no end"
        time.sleep(0.1)
    return count


def test_a_watch_does_not_forget_what_a_check_saw(served, tmp_path):
    """A change that only the poll sees is reloaded, whoever asked before what would come of it."""
    here = served(watch=True, watch_poll_s=1)
    linked(here, tmp_path / "elsewhere", 5, range(500, 520))
    assert samples(here, 80)
    quiet(here)
    linked(here, tmp_path / "elsewhere", 5, range(600, 630))
    assert here.reload(check=True)["changed"]
    assert samples(here, 90)


def test_a_watch_tries_a_refused_state_once(served, tmp_path):
    """And again when it is another one."""
    here = served(watch=True, watch_poll_s=1)
    linked(here, tmp_path / "elsewhere", 5, range(500, 520))
    assert samples(here, 80)
    done, refused = quiet(here)
    (tmp_path / "elsewhere" / "5.tar").write_bytes(b"no tar")
    assert here.one.wait_for(lambda s: s["counters"]["reloads_refused"] > refused, 20)
    assert quiet(here) == [done, refused + 1]
    linked(here, tmp_path / "elsewhere", 5, range(600, 630))
    assert samples(here, 90)


@pytest.mark.parametrize("pattern", ["*.tar", "{0,1,2,5}.tar"])
def test_a_watch_tries_again_what_may_pass(served, tmp_path, pattern):
    """A reload that found no free descriptor is no word about the files: they are read when there are some again; also where
    the watch, which has none either, sees them all the same, as no folder is listed."""
    here = served(watch=True, watch_poll_s=1)
    linked(here, tmp_path / "elsewhere", 5, range(500, 520))
    here.configure(sources={"main": {"shards": [str(here.data / pattern)]}})
    assert samples(here, 80)
    _, refused = quiet(here)
    soft, hard = resource.prlimit(here.one.process.pid, resource.RLIMIT_NOFILE)
    with here.one.client() as client:
        def counter(name):
            return client.call(wire.STATUS, {})["counters"][name]

        resource.prlimit(here.one.process.pid, resource.RLIMIT_NOFILE, (3, hard))
        linked(here, tmp_path / "elsewhere", 5, range(600, 630))
        with pytest.raises(wire.Refused):
            client.call(wire.RELOAD, {})
        assert counter("reloads_refused") > refused
        time.sleep(1.5)  # a poll
        resource.prlimit(here.one.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert samples(here, 90)


def test_a_watch_sees_what_changes_under_a_reload(served, tmp_path):
    """A shard is replaced when a reload has read it and is at the annotations: the next one brings it, at once."""
    here = served(watch=True, n_shards=1)
    linked(here, tmp_path / "elsewhere", 5, range(500, 520))
    lines = here.folder / "a.jsonl"
    lines.write_text('{"filename":"000500","sigma_min":0.5}\n' * 1_500_000)
    here.configure(annotations=[{"import": str(lines)}])
    put(tmp_path / "next.tar", range(600, 630))
    assert samples(here, 40)
    quiet(here, 1.2)
    with here.one.client() as owner:
        owner.send(wire.frame(wire.RELOAD, b"{}", id := owner.new_id()))
        assert here.one.wait_for(lambda s: s["reload"] and 0 < s["reload"]["shards"] == s["reload"]["shards_done"])
        (tmp_path / "next.tar").rename(tmp_path / "elsewhere" / "5.tar")
        assert here.one.status()["reload"], "the reload was over too soon to say anything"
        assert json.loads(owner.answer(id).payload)["datasets"]["main"]["samples"] == 40
    assert samples(here, 50)


def test_a_watch_sees_all_that_a_reload_reads(served):
    """Shards and folders that come where a wildcard stands for folders, and the files beside the shards, each by inotify;
    a log that grows where only folders count is nobody's business."""
    here = served(watch=True, n_shards=1)
    excludes, lines, grid = here.folder / "exclude.txt", here.folder / "lists" / "a.jsonl", here.folder / "grids" / "g.txt"
    for path, text in ((excludes, ""), (lines, ""), (grid, "0.5\n1.5\n")):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (here.data / "x").mkdir()
    put(here.data / "x" / "a.tar", range(20))
    here.configure(sources={"main": {"shards": [str(here.data / "*" / "*.tar")]}}, exclude=str(excludes),
                   annotations=[{"import": str(lines), "sigmas": str(grid)}])
    assert samples(here, 20)
    quiet(here, 1.2)
    put(here.data / "x" / "b.tar", range(100, 120))
    assert samples(here, 40)
    (here.folder / "y").mkdir()
    put(here.folder / "y" / "c.tar", range(200, 220))
    (here.folder / "y").rename(here.data / "y")
    assert samples(here, 60)
    put(here.data / "y" / "d.tar", range(300, 320))
    assert samples(here, 80)
    excludes.write_text("main/000300\n")
    assert samples(here, 79)
    for path in (grid, lines):
        reloads, _ = quiet(here, 1.2)
        os.utime(path)
        assert here.one.wait_for(lambda s: s["counters"]["reloads"] > reloads, 20)
    (here.data / "log").write_text("")
    before = quiet(here, 1.2)
    for _ in range(10):
        with open(here.data / "log", "a") as log:
            log.write("something happened\n")
        time.sleep(0.1)
    assert quiet(here, 1.2) == before


def test_a_watch_lets_the_log_grow(served, tmp_path):
    """The daemon's log in a folder that is a shard: a reload writes into it, and is none of its reasons."""
    here = served(watch=True, watch_poll_s=1, n_shards=1)
    pictures = here.one.log_path.parent
    (pictures / "p900.png").write_bytes(datasets.encode(datasets.picture(900)))
    here.configure(sources={"main": {"shards": [str(pictures)]}})
    assert samples(here, 1)
    quiet(here)
    (pictures / "p901.png").write_bytes(datasets.encode(datasets.picture(901)))
    assert samples(here, 2)
    quiet(here)


def test_a_folder_of_pictures_is_no_place_for_what_the_daemon_writes(served, tmp_path):
    """The state directory or the index cache in a folder that is a shard is refused, at the start and by a reload, unless it is
    in a hidden folder there."""
    here = served(n_shards=1)
    pictures = here.folder / "pictures"
    (pictures / "deep").mkdir(parents=True)
    (pictures / "p900.png").write_bytes(datasets.encode(datasets.picture(900)))
    sources = {"main": {"shards": [str(pictures)]}}
    allowed = "outside of it, or in a folder in it whose name begins with a dot"

    here.configure(sources={"main": {"shards": [str(here.folder)]}})
    with pytest.raises(wire.Refused, match=allowed):
        here.reload()
    assert here.one.stop() == 0
    here.state = False  # of which the last generation would be served
    for key in ("state_dir", "cache_dir"):
        here.configure(sources=sources, extra={key: str(pictures / "deep" / "own")})
        with pytest.raises(Died) as died:
            here.run()
        assert died.value.daemon.process.returncode == 2
        assert f"{key}: {pictures}/deep/own lies in" in str(died.value) and allowed in str(died.value)
    here.configure(sources=sources, extra={"state_dir": str(pictures / ".own"), "cache_dir": str(pictures / ".own" / "index")})
    here.one = here.run()
    assert samples(here, 1)


def test_a_watch_leaves_out_what_the_daemon_writes(served):
    """State and indexes in a hidden folder of a shard, and in one that a wildcard passes: nothing is reloaded for them."""
    here = served(watch=True, watch_poll_s=1, n_shards=1, state=False)
    pictures = here.folder / "pictures"
    (pictures / "deep").mkdir(parents=True)
    (pictures / "p900.png").write_bytes(datasets.encode(datasets.picture(900)))
    put(pictures / "deep" / "a.tar", range(20))
    for own, pattern, n in ((".own", pictures, 1), ("state", pictures / "*" / "*.tar", 20)):
        assert here.one.stop() == 0
        here.configure(sources={"main": {"shards": [str(pattern)]}},
                       extra={"state_dir": str(pictures / own), "cache_dir": str(pictures / own / "index")})
        here.one = here.run()
        assert samples(here, n)
        quiet(here)


def test_a_job_goes_on_with_the_new_samples(served):
    """Shards change under a running annotation job: it selects anew, does not do again what is recorded, and every sample
    of the newest generation ends up with a record of its own; of a shard that went, the records stay in the store."""
    here = served(annotate={"gives_way": False})
    with here.one.client() as client:
        id = client.call(wire.ANNOTATE, {"model": "fake:slow=60"})["job"]["id"]

    def job():
        return next(row for row in here.ask(wire.JOBS)["jobs"] if row["id"] == id)

    end = time.monotonic() + 100
    for change in (lambda: put(here.shard(5), range(500, 530)), here.shard(1).unlink, lambda: put(here.shard(0), range(0, 25))):
        time.sleep(0.4)
        assert job()["state"] in ("running", "queued")
        change()
        here.reload()
    while job()["state"] not in ("done", "failed"):
        assert time.monotonic() < end, job()
        time.sleep(0.05)
    assert (job()["state"], job()["total"]) == ("done", 75)
    stats = here.ask(wire.STATS)["groups"][0]
    assert (stats["samples"], stats["annotated"]) == (75, 75)
    here.restart()
    stats = here.ask(wire.STATS)["groups"][0]
    assert (stats["samples"], stats["annotated"]) == (75, 75)


def test_what_continues_is_laid_out_for_the_samples_that_there_are(served):
    """The samples of the state are in memory, since somebody else stands on them, but its annotations are gone."""
    here = served(state=False)
    with here.one.client() as other, here.one.client() as client:
        state = {**other.subscribe(**UNIFORM, follow=False).take(2)[-1][0].state, "annotations": "00" * 16}
        here.configure(image={"size": 8, "transform": "center-crop"})
        assert here.reload()["datasets"]["main"]["new_subscription"]
        stream = client.subscribe(**UNIFORM, state=state, on_generation_change="continue")
        (lend, batch), = stream.take(1)
        assert batch["u8"].shape == (8, 3, 8, 8) and lend.step == 2 and len(stream.reply["warnings"]) == 1


def test_an_advance_among_moves_that_leave_something_open(served):
    """What a move leaves open is what the moves before it say, also one that is set or taken back when it was prepared already;
    and of moves that lie far ahead only what they ask for counts, be it in memory or not."""
    here = served()
    with here.one.client() as client:
        old = client.subscribe(**UNIFORM).reply["state"]
    put(here.shard(5), range(500, 520))
    here.reload()
    prints = []
    for value in (0.25, 0.5):
        (here.folder / "a.jsonl").write_text(json.dumps({"filename": "000500.png", "sigma_min": value}) + "\n")
        prints.append(here.ask(wire.IMPORT, {"path": str(here.folder / "a.jsonl")})["generation"]["fingerprint"])
    new = here.generations()[-1]["fingerprint"]
    here.one.wait_for(lambda s: s["reload"] is None)
    far = [{"step": 1000, "annotations": "ab" * 16}, {"step": 2000, "dataset": "cd" * 16}]
    with here.one.client() as client:
        stream = client.subscribe(batch_size=4, fields=["index"], slots=4, follow=False, state=old,
                                  moves=[{"step": 20, "annotations": prints[0]}, *far])
        rows = stream.take(12)
        assert client.call(wire.ADVANCE, {"step": 3000, "dataset": old["dataset"], "annotations": old["annotations"]})["step"] == 3000
        time.sleep(0.2)  # 20 is looked for among the annotations of the old samples, where it is not
        assert client.call(wire.ADVANCE, {"step": 18, "dataset": new})["annotations"] == prints[1]
        rows += stream.take(14)
    assert [(lend.step, lend.state["dataset"], lend.state["annotations"]) for lend, _ in rows if lend.step in (16, 17, 19, 25)] == [
        (16, old["dataset"], old["annotations"]), (17, new, prints[1]), (19, new, prints[0]), (25, new, prints[0])]


def test_a_sequential_stream_ends_on_its_own_samples(served):
    """Each sample once is a promise about the samples that it began with: it does not follow to others."""
    here = served()
    with here.one.client() as client:
        stream = client.subscribe(batch_size=7, fields=["key"], options={"policy": "sequential"}, slots=2)
        rows = stream.take(2)
        put(here.shard(6), range(600, 620))
        here.shard(2).unlink()
        here.reload()
        rows += stream.take()
    assert [key.decode() for _, batch in rows for key in batch["key"]] == [f"{100 * i + k:06d}" for i in range(3) for k in range(20)]
    assert stream.end["reason"] == "sequential"


def test_a_stop_does_not_wait_for_those_who_asked(served):
    """SIGTERM while a reload runs and others wait for the next: all are answered or cut, and the daemon stops in time."""
    here = served()
    for i in range(10, 60):
        put(here.data / f"many-{i}.tar", range(1000 * i, 1000 * i + 5))
    clients = [here.one.client() for _ in range(4)]
    for k, client in enumerate(clients):
        client.send(wire.frame(wire.RELOAD, json.dumps({"check": k % 2 == 1}).encode(), client.new_id()))
    began = time.monotonic()
    assert here.one.stop() == 0 and time.monotonic() - began < 4
    assert "stop.forced" not in here.one.log()


def test_a_stop_ends_an_index_that_gives_way_to_a_stream(served):
    """Beside a stream that is always wanting, shards are indexed a few at a time: who stops waits for none of the others."""
    here = served(cache_bytes=0)
    for i in range(10, 1010):
        put(here.data / f"many-{i}.tar", range(1000 * i, 1000 * i + 1))
    with here.one.client() as client, here.one.client() as owner:
        def train():
            with contextlib.suppress(wire.Closed, OSError):
                client.subscribe(**{**UNIFORM, "batch_size": 4096}).take()  # so that workers are at work whenever one looks

        trainer = threading.Thread(target=train)
        trainer.start()
        assert here.one.wait_for(lambda status: status["counters"]["batches"] > 1)
        owner.send(wire.frame(wire.RELOAD, b"{}", id := owner.new_id()))
        assert here.one.wait_for(lambda status: status["reload"] and status["reload"]["shards_done"] > 5)
        assert here.one.stop() == 0
        with pytest.raises((wire.Refused, wire.Closed)):
            owner.answer(id)
        trainer.join(10)
    log = here.one.log()
    assert 'reason="the daemon is stopping"' in log and "stop.forced" not in log and "reload.done" not in log, log


def test_the_command_says_what_came_of_it(served):
    here = served()
    put(here.shard(8), range(800, 820))
    done = ctl(here.one, "reload", "--check")
    assert done.returncode == 0 and "1 opened" in done.stdout and "nothing was touched" in done.stdout
    done = ctl(here.one, "reload")
    assert done.returncode == 0 and "generation 2" in done.stdout and "reloaded" in done.stdout
    with here.one.client() as client:
        client.subscribe(**UNIFORM).take(1)
        done = ctl(here.one, "generations")
        assert "generation 2" in done.stdout and "held by session" in done.stdout
    assert "nothing to reload" in ctl(here.one, "reload").stdout
    (here.data / "bad1.tar").write_bytes(b"x")
    (here.data / "bad2.tar").write_bytes(b"")
    done = ctl(here.one, "reload")
    assert done.returncode == 1 and "bad1.tar" in done.stderr and "bad2.tar" in done.stderr and done.stdout == ""
    assert ctl(here.one, "reload", "--dataset", "main").returncode == 2
    assert json.loads(ctl(here.one, "generations", "--json").stdout)["dataset"][0]["number"] == 2


def test_from_python(served):
    """Client.reload and its errors, Loader across a reload and a restart, and on_generation_change."""
    here = served()
    with ambientd.Client(here.folder / "s") as client:
        loader = ambientd.Loader(here.folder / "s", batch_size=8, fields=["u8", "key"], seed=4, slots=2)
        batches = iter(loader)
        seen = [key for _ in range(3) for key in next(batches).key]
        state = loader.state_dict()
        here.shard(0).unlink()
        put(here.shard(9), range(900, 920))
        assert client.reload(check=True)["changed"] and client.reload()["datasets"]["main"]["number"] == 2
        while not loader.moves:
            next(batches)
        here.restart()
        seen = [key for _ in range(30) for key in next(batches).key]
        assert {key for key in seen[-100:] if key >= "000900"} and not {key for key in seen[-100:] if key < "000020"}
        assert loader.moves and loader.moves[-1]["dataset"] == client.generations()["dataset"][-1]["fingerprint"]
        (here.data / "bad.tar").write_bytes(b"")
        with pytest.raises(ambientd.AmbientError) as refused:
            client.reload()
        assert "bad.tar" in refused.value.detail["problems"][0]
        old = ambientd.Loader(here.folder / "s", batch_size=8, fields=["u8"], seed=4)
        old.load_state_dict(state)
        with pytest.raises(ambientd.StateError, match="0.tar"):
            next(iter(old))
        on = ambientd.Loader(here.folder / "s", batch_size=8, fields=["u8"], seed=4, on_generation_change="continue")
        on.load_state_dict(state)
        with pytest.warns(ambientd.AmbientWarning, match="0.tar"):
            assert next(iter(on)).step == 3
        with pytest.raises(ambientd.ConfigError):
            ambientd.Loader(here.folder / "s", batch_size=8, on_generation_change="maybe")


def test_who_holds_an_old_generation_is_told(served):
    """A stream that does not follow keeps the old generation beyond limits.reload_drain_s: the log says so once, and
    GENERATIONS who it is; one that is let go in time is not told of."""
    here = served(limits={"reload_drain_s": 1})
    with here.one.client() as client:
        stream = client.subscribe(**UNIFORM, follow=False)
        stream.take(1)
        put(here.shard(5), range(500, 520))
        here.reload()
        assert here.one.wait_for(lambda s: s["counters"]["reload_drain_limit"] == 1)
        time.sleep(1.2)
        assert here.one.log().count("generation.held") == 1 and here.generations()[0]["holders"]
    put(here.shard(6), range(600, 620))
    here.reload()
    time.sleep(2.2)
    assert here.one.log().count("generation.held") == 1

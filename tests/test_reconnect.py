"""A restart of the daemon under a training loop costs seconds and not one changed byte: Python and C clients."""

import gc
import hashlib
import itertools
import json
import logging
import os
import pathlib
import signal
import subprocess
import threading
import time
import zlib

import numpy
import pytest

import ambientd
import datasets
from conftest import Daemon

pytestmark = pytest.mark.slow  # many starts and waits; what the daemon does in them is covered elsewhere under sanitizers

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = pathlib.Path(os.environ.get("AMBIENTD_BUILD", ROOT / "build"))
FIELDS = ["x_t", "x_tn", "sigma_t", "index"]


class Service:
    """What the service manager does for a daemon at one socket."""

    def __init__(self, folder, *arguments):
        self.folder, self.arguments, self.starts = folder, arguments, []
        self.daemon = Daemon(folder, *arguments)
        self.thread = None

    @property
    def address(self):
        return str(self.folder / "s")

    def start(self, *arguments):
        self.arguments = arguments or self.arguments
        began = time.monotonic()
        self.daemon = Daemon(self.folder, *self.arguments)
        self.starts.append(time.monotonic() - began)

    def end(self, signum=signal.SIGKILL):
        """End the daemon; SIGTERM must end it cleanly."""
        status = self.daemon.stop(signum)
        assert status == (0 if signum == signal.SIGTERM else -signum), self.daemon.log()

    def restart(self, signum=signal.SIGKILL, delay=0.0):
        """End it now; the next one starts behind our back."""
        self.end(signum)
        self.thread = threading.Thread(target=lambda: (time.sleep(delay), self.start()))
        self.thread.start()

    def settle(self):
        if self.thread is not None:
            self.thread.join()
            self.thread = None

    def close(self):
        self.settle()
        if self.daemon.process.poll() is None:
            assert self.daemon.stop() == 0, self.daemon.log()
        assert "Sanitizer" not in self.daemon.log()


@pytest.fixture
def service(tmp_path, shards, annotations):
    one = Service(tmp_path / "service", shards, "--annotations", annotations, "--size", "16")
    yield one
    one.close()


def slabs_of(pid):
    """Sessions whose memory a process has mapped."""
    return pathlib.Path(f"/proc/{pid}/maps").read_text().count("memfd:ambientd-slab")


def digest(batch):
    return batch.step, hashlib.sha256(b"".join(batch[name].tobytes() for name in FIELDS)).hexdigest()


def reference(address, n, **options):
    with ambientd.Loader(address, 32, FIELDS, **options) as loader:
        return [digest(batch) for batch in itertools.islice(loader, n)]


def kill_loop(service, loader, n, kills, signum):
    """n batches; the daemon is ended behind the steps in `kills`, each time after a last batch has been taken."""
    rows = []
    for batch in itertools.islice(loader, n):
        rows.append(digest(batch))
        if batch.step in kills:
            service.settle()
            service.restart(signum, delay=0.1 * (batch.step % 3))
    service.settle()
    return rows


@pytest.mark.threads
@pytest.mark.parametrize("options", [
    {}, {"policy": "uniform", "seed": 3, "process": "flow"}, {"rank": 1, "world_size": 2}, {"xflip": True, "slots": 2}],
    ids=["pass", "uniform", "rank", "two-slots"])
def test_ten_kills_change_no_byte(service, options, caplog):
    whole = reference(service.address, 120, **options)
    kills = set(range(4, 104, 10))
    loader = ambientd.Loader(service.address, 32, FIELDS, **options)
    with caplog.at_level(logging.INFO, "ambientd"):
        assert kill_loop(service, loader, 120, kills, signal.SIGKILL) == whole
    loader.close()
    went = [record.message for record in caplog.records if "went away" in record.message]
    back = [record.message for record in caplog.records if "serves again" in record.message]
    assert len(went) == len(back) == len(kills)  # one line an outage
    assert len(service.starts) == 10
    print(f"\n10 kill -9: start of the daemon {1000 * numpy.median(service.starts):.0f} ms; {back[-1]}")


@pytest.mark.threads
def test_restarts_as_systemctl_does_them_change_no_byte(service):
    """SIGTERM under load: the daemon says ESHUTDOWN and stops cleanly each time."""
    whole = reference(service.address, 60)
    with ambientd.Loader(service.address, 32, FIELDS) as loader:
        assert kill_loop(service, loader, 60, {5, 17, 29, 41}, signal.SIGTERM) == whole


def test_what_is_held_stays_valid_through_restarts(service, request):
    """Arrays of three daemons are alive at once, and none of them changes; their memory goes with them, without the collector."""
    gc.collect()
    gc.disable()
    request.addfinalizer(gc.enable)
    others, held = slabs_of("self"), []  # those of loaders that other tests left open
    with ambientd.Loader(service.address, 32, FIELDS, slots=4) as loader:
        for batch in itertools.islice(loader, 60):
            if batch.step in (3, 4, 23, 24, 43, 44):
                held.append((batch, batch.x_t, batch.x_t.tobytes()))
            if batch.step in (10, 30, 50):
                service.settle()
                service.restart()
        service.settle()
        assert [batch.step for batch, _, _ in held] == [3, 4, 23, 24, 43, 44]
        for batch, array, then in held:
            assert array.tobytes() == then and not array.flags.owndata
            array += 1  # still ours to write to
        assert slabs_of("self") >= others + 3
        del batch, array, held
        assert slabs_of("self") <= others + 1, "a dead daemon's memory stays mapped"


@pytest.mark.threads
def test_requests_go_on_at_their_number(service):
    sigmas = numpy.geomspace(0.05, 40, 16)

    def ask(loader, disturb):
        rows = []
        for q in range(12):
            batch = loader.request(sigmas)
            assert batch.step == q
            rows.append(digest(batch)[1])
            if disturb and q in (2, 5, 9):
                service.settle()
                service.restart(signal.SIGTERM if q == 5 else signal.SIGKILL)
        assert loader.state_dict()["q"] == 12
        service.settle()
        return rows

    with ambientd.Loader(service.address, 32, FIELDS) as calm, ambientd.Loader(service.address, 32, FIELDS) as shaken:
        assert ask(shaken, True) == ask(calm, False)


def test_finite_iterations_keep_their_length(service):
    for options, n in (({"steps": 25}, 25), ({"policy": "sequential"}, 10), ({"passes": 1.5}, None)):
        whole = reference(service.address, 1000, **options)
        assert n is None or len(whole) == n
        with ambientd.Loader(service.address, 32, FIELDS, **options) as loader:
            assert kill_loop(service, loader, 1000, {2, 6}, signal.SIGKILL) == whole


def test_ranks_that_advance_agree_through_a_restart(service, tmp_path, shards, annotations):
    """Two ranks agree on a move; the daemon dies before it is made; both make it at that step under the next daemon."""
    other = datasets.annotate(tmp_path / "other.jsonl", 300, seed=9)
    service.end(signal.SIGTERM)
    service.start(shards, "--annotations", annotations, "--size", "16")

    def generations():
        with ambientd.Client(service.address) as client:
            client.import_annotations(other)
            return [row["fingerprint"] for row in client.generations()["annotations"]]

    fingerprints = generations()
    loaders = [ambientd.Loader(service.address, 16, FIELDS, rank=rank, world_size=2) for rank in range(2)]
    for loader in loaders:
        loader.load_state_dict({**reference_state(service.address), "annotations": fingerprints[0]})
    rows = [[digest(batch) for batch in itertools.islice(loader, 3)] for loader in loaders]
    for loader in loaders:
        loader.advance(14, annotations=fingerprints[1])
    service.end()
    service.start()
    assert generations() == fingerprints
    for loader, row in zip(loaders, rows):
        row += [digest(batch) for batch in itertools.islice(loader, 17)]
        assert [move["step"] for move in loader.moves] == [14]
        loader.close()
    moves = [{"step": 14, "annotations": fingerprints[1]}]
    for rank, row in enumerate(rows):
        with ambientd.Loader(service.address, 16, FIELDS, rank=rank, world_size=2, moves=moves) as loader:
            loader.load_state_dict({**reference_state(service.address), "annotations": fingerprints[0]})
            assert [digest(batch) for batch in itertools.islice(loader, 20)] == row


def reference_state(address):
    with ambientd.Loader(address, 16, FIELDS, follow=False, rank=0, world_size=2) as loader:
        return loader.state_dict()


def test_other_annotations_are_refused_at_once(service, tmp_path, shards):
    """The next daemon knows nothing of the generation that the stream stands on."""
    iterator = iter(ambientd.Loader(service.address, 32, FIELDS))
    next(iterator)
    service.end()
    service.start(shards, "--size", "16")
    with pytest.raises((ambientd.StateError, ambientd.NotFoundError), match="annotations"):
        for _ in range(10):
            next(iterator)


def test_annotations_edited_between_two_daemons_take_no_stream_away(service, tmp_path, shards):
    """The file says something else when the next daemon reads it: the generation before is had from the state folder."""
    edited = pathlib.Path(datasets.annotate(tmp_path / "edited.jsonl", 300))
    service.end(signal.SIGTERM)
    service.start(shards, "--annotations", edited, "--size", "16", "--state-dir", tmp_path / "state")
    whole = reference(service.address, 40, follow=False)
    with ambientd.Loader(service.address, 32, FIELDS, follow=False) as loader:
        rows = [digest(batch) for batch in itertools.islice(loader, 10)]
        for seed in (9, 10, 11):
            service.end()
            datasets.annotate(edited, 300, seed=seed)
            service.start()
            rows += [digest(batch) for batch in itertools.islice(loader, 10)]
        assert rows == whole


def test_other_shards_are_refused_at_once(service, tmp_path, annotations):
    iterator = iter(ambientd.Loader(service.address, 32, FIELDS))
    next(iterator)
    service.end()
    service.start(datasets.tar_set(tmp_path / "others", 299), "--annotations", annotations, "--size", "16")
    with pytest.raises(ambientd.StateError, match="dataset"):
        for _ in range(10):
            next(iterator)


def test_a_daemon_that_never_returns(service):
    loader = ambientd.Loader(service.address, 32, FIELDS, reconnect_timeout=1)
    iterator = iter(loader)
    next(iterator)
    service.end(signal.SIGTERM)
    with pytest.raises(ambientd.DisconnectedError, match=r"waited \d+\.\d s for the daemon at .*reconnect_timeout=1 allows"):
        for _ in range(10):
            next(iterator)
    step = loader.state_dict()["step"]
    service.start()
    assert next(iterator).step == step


def test_a_private_daemon_that_died_is_not_waited_for(shards):
    """Nobody would start it again."""
    with ambientd.start(shards, size=16) as server:
        iterator = iter(ambientd.Loader(server.address, 32, FIELDS))
        next(iterator)
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ambientd.DisconnectedError, match="state is kept"):
            for _ in range(10):
                next(iterator)


def test_ctrl_c_ends_the_waiting(service):
    import _thread
    loader = ambientd.Loader(service.address, 32, FIELDS)
    iterator = iter(loader)
    next(iterator)
    service.end()
    threading.Timer(0.6, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        for _ in range(10):
            next(iterator)
    step = loader.state_dict()["step"]
    service.start()
    assert next(iterator).step == step


# -- the C client ------------------------------------------------------------------------------------------------


class Trainer:
    """restart-trainer at work; commands are sent one by one."""

    def __init__(self, address, options=None, steps=0, passes=0, rank=0, world_size=1, timeout=60):
        self.process = subprocess.Popen(
            [BUILD / "tests/restart-trainer", address, json.dumps(options or {}), str(steps), str(passes), str(rank), str(world_size),
             str(timeout)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def end(self):
        """(outages, what it said about them); it must leave nothing behind."""
        out, err = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, err
        return int(out.split()[-1]), err


@pytest.fixture
def trainer(service):
    if not (BUILD / "tests/restart-trainer").exists():
        pytest.skip("restart-trainer is not built: cmocka is missing")
    many = []

    def start(**options):
        many.append(Trainer(service.address, **options))
        return many[-1]

    yield start
    for one in many:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


def crc_lines(address, n, **options):
    """What the Python client gets, in the words of restart-trainer."""
    lines = []
    with ambientd.Loader(address, 32, FIELDS, **options) as loader:
        for batch in itertools.islice(loader, n):
            crc = 0
            for name in FIELDS:
                crc = zlib.crc32(batch[name].tobytes(), crc)
            lines.append(f"{batch.step} {crc:08x}")
    return lines


def test_c_ten_kills_change_no_byte(service, trainer):
    """And the bytes are those that the Python client gets."""
    whole = crc_lines(service.address, 120)
    one = trainer()
    lines = []
    for step in range(120):
        lines.append(one.tell("h" if step in (3, 24, 55) else "n"))
        if step % 10 == 5 and step < 100:
            service.settle()
            service.restart(signal.SIGTERM if step % 20 == 5 else signal.SIGKILL, delay=0.1 * (step % 3))
    service.settle()
    assert lines == whole
    assert slabs_of(one.process.pid) == 4  # of the three that are held, and the living one
    assert one.tell("c") == "held 3"
    assert slabs_of(one.process.pid) == 1
    outages, said = one.end()
    assert outages == 10 and said.count("went away") == 10 and service.address in said


@pytest.mark.parametrize("options, python", [
    ({"steps": 25}, {"steps": 25}),
    ({"passes": 2}, {"passes": 2}),
    ({"options": {"policy": "sequential"}}, {"policy": "sequential"}),
    ({"rank": 1, "world_size": 2, "steps": 20}, {"rank": 1, "world_size": 2, "steps": 20}),
], ids=["steps", "passes", "sequential", "rank"])
def test_c_streams_end_where_they_would_have(service, trainer, options, python):
    whole = crc_lines(service.address, 1000, **python)
    one = trainer(**options)
    lines = []
    for n in range(len(whole)):
        lines.append(one.tell("n"))
        if n in (2, 7, len(whole) - 1):
            service.settle()
            service.restart()
    service.settle()
    assert lines == whole and one.tell("n") == "end" and one.tell("n") == "end"
    one.end()


def test_c_advances_survive_the_daemon(service, trainer, tmp_path):
    other = datasets.annotate(tmp_path / "other.jsonl", 300, seed=9)

    def generations():
        with ambientd.Client(service.address) as client:
            client.import_annotations(other)
            return [row["fingerprint"] for row in client.generations()["annotations"]]

    first = ambientd.Loader(service.address, 32, FIELDS, follow=False)
    state = first.state_dict()
    first.close()
    fingerprints = generations()
    assert state["annotations"] == fingerprints[0]
    one = trainer(world_size=2)
    lines = [one.tell("n") for _ in range(3)]
    assert one.tell("q ADVANCE " + json.dumps({"step": 2, "annotations": fingerprints[1]})).startswith("error state")
    moves = [{"step": 14, "annotations": fingerprints[0]}, {"step": 11, "annotations": fingerprints[0]}]
    for move in moves:
        assert one.tell("q ADVANCE " + json.dumps(move)) == "reply"
    assert one.tell('q CANCEL_ADVANCE {"step": 11}') == "reply"
    service.end()
    service.start()
    assert generations() == fingerprints
    lines += [one.tell("n") for _ in range(20)]
    assert one.tell("q ADVANCE " + json.dumps({"step": 40, "annotations": fingerprints[1]})) == "reply"
    lines += [one.tell("n") for _ in range(3)]
    one.end()
    begin = {**state, "annotations": fingerprints[1]}
    with ambientd.Loader(service.address, 32, FIELDS, rank=0, world_size=2, moves=[moves[0]]) as loader:
        loader.load_state_dict(begin)
        expected = []
        for batch in itertools.islice(loader, 26):
            crc = 0
            for name in FIELDS:
                crc = zlib.crc32(batch[name].tobytes(), crc)
            expected.append(f"{batch.step} {crc:08x}")
    assert lines == expected


def test_c_a_question_after_a_restart_waits_for_the_next_daemon(service, trainer):
    whole = crc_lines(service.address, 12)
    one = trainer()
    lines = [one.tell("n") for _ in range(4)]
    service.restart(delay=0.3)
    service.thread.join()
    assert one.tell("q STATUS {}").startswith("error E")  # the daemon that was asked is gone
    assert one.tell("q STATUS {}") == "reply"
    assert lines + [one.tell("n") for _ in range(8)] == whole
    one.end()


def test_c_questions_go_on_behind_the_end_of_a_stream(service, trainer):
    """All four slots are held when the stream ends; two daemons later they are given back to nobody."""
    whole = crc_lines(service.address, 4)
    one = trainer(steps=4)
    assert [one.tell("h") for _ in range(4)] == whole
    assert one.tell("n") == "end"
    for _ in range(2):
        service.restart()
        service.settle()
        assert one.tell("q STATUS {}").startswith("error E")
        assert one.tell("q STATUS {}") == "reply" and one.tell("n") == "end"
    assert one.tell("c") == "held 4"
    assert one.tell("q STATUS {}") == "reply"
    assert one.end()[0] == 2


def test_c_what_the_next_daemon_refuses_ends_the_stream(service, trainer, tmp_path, annotations):
    one = trainer()
    one.tell("n")
    service.end()
    service.start(datasets.tar_set(tmp_path / "others", 299), "--annotations", annotations, "--size", "16")
    said = [one.tell("n") for _ in range(10)]
    assert said[-1].startswith("error state: ") and "dataset" in said[-1] and said[-1] == said[-2]
    assert one.tell("q STATUS {}") == "reply" and one.tell("n") == said[-1]
    one.end()


def test_c_a_daemon_that_never_returns(service, trainer):
    one = trainer(timeout=1)
    one.tell("n")
    service.end(signal.SIGTERM)
    said = [one.tell("n") for _ in range(6)]
    assert any(line.startswith("error ETIMEDOUT: waited ") and "reconnect_timeout_s = 1" in line for line in said)
    service.start()
    step = sum(not line.startswith("error") for line in said) + 1
    assert one.tell("n").split()[0] == str(step)
    one.end()


def test_c_without_reconnect_the_end_is_an_error(service, trainer):
    one = trainer(timeout=0)
    one.tell("n")
    service.end()
    assert [one.tell("n") for _ in range(6)][-1].startswith("error ECONNRESET")
    assert one.end() == (0, "")

"""Loader against a fake daemon: order, ends, resume, repair, requests, generations."""
import json
import math
import os
import random
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import ambientd
from ambientd import wire
from ambientd.session import Session
from .fakedaemon import FP0, FP1, FakeDaemon


def make(daemon, **more):
    more = {"batch_size": 4, "fields": ["x_t", "s_t", "index"], **more}
    return ambientd.Loader(daemon.path, **more)


def steps(batches):
    return [batch.step for batch in batches]


def take(loader, n):
    """Indices of the next n batches, as lists."""
    taken = []
    for batch in loader:
        taken.append(batch.index.tolist())
        if len(taken) == n:
            return taken
    return taken


def test_batches_carry_what_the_daemon_wrote(daemon):
    loader = make(daemon, fields=["x_t", "s_t", "index", "label", "key", "member:txt", "member:clip.npy", "u8", "seeds"])
    iterator = iter(loader)
    for n in range(20):
        batch = next(iterator)
        numbers = np.arange(4 * n, 4 * n + 4)
        assert batch.step == n and batch.count == 4
        assert batch.x_t.shape == (4, 1, 2, 2) and batch.x_t.dtype == np.float32
        assert (batch["x_t"] == numbers.reshape(4, 1, 1, 1)).all()
        assert batch.index.tolist() == numbers.tolist() and batch.s_t.tolist() == (numbers + 0.5).tolist()
        assert batch.key == [f"key-{i}" for i in numbers] and batch.key[-1] == f"key-{numbers[-1]}"
        cut = [None if i % 3 == 2 else (b"member " + str(i).encode() * 2)[:8] for i in numbers]
        assert list(batch["member:txt"]) == cut and batch.member_txt[1:3] == cut[1:3]
        assert batch["member:txt"].truncated.tolist() == [c is not None for c in cut]
        assert batch.missing("member:clip.npy").tolist() == [i % 3 == 2 for i in numbers]
        assert batch["member:clip.npy"].shape == (4, 2)
        assert batch.seeds.shape == (4, 4) and batch.seeds.dtype == np.uint64


def test_arrays_are_writable_views_aligned_to_pages(daemon):
    batch = next(iter(make(daemon)))
    assert batch.x_t.flags.writeable and batch.x_t.ctypes.data % 4096 == 0 and not batch.x_t.flags.owndata
    batch.x_t += 1
    assert batch["x_t"][0, 0, 0, 0] == 1


def test_frames_may_come_byte_by_byte(daemon):
    daemon.dribble = True
    assert take(make(daemon), 5) == [list(range(4 * n, 4 * n + 4)) for n in range(5)]


def test_an_unknown_field_of_a_batch_names_the_fields(daemon):
    batch = next(iter(make(daemon)))
    with pytest.raises(AttributeError, match="no field 'x_tt', did you mean 'x_t'.*s_t, index"):
        batch.x_tt
    with pytest.raises(KeyError, match="no field 'noise'"):
        batch["noise"]
    assert dict(batch).keys() == {"x_t", "s_t", "index"} and "x_t" in batch and len(batch) == 3
    assert not hasattr(batch, "__array__")


@pytest.mark.parametrize("arguments, message", [
    ({"fields": ["x_tt"]}, "did you mean 'x_t'"),
    ({"fields": ["member:"]}, "by its extension"),
    ({"process": "VE"}, "process is 'VE'"),
    ({"policy": "random"}, "allowed: pass, uniform, sequential"),
    ({"gaps": "skip"}, "gaps"),
    ({"seed": -1}, "seed is -1"),
    ({"seed": 2**64}, "seed"),
    ({"s_max": 1.0}, "above 1"),
    ({"schedule": "edm"}, "LogNormal"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"batch_size": None}, "batch_size"),
    ({"global_batch_size": 8}, "one of them"),
    ({"steps": 1, "passes": 1}, "one of them"),
    ({"rank": 1}, "both or neither"),
    ({"rank": 2, "world_size": 2}, "below the world size"),
    ({"hoard": "wait"}, "hoard"),
    ({"framework": "tensorflow"}, "framework"),
    ({"device": "cuda"}, "live on the host"),
    ({"fields": None}, "fields is None"),
    ({"seed": None}, "seed is None"),
    ({"seed": math.nan}, "seed is nan"),
    ({"s_max": "8"}, "s_max is '8'"),
    ({"passes": "2"}, "passes is '2'"),
    ({"passes": 0}, "passes is 0"),
    ({"timeout": "3"}, "timeout is '3'"),
    ({"reconnect_timeout": None}, "reconnect_timeout is None"),
    ({"moves": [1]}, "moves is"),
    ({"moves": 3}, "moves is 3"),
])
def test_a_bad_argument_is_a_config_error_that_says_why(daemon, arguments, message):
    with pytest.raises(ambientd.ConfigError, match=message):
        make(daemon, **arguments)
    with pytest.raises(ValueError):  # also for who does not know our classes
        make(daemon, **arguments)


def test_the_daemons_error_is_typed(daemon):
    daemon.refuse = {"code": "gap", "message": "no sample admits", "gap": [0.0, 0.002], "mass": 0.03}
    with pytest.raises(ambientd.GapError, match="no sample admits") as caught:
        next(iter(make(daemon)))
    assert caught.value.gap == (0.0, 0.002) and caught.value.mass == 0.03


def test_nobody_listens(tmp_path):
    with pytest.raises(ambientd.DisconnectedError, match="no daemon answers"):
        next(iter(ambientd.Loader(str(tmp_path / "none"), 4)))
    with pytest.raises(ConnectionError, match="at most 107"):
        next(iter(ambientd.Loader("/tmp/" + "x" * 200, 4)))


def test_warnings_of_the_daemon_are_shown_once(daemon):
    daemon.warnings = ["another libjpeg"]
    loader = make(daemon)
    with pytest.warns(ambientd.AmbientWarning, match="another libjpeg"):
        next(iter(loader))


# -- order, ends, resume ---------------------------------------------------------------------------------------


def test_an_endless_stream_goes_on_after_break(daemon):
    loader = make(daemon)
    first = take(loader, 3)
    assert first + take(loader, 3) == [list(range(4 * n, 4 * n + 4)) for n in range(6)]
    assert daemon.sessions == 1
    with pytest.raises(TypeError, match="endless"):
        len(loader)


def test_steps_end_each_iteration_and_the_next_goes_on(daemon):
    loader = make(daemon, steps=5)
    assert len(loader) == 5
    assert steps(loader) == [0, 1, 2, 3, 4]
    assert steps(loader) == [5, 6, 7, 8, 9]
    iterator = iter(loader)
    assert next(iterator).step == 10
    assert steps(loader) == [11, 12, 13, 14, 15]  # a new loop is a whole one
    with pytest.raises(RuntimeError, match="over"):
        next(iterator)


def test_an_ended_iterator_stays_ended(daemon):
    iterator = iter(make(daemon, steps=2))
    assert steps(iterator) == [0, 1]
    assert next(iterator, None) is None and next(iterator, None) is None


def test_sequential_begins_anew_and_its_last_batch_is_short(daemon):
    daemon.total = 10
    loader = make(daemon, policy="sequential")
    assert len(loader) == 3
    for _ in range(3):
        rows = [batch.index.tolist() for batch in loader]
        assert rows == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    iterator = iter(loader)
    assert next(iterator).step == 0 and len(loader) == 3
    assert [batch.x_t.shape[0] for batch in loader] == [4, 4, 2]
    loader.load_state_dict({**loader.state_dict(), "k": 4, "step": 1})
    assert len(loader) == 2
    assert steps(loader) == [1, 2] and steps(loader) == [0, 1, 2]


def test_len_behind_the_end_changes_nothing(daemon):
    daemon.total = 10
    loader = make(daemon, policy="sequential")
    assert len(steps(loader)) == 3 and len(loader) == 3 and loader.state_dict()["step"] == 3


def test_an_ended_loader_answers_questions_and_goes_on(daemon):
    """Also where its session is gone: what it subscribes for then is the next iteration."""
    loader = make(daemon, steps=3, reconnect_timeout=5)
    iterator = iter(loader)
    assert [next(iterator).step for _ in range(3)] == [0, 1, 2]
    daemon.drop_all()
    assert loader.generations()["dataset"] and daemon.subscribes[-1]["steps"] == 3
    assert next(iterator, None) is None
    assert steps(loader) == [3, 4, 5]


def test_passes_are_asked_for(daemon):
    loader = make(daemon, passes=2)
    next(iter(loader))
    assert daemon.subscribes[-1]["passes"] == 2 and "steps" not in daemon.subscribes[-1]
    next(iter(make(daemon, passes=np.float32(0.5))))
    assert daemon.subscribes[-1]["passes"] == 0.5


def test_the_state_is_that_of_the_last_batch_yielded(daemon):
    loader = make(daemon, slots=8)
    assert loader.state_dict()["step"] == 0
    iterator = iter(loader)
    for n in range(5):
        batch = next(iterator)
        time.sleep(0.01)  # time to prefetch
        assert batch.state["step"] == n + 1 and loader.state_dict() == batch.state == loader.get_state()


@pytest.mark.parametrize("started", [False, True])
def test_resume_goes_on_behind_the_state(daemon, started):
    loader = make(daemon)
    all_rows = take(loader, 10)
    other = make(daemon)
    states = [batch.state for batch in make(daemon, steps=10)]
    for n in (0, 3, 8):
        resumed = make(daemon)
        if started:
            take(resumed, 2)
        resumed.load_state_dict(states[n])
        assert resumed.state_dict() == states[n]
        assert take(resumed, 9 - n) == all_rows[n + 1:]
        other.set_state(states[n])
        assert take(other, 1) == [all_rows[n + 1]]


def test_loading_a_state_ends_the_iteration(daemon):
    loader = make(daemon)
    iterator = iter(loader)
    state = next(iterator).state
    next(iterator)
    loader.load_state_dict(state)
    with pytest.raises(RuntimeError, match="load_state_dict"):
        next(iterator)
    assert next(iter(loader)).step == 1


def test_the_golden_state_passes_through_unchanged(daemon):
    path = Path(__file__).parents[3] / "proto" / "golden" / "state-v1.json"
    if not path.exists():
        pytest.skip("proto/golden/state-v1.json is not beside this package: tests run in the repository")
    text = path.read_text()
    state = json.loads(text)
    loader = make(daemon)
    loader.load_state_dict(state)
    assert loader.state_dict() == state
    loader.info
    assert daemon.subscribes[0]["state"] == state
    assert wire.dumps(daemon.subscribes[0]["state"]).decode() == text.strip()  # key order and digits too


@pytest.mark.parametrize("bad", [None, [], {}, "state", {"model": 1}])
def test_what_is_no_state_is_refused(daemon, bad):
    with pytest.raises(ambientd.StateError, match="a state is"):
        make(daemon).load_state_dict(bad)


def test_ranks_come_from_arguments_or_launchers(daemon, monkeypatch):
    def resolved():
        loader = make(daemon)
        return loader.rank, loader.world_size

    assert resolved() == (0, 1)
    for rank, size in (("PMI_RANK", "PMI_SIZE"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
                       ("SLURM_PROCID", "SLURM_NTASKS"), ("RANK", "WORLD_SIZE")):
        monkeypatch.setenv(rank, "1")
        assert rank == "PMI_RANK" or resolved() != (1, 3)  # half a pair is none
        monkeypatch.setenv(size, "3")
        assert resolved() == (1, 3)
        monkeypatch.setenv(size, "4")  # so that the next launcher is seen to win
    loader = make(daemon, rank=0, world_size=2)
    assert (loader.rank, loader.world_size) == (0, 2)
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ambientd.ConfigError, match="no integers"):
        make(daemon)


def test_the_union_over_ranks_is_the_stream(daemon):
    whole = take(make(daemon, batch_size=8), 3)
    parts = [take(make(daemon, batch_size=None, global_batch_size=8, rank=rank, world_size=2), 3) for rank in (0, 1)]
    assert [a + b for a, b in zip(*parts)] == whole
    assert [asked["follow"] for asked in daemon.subscribes] == [True, False, False]


# -- repair ------------------------------------------------------------------------------------------------------


def test_a_dead_daemon_is_an_error_and_the_stream_goes_on_later(daemon):
    daemon.die_at = 5
    loader = make(daemon, reconnect=False)
    taken = []
    with pytest.raises(ambientd.DisconnectedError, match="state is kept"):
        for batch in loader:
            taken.append(batch.step)
    assert taken == [0, 1, 2, 3, 4]  # what had arrived is delivered first
    for batch in loader:
        taken.append(batch.step)
        if len(taken) == 12:
            break
    assert taken == list(range(12))


def test_reconnect_goes_on_as_if_nothing_had_been(tmp_path):
    path = str(tmp_path / "s")
    first = FakeDaemon(path)
    loader = ambientd.Loader(path, 4, fields=["index"], steps=30, reconnect_timeout=10)
    rows = []

    def restart():
        first.stop()
        time.sleep(0.3)
        restarted.append(FakeDaemon(path))

    restarted = []
    thread = None
    for batch in loader:
        rows.append(batch.index.tolist())
        if batch.step == 9:
            thread = threading.Thread(target=restart)
            thread.start()
            thread.join()
    assert rows == [list(range(4 * n, 4 * n + 4)) for n in range(30)]
    assert len(loader) == 30 and 16 < restarted[0].subscribes[0]["steps"] <= 20
    restarted[0].stop()


def test_a_daemon_that_never_returns_is_an_error_that_says_how_long(tmp_path, caplog):
    path = str(tmp_path / "s")
    first = FakeDaemon(path)
    loader = ambientd.Loader(path, 4, fields=["index"], reconnect_timeout=0.7)
    iterator = iter(loader)
    next(iterator)
    first.stop()
    with pytest.raises(ambientd.DisconnectedError, match=r"waited \d+\.\d s for the daemon at .*reconnect_timeout=0\.7.*no daemon answers"):
        while True:
            next(iterator)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "went away" in caplog.text and path in caplog.text
    step = loader.state_dict()["step"]
    with FakeDaemon(path):
        assert next(iterator).step == step


def test_a_daemon_that_takes_the_connection_and_stays_silent_is_none(tmp_path):
    """As a socket of the service manager whose daemon does not start."""
    path = str(tmp_path / "s")
    first = FakeDaemon(path)
    loader = ambientd.Loader(path, 4, fields=["index"], reconnect_timeout=0.5)
    iterator = iter(loader)
    next(iterator)
    first.stop()
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(path)
    silent.listen(8)
    with pytest.raises(ambientd.DisconnectedError, match="waited .*does not answer"):
        while True:
            next(iterator)
    silent.close()


def test_reconnecting_leaves_the_programs_random_numbers_alone(daemon):
    daemon.die_at = 5
    random.seed(7)
    np.random.seed(7)
    before = random.getstate(), np.random.get_state()[1].tolist()
    assert len(take(make(daemon), 9)) == 9 and daemon.sessions == 2
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


@pytest.mark.parametrize("reconnect", [60, 0.0, None, "yes"])
def test_reconnect_is_yes_or_no(daemon, reconnect):
    with pytest.raises(ambientd.ConfigError, match="reconnect_timeout"):
        make(daemon, reconnect=reconnect)


def test_a_stopping_daemon_is_one_that_went_away(daemon):
    daemon.error_at, daemon.error = 3, {"code": "ESHUTDOWN", "errno": -108, "message": "the daemon is stopping"}
    with pytest.raises(ambientd.DisconnectedError, match="is stopping.*state is kept"):
        take(make(daemon, reconnect=False), 9)
    loader = make(daemon)
    threading.Timer(0.3, lambda: setattr(daemon, "error_at", None)).start()
    assert take(loader, 9) == [list(range(4 * n, 4 * n + 4)) for n in range(9)]


def test_what_the_next_daemon_refuses_is_raised_at_once(daemon):
    loader = make(daemon)
    take(loader, 3)
    daemon.refuse = {"code": "state", "errno": -7009, "message": "the state was made from dataset 00.., this one is 11.."}
    daemon.drop_all()
    with pytest.raises(ambientd.StateError, match="this one is 11"):
        take(loader, 30)


def test_an_error_that_ends_the_stream_is_typed_and_comes_in_its_place(daemon):
    daemon.error_at = 3
    loader = make(daemon)
    taken = []
    with pytest.raises(ambientd.ExhaustedError, match="all 64 bad"):
        for batch in loader:
            taken.append(batch.step)
    assert taken == [0, 1, 2]
    daemon.error_at = None
    assert next(iter(loader)).step == 3


def test_a_timeout_is_an_error_after_which_the_stream_goes_on(daemon):
    daemon.hold_at = 2
    loader = make(daemon, timeout=0.2)
    iterator = iter(loader)
    next(iterator), next(iterator)
    with pytest.raises(TimeoutError):
        next(iterator)
    assert daemon.bad == []


def test_a_child_process_may_not_use_the_parents_loader(daemon):
    loader = make(daemon)
    finite = make(daemon, steps=3)
    next(iter(finite))
    batch = next(iter(loader))
    client = ambientd.Client(daemon.path)
    client.ping()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = []
        for use in (lambda: loader.cancel_advance(9), lambda: next(iter(loader)), client.ping, lambda: loader.request([1.0]), lambda: next(iter(finite))):
            try:
                use()
                said.append("nothing")
            except ambientd.ForkError as error:
                said.append("ForkError" if "after the fork" in str(error) else str(error))
            except BaseException as error:
                said.append(repr(error))
        del batch  # must not give the parent's slot back
        fresh = ambientd.Loader(daemon.path, 4, fields=["index"])
        said.append(str(next(iter(fresh)).step))
        os.write(write, ",".join(said).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 1000).decode() == "ForkError,ForkError,ForkError,ForkError,ForkError,0"
    os.close(read), os.close(write)
    assert batch.index.tolist() == [0, 1, 2, 3]
    assert take(loader, 6) == [list(range(4 * n, 4 * n + 4)) for n in range(1, 7)]


# -- requests and generations ----------------------------------------------------------------------------------


def test_requests_are_a_sequence_apart(daemon):
    loader = make(daemon)
    iterator = iter(loader)
    next(iterator)
    for q in range(6):
        batch = loader.request([0.5, 1.5], scale="t" if q == 3 else "s")
        assert batch.step == q and batch.count == 2 and batch.index.tolist() == [1000 * (q + 1), 1000 * (q + 1) + 1]
        assert loader.state_dict()["q"] == q + 1
    assert [request[:2] for request in daemon.requests] == [(int(q == 3), q) for q in range(6)]
    assert {request[2:4] for request in daemon.requests} == {(FP0, FP0)}
    assert next(iterator).step == 1
    with pytest.raises(AttributeError, match="no state"):
        batch.state


def test_a_refused_request_leaves_its_number(daemon):
    loader = make(daemon)
    assert loader.request(np.array([1.0], np.float32)).step == 0
    with pytest.raises(ambientd.GapError) as caught:
        loader.request([0.0001, 1.0, 0.0002])
    assert caught.value.sigmas == [0.0001, 0.0002]
    assert loader.state_dict()["q"] == 1 and loader.request([1.0]).step == 1
    for bad in ([], [1.0] * 5):
        with pytest.raises(ambientd.ConfigError, match="1 to the batch size, 4"):
            loader.request(bad)
    with pytest.raises(ambientd.ConfigError, match="scale"):
        loader.request([1.0], scale="sigma")


def test_requests_resume_at_their_number(daemon):
    loader = make(daemon)
    next(iter(loader))
    loader.request([1.0])
    state = loader.state_dict()
    other = make(daemon)
    other.load_state_dict(state)
    assert other.request([1.0]).step == 1
    assert next(iter(other)).state["q"] == 2


def test_requests_name_the_fingerprints_of_the_state_last_yielded(daemon):
    daemon.move_at = 2
    loader = make(daemon, slots=8)
    iterator = iter(loader)
    next(iterator)
    time.sleep(0.05)
    loader.request([1.0])
    next(iterator), next(iterator)
    loader.request([1.0])
    assert [request[3] for request in daemon.requests] == [FP0, FP1]


def test_moves_are_reported(daemon):
    daemon.move_at = 2
    loader = make(daemon)
    moved = [batch.moved for batch in (next(iter(loader)) for _ in range(4))]
    assert moved == [False, False, True, False]
    assert loader.moves == [{"step": 2, "dataset": FP0, "annotations": FP1}]


def test_a_move_settled_before_a_repair_is_reported_once(daemon):
    """The daemon dies between the state that names new fingerprints and the first batch under them."""
    daemon.settle_at, daemon.die_at = 4, 4
    loader = make(daemon, reconnect_timeout=5)
    moved = [batch.step for _, batch in zip(range(10), loader) if batch.moved]
    assert moved == [4] and loader.moves == [{"step": 4, "dataset": FP0, "annotations": FP1}]


def test_an_advance_survives_the_daemon(daemon):
    loader = make(daemon, follow=False, reconnect=False)
    iterator = iter(loader)
    next(iterator)
    assert loader.advance(9, annotations=FP1) == {"step": 9, "dataset": FP0, "annotations": FP1}
    with pytest.raises(ambientd.NotFoundError):
        loader.advance(10, annotations="22" * 16)
    loader.advance(11, annotations=FP0)
    loader.cancel_advance(11)
    daemon.drop_all()
    with pytest.raises(ambientd.DisconnectedError):
        for batch in iterator:
            pass
    assert next(iter(loader)).step < 9
    assert [move["step"] for move in daemon.subscribes[-1]["moves"]] == [9]
    assert loader.advance(30, annotations=FP0)["annotations"] == FP0  # one more, while that one lies ahead
    assert [batch.step for batch in (next(iter(loader)) for _ in range(40)) if batch.moved] == [9, 30]
    assert len(daemon.subscribes) == 2


def test_an_advance_that_is_taken_back_is_nowhere(daemon):
    """Also behind an outage, when the daemon knows it as a move of the subscription; and in one that the question itself meets."""
    loader = make(daemon, follow=False, reconnect_timeout=5)
    next(iter(loader))
    loader.advance(20, annotations=FP1), loader.advance(25, annotations=FP1)
    daemon.drop_all()
    loader.generations()
    assert [move["step"] for move in daemon.subscribes[-1]["moves"]] == [20, 25]
    loader.cancel_advance(20)
    daemon.drop_all()
    loader.cancel_advance(25)
    assert "moves" not in daemon.subscribes[-1] and len(daemon.subscribes) == 3
    assert not any(next(iter(loader)).moved for _ in range(30)) and loader.moves == []


def test_an_advance_is_taken_back_although_the_next_daemon_refuses_the_state(daemon):
    loader = make(daemon, follow=False, reconnect_timeout=5)
    next(iter(loader))
    loader.advance(20, annotations=FP1)
    daemon.drop_all()
    daemon.refuse = {"code": "state", "errno": -7009, "message": "shards are gone"}
    with pytest.raises(ambientd.StateError):
        loader.cancel_advance(20)
    daemon.refuse = None
    assert next(iter(loader)).step == 1 and "moves" not in daemon.subscribes[-1]


def test_an_advance_that_was_interrupted_is_not_made(daemon, monkeypatch):
    """Nobody knows whether the daemon had set it: with its session it is gone, and can be asked for again."""
    loader = make(daemon, follow=False)
    iterator = iter(loader)
    next(iterator)
    call = Session.call

    def interrupted(self, type, *words, **more):
        answer = call(self, type, *words, **more)
        if type == wire.ADVANCE:
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(Session, "call", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loader.advance(12, annotations=FP1)
    monkeypatch.undo()
    assert [batch.moved for _, batch in zip(range(9), iterator)] == [False] * 9
    loader.advance(20, annotations=FP1)
    assert [batch.step for _, batch in zip(range(20), iterator) if batch.moved] == [20]


def test_moves_given_leave_no_room_for_others(daemon):
    with pytest.raises(ambientd.ConfigError, match="moves="):
        make(daemon, moves=[]).advance(9)
    with pytest.raises(ambientd.ConfigError, match="moves="):
        make(daemon, moves=[]).cancel_advance(9)


def test_a_state_that_is_loaded_takes_its_moves_along(daemon):
    daemon.move_at = 5
    loader = make(daemon)
    states = [batch.state for _, batch in zip(range(8), loader)]
    assert [move["step"] for move in loader.moves] == [5]
    loader.load_state_dict(states[6])
    assert [move["step"] for move in loader.moves] == [5]
    loader.load_state_dict(states[4])  # of the step before, which names the fingerprints of step 5
    assert [move["step"] for move in loader.moves] == [5]
    loader.load_state_dict(states[2])
    assert loader.moves == []
    assert [batch.step for _, batch in zip(range(4), loader) if batch.moved] == [5]
    assert [move["step"] for move in loader.moves] == [5]


def test_what_takes_the_place_of_a_state_counts_from_then_on(daemon):
    """on_generation_change="continue": the daemon answers with another state than was asked for."""
    loader = make(daemon, on_generation_change="continue")
    state = next(iter(loader)).state
    loader.close()
    daemon.instead = FP1
    resumed = make(daemon, on_generation_change="continue")
    resumed.load_state_dict(state)
    resumed.request([1.0])  # first of all
    assert daemon.requests[-1][3] == FP1
    batch = next(iter(resumed))
    assert batch.step == 1 and batch.moved and resumed.moves == [{"step": 1, "dataset": FP0, "annotations": FP1}]
    assert batch.state["annotations"] == FP1
    resumed.request([1.0])
    assert daemon.requests[-1][3] == FP1


def test_moves_are_passed_on_and_exclude_follow(daemon):
    moves = [{"step": 3, "dataset": FP0, "annotations": FP1}]
    loader = make(daemon, moves=moves)
    moved = [batch.step for batch in (next(iter(loader)) for _ in range(5)) if batch.moved]
    assert moved == [3] and daemon.subscribes[0]["moves"] == moves and daemon.subscribes[0]["follow"] is False


def test_generations(daemon):
    assert make(daemon).generations()["dataset"][0]["fingerprint"] == FP0


def test_options_go_out_as_the_protocol_wants_them(daemon):
    loader = make(daemon, seed=2**63, schedule=ambientd.Table([0, 1], [0.1, 10]), process="flow", policy="uniform",
                  s_max=8, gaps="error", xflip=True, weight="velocity", dataset="main", strict=True)
    next(iter(loader))
    asked = daemon.subscribes[0]
    assert asked["options"] == {
        "seed": str(2**63), "process": "flow", "policy": "uniform", "s_max": 8.0, "gaps": "error", "xflip": True,
        "schedule": {"kind": "table", "scale": "s", "points": [[0.0, 0.1], [1.0, 10.0]]}}
    assert (asked["weight"], asked["dataset"], asked["strict"], asked["slots"]) == ("velocity", "main", True, 4)

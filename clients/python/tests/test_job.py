"""Orders, handles to jobs, and live progress."""
import errno
import os
import signal
import socket
import threading

import pytest

import ambientd
from ambientd.errors import from_json
from .fakedaemon import FP1, FakeDaemon


def row(state, done=0, id=7, **more):
    return {"id": id, "dataset": "main", "state": state, "done": done, "total": 9, "reason": None, **more}


def started(daemon):
    return ambientd.Client(daemon.path).annotate("fake:edge")


def test_orders_go_out_as_the_protocol_wants_them(daemon):
    client = ambientd.Client(daemon.path)
    job = client.annotate("m.onnx", mode="dense", where={"label": 3}, part=(1, 2), grid="g.txt", providers="CUDA", curves=False)
    assert (job.id, job.state, job.over) == (7, "queued", False)
    client.annotate(models={8: "/a", 16: "fake:edge"}, crop_table={8: 1}, grid=(0.1, 3, 9), dataset="d")
    assert client.estimate("fake:edge", part=[2, 3])["asked"]["dry_run"] is True
    assert client.mint() == {"number": 2, "fingerprint": FP1, "changed": True}
    client.export_annotations("out.jsonl")
    client.export_annotations("/out.jsonl", toolbox=True, dataset="d")
    client.merge_annotations("store")
    job.set_priority(5)
    here = os.getcwd()
    assert daemon.orders == [
        ("ANNOTATE", {"model": f"{here}/m.onnx", "mode": "dense", "where": {"label": 3}, "part": [1, 2], "curves": False,
                      "grid": f"{here}/g.txt", "providers": ["CUDA"]}),
        ("ANNOTATE", {"models": {"8": "/a", "16": "fake:edge"}, "kind": "crops", "crop_table": {"8": 1.0},
                      "grid": [0.1, 3.0, 9.0], "dataset": "d"}),
        ("ANNOTATE", {"model": "fake:edge", "part": [2, 3], "dry_run": True}),
        ("MINT", {}), ("EXPORT", {"path": f"{here}/out.jsonl"}),
        ("EXPORT", {"path": "/out.jsonl", "toolbox": True, "dataset": "d"}), ("MERGE", {"path": f"{here}/store"}),
        ("JOB", {"id": 7, "action": "priority", "priority": 5})]
    assert client.stats(bins=8, by="label")["asked"] == {"bins": 8, "by": "label"}
    assert client.verify_annotations()["asked"] == {}


def test_a_model_or_models_are_needed(daemon):
    client = ambientd.Client(daemon.path)
    for arguments in ({}, {"model": "a", "models": {8: "b"}}):
        with pytest.raises(ambientd.ConfigError, match="takes a model, or models="):
            client.annotate(**arguments)
    assert daemon.orders == []


def test_curves_and_pictures_are_arrays(daemon):
    client = ambientd.Client(daemon.path)
    kept = client.curve("kept")
    assert kept["curve"]["sigmas"].tolist() == [0.1, 1.0] and kept["curve"]["p"].dtype == float
    assert kept["records"][0]["hi"] == float("inf")
    assert client.curve("other")["curve"] is None
    with pytest.raises(TypeError):
        client.curve()
    good, torn = client.pictures([4, 9])
    assert good["u8"].tolist() == [[[4, 5, 6], [7, 8, 9]]] and good["u8"].flags.writeable
    assert torn["u8"] is None and torn["reason"] == "torn"


def test_a_job_is_asked_told_and_listed(daemon):
    job = started(daemon)
    daemon.jobs = [row("running", 1, id=6), row("running", 4)]
    assert job.progress()["done"] == 4 == job.facts["done"] and job.refresh() is job
    assert job.pause() is job and job.state == "paused"
    assert [one.id for one in job._client.jobs()] == [6, 7] and job._client.job(6).facts["done"] == 1
    with pytest.raises(ambientd.NotFoundError, match="no job 99"):
        job._client.job(99)
    assert "7" in repr(job) and [order[1].get("action") for order in daemon.orders] == [None, "pause"]


def test_wait_follows_the_job_to_its_end(daemon):
    job, seen = started(daemon), []
    daemon.events = [[row("queued")], [row("running", 3), row("done", 9, id=8)], [row("done", 9)], [row("done", 9)]]
    assert job.wait(10, progress=lambda facts: seen.append((facts["state"], facts["done"]))) is job
    assert seen == [("queued", 0), ("running", 3), ("done", 9)] and job.over


@pytest.mark.parametrize("state,message", [("failed", "job 7 failed behind 2 of 9 samples: no model"),
                                           ("cancelled", "job 7 was cancelled behind 2 of 9 samples")])
def test_a_job_that_did_not_get_through_raises(daemon, state, message):
    ended = row(state, 2, reason="no model" if state == "failed" else None)
    daemon.events = [[ended]]
    with pytest.raises(ambientd.JobError, match=message) as error:
        started(daemon).wait(10)
    assert error.value.detail["state"] == state
    daemon.events = [[ended]]
    assert started(daemon).wait(10, check=False).state == state


def test_wait_gives_up_in_time_and_the_job_is_told_to_go_on(daemon):
    daemon.events = [[row("running", 2)]]
    with pytest.raises(ambientd.AmbientTimeoutError, match="2 of 9.*goes on without you"):
        started(daemon).wait(0.2)


def test_wait_of_no_time_says_how_it_stands(daemon):
    job = started(daemon)
    daemon.jobs = [row("running", 2)]
    with pytest.raises(ambientd.AmbientTimeoutError, match="2 of 9"):
        job.wait(0)
    daemon.jobs = [row("done", 9)]
    assert job.wait(0).facts["done"] == 9
    daemon.jobs = [row("failed", 3, reason="no model")]
    with pytest.raises(ambientd.JobError, match="behind 3 of 9"):
        job.wait(0)


def test_wait_asks_where_no_event_comes(daemon, monkeypatch):
    """An event that does not fit one frame is not sent; JOBS is answered all the same."""
    monkeypatch.setattr("ambientd.job._SILENCE_S", 0.05)
    daemon.events, daemon.jobs = [[row("running", 2)]], [row("done", 9)]
    assert started(daemon).wait(30).facts["done"] == 9


def test_wait_outlives_the_daemon(tmp_path):
    path = str(tmp_path / "s")
    with FakeDaemon(path, events=[[row("running", 2)], "die", [row("running", 5)], [row("done", 9)]]) as daemon:
        job, seen = started(daemon), []
        assert job.wait(30, progress=lambda facts: seen.append(facts["done"])).state == "done"
        assert seen == [2, 5, 9]
        daemon.events = [[row("running", 2)], "die"]
        with pytest.raises(ambientd.DisconnectedError):
            job.wait(30, reconnect_timeout=0)
    with pytest.raises(ambientd.DisconnectedError, match="The job goes on with the daemon"):
        job.wait(30, reconnect_timeout=0.1)


def test_events_come_live_over_a_connection_of_their_own(daemon):
    client = ambientd.Client(daemon.path)
    client.ping()
    daemon.events = [[row("queued")], [row("running", 1)]]
    with client.subscribe(timeout=0.3) as watch:
        assert daemon.sessions == 2
        assert [next(watch)["jobs"][0]["state"] for _ in range(2)] == ["queued", "running"]
        with pytest.raises(ambientd.AmbientTimeoutError):
            next(watch)
    assert list(watch) == []  # closed
    with pytest.raises(ambientd.DisconnectedError, match="closed"):
        watch.next(1)
    client.ping()
    assert daemon.sessions == 2


def test_an_interruption_costs_a_watcher_nothing(daemon):
    """A connection that Ctrl-C left between two frames is replaced by another."""
    daemon.events = [[row("running", 1)]]
    with ambientd.Client(daemon.path).subscribe(timeout=10) as watch:
        next(watch)
        watch._connection._torn = True
        daemon.events = [[row("running", 2)]]
        assert next(watch)["jobs"][0]["done"] == 2
    assert daemon.sessions == 2


def test_an_order_is_not_repeated_behind_an_interruption(daemon, monkeypatch):
    client = ambientd.Client(daemon.path)
    client.ping()
    connection = client._connection
    pump = connection.pump
    def cut(ready, timeout):
        pump(lambda: daemon.orders != [], timeout)
        connection._torn = True
        connection.check()
    monkeypatch.setattr(connection, "pump", cut)
    with pytest.raises(ambientd.DisconnectedError):
        client.mint()
    assert daemon.orders == [("MINT", {})]
    client.ping()


def test_wait_ends_in_time_while_the_daemon_is_away(tmp_path):
    path = str(tmp_path / "s")
    with FakeDaemon(path, events=[[row("running", 2)], "die"]) as daemon:
        job = started(daemon)
        with pytest.raises(ambientd.AmbientTimeoutError, match="2 of 9.*goes on without you"):
            job.wait(2, reconnect_timeout=1e6, progress=lambda _: os.unlink(path))  # who comes again finds nobody


def test_wait_ends_in_time_where_the_daemon_is_silent(daemon, tmp_path):
    job = started(daemon)
    silent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    silent.bind(str(tmp_path / "silent"))
    silent.listen(1)
    job._client.address = str(tmp_path / "silent")
    with silent, pytest.raises(ambientd.AmbientTimeoutError, match="0 of 9.*goes on without you"):
        job.wait(0.3)


def test_a_child_may_ask_while_the_parents_lock_is_held(daemon):
    """Another thread asks at the moment of the fork; the child does not have that thread."""
    client = ambientd.Client(daemon.path)
    client.ping()
    fresh = ambientd.Client(daemon.path)
    held, over = threading.Event(), threading.Event()

    def hold():
        with client._lock, fresh._lock:
            held.set()
            over.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            fresh.ping()
            client.ping()
        except ambientd.ForkError:
            os._exit(0)
        os._exit(1)
    over.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_an_error_of_the_system_has_its_number():
    error = from_json({"code": "ENOENT", "errno": -2, "message": "no such file"})
    assert isinstance(error, OSError) and error.errno == errno.ENOENT and error.code == "ENOENT"

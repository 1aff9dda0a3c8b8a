"""The Python package over the running daemon: five lines, resume, ranks, requests, leases, fork, interrupts, restarts."""

import _thread
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy
import pytest

import ambientd
import datasets

ROOT = pathlib.Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "clients" / "python" / "examples"
N = 400


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loader")
    captions = {i: f"caption {i}".encode() * (i % 40) for i in range(N) if i % 5}
    samples = []
    for i in range(N):
        key, members = datasets.sample(i)
        members["emb.npy"] = datasets.npy(numpy.full((3,), i, numpy.float32))
        if i in captions:
            members["txt"] = captions[i]
        samples.append((key, members))
    for first in range(0, N, 100):
        datasets.write_tar(folder / f"shard-{first // 100:06d}.tar", samples[first:first + 100])
    return str(folder / "shard-*.tar"), datasets.annotate(folder / "a.jsonl", N), captions


@pytest.fixture(scope="module")
def server(shards):
    with ambientd.start(shards[0], annotations=shards[1], size=16) as server:
        yield server


def indices(loader, n):
    return [batch.index.tolist() for batch in itertools.islice(loader, n)]


def sessions(client, batch_size):
    """What the daemon says of the sessions with this batch size."""
    return [session for session in client.status()["sessions"] if session.get("batch_size") == batch_size]


def test_five_lines_print_what_they_promise(shards):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python")}
    out = subprocess.run([sys.executable, EXAMPLES / "five_lines.py", shards[0], shards[1]], env=environment, check=True,
                         capture_output=True, text=True).stdout.splitlines()
    assert len(out) == 10 and out[9].startswith("step 9: loss ") and "first of 256 samples: 0" in out[9]


def test_batches_agree_with_the_two_steps_of_noise(server):
    """x_t = a x_tn + b e with e of unit variance, for each process, from the fields alone."""
    for process in ("ve", "vp", "flow"):
        fields = ["x_t", "x_tn", "x0", "noise", "s_t:f64", "s_tn:f64", "weight"]
        with ambientd.Loader(server.address, 256, fields, process=process, steps=4) as loader:
            for batch in loader:
                step = ambientd.loss.step(batch.s_t, batch.s_tn, process)
                over = (slice(None), None, None, None)
                e = (batch.x_t - step.a[over] * batch.x_tn) / step.b[over]
                assert abs(e.mean()) < 0.02 and abs(e.std() - 1) < 0.02
                n = (batch.x_t - step.alpha_t[over] * batch.x0) / step.t[over]
                numpy.testing.assert_allclose(batch.noise, n, atol=2e-3)
                wanted = ambientd.loss.ambient_weight(batch.s_t, batch.s_tn, process)
                numpy.testing.assert_allclose(batch.weight, wanted, rtol=1e-5)


def test_a_client_can_make_the_noise_itself(server):
    """`u8` and `seeds` are enough: x_t rebuilt from them in numpy is the daemon's but for the last bits of rounding."""
    from ambientd import _noise
    with ambientd.Loader(server.address, 8, ["u8", "seeds", "s_t:f64", "s_tn:f64", "x_t", "x_tn"], xflip=True, steps=3) as loader:
        keys = loader.info["keys"]
        for batch in loader:
            step = ambientd.loss.step(batch.s_t, batch.s_tn)
            for i in range(batch.count):
                fixed, fresh, flipped = (int(word) for word in batch.seeds[i, :3])
                shape = batch.u8.shape[1:]
                n = _noise.normals(batch.u8[i].size, int(keys["fixed"], 16), fixed).reshape(shape)
                e = _noise.normals(batch.u8[i].size, int(keys["fresh"], 16), fresh).reshape(shape)
                n = n[..., ::-1] if flipped & 1 else n
                x_tn = batch.u8[i] / 127.5 - 1 + step.tn[i] * n
                numpy.testing.assert_allclose(batch.x_tn[i], x_tn, rtol=1e-5, atol=1e-5)
                numpy.testing.assert_allclose(batch.x_t[i], step.a[i] * x_tn + step.b[i] * e, rtol=1e-5, atol=2e-5)


def test_members_come_as_bytes_and_as_arrays(server, shards):
    fields = ["index", "key", {"name": "member:txt", "max_bytes": 100}, "member:emb.npy", "member:nothing"]
    seen = set()
    for batch in ambientd.Loader(server.address, 64, fields, policy="sequential"):
        for i, index in enumerate(batch.index.tolist()):
            seen.add(index)
            whole = shards[2].get(index)
            assert batch.key[i] == f"{index:06d}"
            assert batch.member_txt[i] == (None if whole is None else whole[:100])
            assert batch.member_txt.lengths[i] == (-1 if whole is None else len(whole))
            assert batch["member:emb.npy"][i].tolist() == [index] * 3 and not batch.missing("member:emb.npy")[i]
            assert batch.member_nothing[i] is None
    assert seen == set(range(N))


def test_sequential_has_a_length_and_begins_anew(server):
    loader = ambientd.Loader(server.address, 96, ["index"], policy="sequential")
    assert len(loader) == 5
    for _ in range(2):
        assert sum(indices(loader, 99), []) == list(range(N))
    loader = ambientd.Loader(server.address, 100, ["index"], passes=2)
    assert len(loader) == sum(1 for _ in loader) == 8


@pytest.mark.threads
def test_resume_goes_on_with_the_same_bytes(server, shards):
    """In the same loader, in a new one, in another daemon; the state goes through JSON as in a checkpoint."""
    fields = ["x_t", "x_tn", "index"]

    def digest(batches):
        return [(batch.step, batch.index.tobytes(), batch.x_t.tobytes(), batch.x_tn.tobytes()) for batch in batches]

    loader = ambientd.Loader(server.address, 48, fields, seed=5)
    states, whole = [], []
    for batch in itertools.islice(loader, 20):
        states.append(json.loads(json.dumps(batch.state)))
        whole += digest([batch])
    with ambientd.start(shards[0], annotations=shards[1], size=16) as other:
        for n, address in ((3, server.address), (11, other.address), (0, other.address), (16, server.address)):
            loader = loader if n == 3 else ambientd.Loader(address, 48, fields, seed=5)
            loader.load_state_dict(states[n])
            assert digest(itertools.islice(loader, 3)) == whole[n + 1:n + 4]
    loader = ambientd.Loader(server.address, 48, fields, seed=6)
    loader.load_state_dict(states[3])
    with pytest.raises(ambientd.StateError, match="seed"):
        next(iter(loader))


@pytest.mark.parametrize("world_size", [2, 4, 8])
def test_the_union_over_ranks_is_the_stream_of_one(server, world_size):
    whole = indices(ambientd.Loader(server.address, 64, ["index"]), 6)
    ranks = [indices(ambientd.Loader(server.address, None, ["index"], global_batch_size=64, rank=rank,
                                     world_size=world_size), 6) for rank in range(world_size)]
    assert [sum(parts, []) for parts in zip(*ranks)] == whole


@pytest.mark.threads
def test_requests_fit_their_sigmas_and_do_not_move_the_stream(server):
    plain = indices(ambientd.Loader(server.address, 32, ["index"]), 6)
    loader = ambientd.Loader(server.address, 32, ["index", "s_t:f64", "sigma_min", "sigma_max", "sigma_t"])
    seen = indices(loader, 3)
    sigmas = numpy.geomspace(0.05, 40, 30)
    for q in range(3):
        batch = loader.request(sigmas)
        assert batch.count == 30 and batch.step == q
        numpy.testing.assert_array_equal(batch.s_t, sigmas)
        assert ((sigmas > batch.sigma_min) | (sigmas < batch.sigma_max)).all()
    assert loader.state_dict()["q"] == 3 and seen + indices(loader, 3) == plain
    again = ambientd.Loader(server.address, 32, ["index", "s_t"])
    again.load_state_dict({**loader.state_dict(), "q": 2})
    assert again.request(sigmas).index.tolist() == batch.index.tolist()
    with ambientd.Loader(server.address, 4, ["sigma_t"], process="flow") as flow:
        numpy.testing.assert_allclose(flow.request([0.25, 0.75], scale="t").sigma_t, [0.25, 0.75], rtol=1e-6)


@pytest.mark.threads
def test_leases_follow_reference_counts(server):
    loader = ambientd.Loader(server.address, 17, ["x_t", "key"], slots=4)
    iterator = iter(loader)
    client = ambientd.Client(server.address)

    def lent_and_idle():
        time.sleep(0.2)  # until every free slot has been filled and lent
        (session,) = sessions(client, 17)
        return session["slots_lent"], session["step"]

    view = next(iterator).x_t[3, :, 1:].T
    copy = numpy.array(view)
    assert lent_and_idle() == (4, 4)
    for _ in range(3):
        next(iterator)
    assert lent_and_idle() == (4, 7)  # one of them is the view's: three went round
    numpy.testing.assert_array_equal(view, copy)
    view *= 0  # a trainer may work in place
    kept = [next(iterator).x_t for _ in range(3)]
    with pytest.raises(ambientd.HoardError, match="all 4 slots"):
        next(iterator)
    before = [array.copy() for array in kept]
    del view
    assert lent_and_idle()[1] == 8  # without a call into the loader
    for array, same in zip(kept, before):
        numpy.testing.assert_array_equal(array, same)
    assert next(iterator).step == 7
    loader.close()


def test_a_fork_is_a_clear_error_and_harms_nobody(server):
    loader = ambientd.Loader(server.address, 16, ["index"])
    first = indices(loader, 1)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            next(iter(loader))
        except ambientd.ForkError:
            fresh = ambientd.Loader(server.address, 16, ["index"])
            status = 0 if indices(fresh, 1) == first else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert first + indices(loader, 5) == indices(ambientd.Loader(server.address, 16, ["index"]), 6)


def test_interrupts_at_any_moment_leave_loader_and_daemon_right(server, monkeypatch):
    """SIGINT every few milliseconds for a second; the batches seen are those of a stream that nobody disturbed."""
    unraisable = []  # pytest's own list of them does not survive an interrupt in its making

    def hook(what):
        if not issubclass(what.exc_type, KeyboardInterrupt):
            unraisable.append(what)

    monkeypatch.setattr(sys, "unraisablehook", hook)
    wanted = ambientd.Loader(server.address, 18, ["index"], steps=4000)
    truth = {batch.step: batch.index.tolist() for batch in wanted}
    loader = ambientd.Loader(server.address, 18, ["index"])
    stop = threading.Event()

    def shoot():
        while not stop.wait(0.004):
            _thread.interrupt_main()

    last, n_interrupts, end = -1, 0, time.monotonic() + 1.0
    thread = threading.Thread(target=shoot)
    thread.start()
    while True:
        try:
            if stop.is_set() or time.monotonic() > end:
                stop.set()
                thread.join()
                time.sleep(0.5)  # the last one lands here; one that fell into a finalizer is raised again by a thread
                break
            for batch in loader:
                assert batch.step > last and batch.index.tolist() == truth[batch.step]
                last = batch.step
                if last > 3900:
                    end = 0
                    break
        except KeyboardInterrupt:
            n_interrupts += 1
    assert n_interrupts > 5 and not unraisable
    step = loader.state_dict()["step"]
    assert last + 1 <= step <= last + 2
    for batch in itertools.islice(loader, 3):
        assert batch.index.tolist() == truth[batch.step]
    loader.close()
    wanted.close()
    with ambientd.Client(server.address) as client:
        deadline = time.monotonic() + 5
        while sessions(client, 18):
            assert time.monotonic() < deadline, "sessions of closed loaders stay"
            time.sleep(0.05)


def test_a_killed_daemon_is_waited_for_and_the_bytes_go_on(shards, tmp_path):
    """kill -9 and a new daemon at the same socket, in the middle of a loop."""
    binary = ambientd.server.find_binary()
    address = str(tmp_path / "s" / "a.sock")
    os.mkdir(os.path.dirname(address), 0o700)
    command = [binary, "serve", shards[0], "--annotations", shards[1], "--size", "16", "--socket", address]

    def start():
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                ambientd.Client(address).ping()
                return process
            except ambientd.DisconnectedError:
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.02)

    daemon = start()
    try:
        fields = ["x_t", "index"]
        whole = [batch.x_t.tobytes() for batch in ambientd.Loader(address, 32, fields, steps=30)]
        rows = []
        for batch in ambientd.Loader(address, 32, fields, steps=30, reconnect_timeout=20):
            rows.append(batch.x_t.tobytes())
            if batch.step == 12:
                daemon.kill()
                daemon.wait()
                timer = threading.Timer(0.5, lambda: started.append(start()))
                started = []
                timer.start()
        timer.join()
        daemon = started[0]
        assert rows == whole
    finally:
        daemon.kill()
        daemon.wait()


def test_a_killed_trainer_leaves_nothing_behind(shards):
    program = ("import sys, time, ambientd\n"
               "loader = ambientd.Loader(sys.argv[1], 19, ['x_t'])\n"
               "kept = [batch for _, batch in zip(range(3), loader)]\n"
               "print('holding', flush=True); time.sleep(60)")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python")}
    with ambientd.start(shards[0], annotations=shards[1], size=16) as server, server.client() as client:
        trainer = subprocess.Popen([sys.executable, "-c", program, server.address], env=environment, stdout=subprocess.PIPE)
        trainer.stdout.readline()
        (session,) = sessions(client, 19)
        assert session["pid"] == trainer.pid and session["slots_lent"] >= 3
        trainer.send_signal(signal.SIGKILL)
        trainer.wait()
        deadline = time.monotonic() + 5
        while sessions(client, 19):
            assert time.monotonic() < deadline, "the session of a dead trainer stays"
            time.sleep(0.02)


def test_a_daemon_stops_with_a_killed_trainer(shards):
    program = ("import sys, time, ambientd\n"
               "server = ambientd.start(sys.argv[1], size=16); print(server.pid, flush=True); time.sleep(60)")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python")}
    trainer = subprocess.Popen([sys.executable, "-c", program, shards[0]], env=environment, stdout=subprocess.PIPE)
    pid = int(trainer.stdout.readline())
    trainer.kill()
    trainer.wait()
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and "Z" not in pathlib.Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3]:
        assert time.monotonic() < deadline, "the daemon outlives its trainer"
        time.sleep(0.05)


def test_client_answers(server):
    with ambientd.Client(server.address) as client:
        dataset = client.status()["datasets"]["main"]
        assert dataset["samples"] == N and dataset["shape"]["channels"] == 3
        row = client.sample("000007")
        assert row["index"] == 7 and row["annotation"]["sigma_min"] >= 0
        assert client.sample(index=7)["key"] == "000007"
        coverage = client.coverage([0.05, 40.0])
        assert coverage["admitted"][1] == N and 0 < coverage["admitted"][0] < N
        assert client.ls(count=3)["rows"][2]["index"] == 2 and client.quarantine()["total"] == 0
        assert client.generations()["annotations"][-1]["current"]
        with pytest.raises(ambientd.NotFoundError):
            client.sample("nobody")


def test_torch_trains_a_step_from_the_slots(server):
    torch = pytest.importorskip("torch", reason="torch is not installed (tests/run.sh --with-torch)")
    loader = ambientd.Loader(server.address, 32, ["x_t", "x_tn:bf16", "s_t", "s_tn", "label"], framework="torch", process="flow")
    for batch in itertools.islice(loader, 8):
        scale = torch.ones(1, requires_grad=True)
        loss = ambientd.loss.ambient_loss(scale * batch.x_t, batch.x_t, batch.x_tn.float(), batch.s_t, batch.s_tn, "flow",
                                          "velocity", "velocity").mean()
        loss.backward()
        assert torch.isfinite(scale.grad).all() and batch.label.dtype == torch.int64


@pytest.mark.slow
def test_training_survives_kills_with_the_same_curve(shards, tmp_path):
    """The example trainer: once undisturbed; once with trainer and daemon killed (the private daemon dies with it)."""
    pytest.importorskip("torch", reason="torch is not installed (tests/run.sh --with-torch)")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python")}

    def command(name, *more):
        return [sys.executable, EXAMPLES / "train.py", shards[0], "--annotations", shards[1], "--size", "16", "--steps", "40",
                "--batch-size", "16", "--width", "16", "--save", "7", "--threads", "1", "--checkpoint", tmp_path / f"{name}.pt",
                "--curve", tmp_path / f"{name}.txt", *more]

    subprocess.run(command("whole"), env=environment, check=True, stdout=subprocess.DEVNULL)
    for kill_behind in (10, 24):
        trainer = subprocess.Popen(command("killed", "--resume"), env=environment, stdout=subprocess.DEVNULL)
        curve, deadline = tmp_path / "killed.txt", time.monotonic() + 120
        while not curve.exists() or len(curve.read_text().splitlines()) < kill_behind:
            assert time.monotonic() < deadline and trainer.poll() is None
            time.sleep(0.02)
        trainer.kill()
        trainer.wait()
    subprocess.run(command("killed", "--resume"), env=environment, check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "killed.txt").read_text() == (tmp_path / "whole.txt").read_text()


def test_a_daemon_outlives_the_thread_that_started_it(shards):
    """Linux counts the death of the starting thread as the parent's."""
    started = []
    thread = threading.Thread(target=lambda: started.append(ambientd.start(shards[0], size=16)))
    thread.start()
    thread.join()
    with started[0] as server:
        time.sleep(0.3)
        assert server.running
        server.client().ping()

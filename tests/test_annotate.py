"""Annotation jobs of the running daemon: their life, their records, what streams make of them. Stand-in models need no
library: "fake:edge" gives smooth pictures a larger sigma_min, "fake:slow=MS" takes its time."""

import base64
import contextlib
import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time

import numpy
import pytest

import datasets
import wire
from conftest import ROOT, Died

CTL = os.environ.get("AMBIENTCTL_BIN", str(ROOT / "build/clients/ctl/ambientctl"))
DTYPES = {"f32": "<f4", "u32": "<u4", "u8": "u1", "u16": "<u2", "i64": "<i8"}
OVER = ("done", "failed", "cancelled")
N = 120
CONTROL = 1024  # evaluations of a run of an adaptive job that are of no sample


@pytest.fixture(scope="module")
def tars(tmp_path_factory):
    return datasets.tar_set(tmp_path_factory.mktemp("annotate") / "tars", N, per_shard=40)


@pytest.fixture
def served(daemon, tars, tmp_path):
    """served(*arguments): a daemon on the tars with a state directory that its successors share. Its jobs get on while
    other tests keep the machine busy."""
    def start(*arguments, shards=None, state="state", **options):
        return daemon(shards or tars, "--state-dir", tmp_path / state, "--jobs-share", *arguments, **options)
    return start


def annotate(one, **body):
    with one.client() as client:
        return client.call(wire.ANNOTATE, {"model": "fake:edge", **body})["job"]["id"]


def job(one, id):
    with one.client() as client:
        return next(row for row in client.call(wire.JOBS, {})["jobs"] if row["id"] == id)


def wait(one, id, states=OVER, timeout=120):
    end = time.monotonic() + timeout
    while (row := job(one, id))["state"] not in states:
        assert time.monotonic() < end, row
        time.sleep(0.02)
    return row


def act(one, id, action, **body):
    with one.client() as client:
        return client.call(wire.JOB, {"id": id, "action": action, **body})


def columns(one, **body):
    with one.client() as client:
        answer = client.call(wire.ANNOTATIONS, body)
    arrays = {name: numpy.frombuffer(base64.b64decode(row["data"]), DTYPES[row["dtype"]]) for name, row in answer["columns"].items()}
    return arrays | {"answer": answer}


def ctl(one, *arguments, check=True):
    done = subprocess.run([CTL, *map(str, arguments), "--socket", str(one.socket)], capture_output=True, text=True, timeout=120)
    assert not check or done.returncode == 0, done.stderr
    return done


def test_job_annotates_every_sample_and_a_generation_is_minted(served):
    one = served()
    row = wait(one, annotate(one))
    assert (row["state"], row["done"], row["total"], row["given_up"]) == ("done", N, N, 0)
    got = columns(one)
    assert (got["state"] == 1).all() and (got["min_origin"] == 3).all() and (got["sigma_max"] == 0).all()
    assert (got["lo"] <= got["sigma_min"]).all() and (got["sigma_min"] <= got["hi"]).all()
    assert got["evaluations"].sum() == row["evaluations"] - CONTROL > 0
    assert one.wait_for(lambda status: status["datasets"]["main"]["annotations"]["generation"] == 2)
    assert columns(one, start=100, count=50)["sigma_min"].shape == (20,)


def test_records_do_not_depend_on_batches_parts_or_interruptions(served, tmp_path):
    """The same annotations from one run, from batches of another size, and from two daemons that shared the work."""
    one = served()
    wait(one, annotate(one))
    whole = columns(one)["sigma_min"]
    other = served(state="other")
    wait(other, annotate(other, batch=7))
    assert (columns(other)["sigma_min"] == whole).all()
    halves = [served(state=f"half{k}") for k in (1, 2)]
    done = [wait(half, annotate(half, part=[k, 2]))["done"] for k, half in zip((1, 2), halves)]
    assert sum(done) == N and min(done) > N / 4
    out = ctl(halves[0], "annotations", "merge", tmp_path / "half2/annotations/main").stdout
    assert f"{done[1]} taken over" in out
    assert (columns(halves[0])["sigma_min"] == whole).all()


def lines_of(path, **sides):
    """annotations.jsonl that says this of sample 3."""
    path.write_text(json.dumps({"filename": "000003", **sides}) + "\n")
    return {"path": str(path)}


def test_merge_takes_what_is_missing_side_by_side_and_from_a_damaged_store(served, tmp_path):
    """Ours gave every sample up and was told one side of one; theirs knows all, and a bit of a curve has flipped."""
    ours, other = served(), served(state="other")
    wait(other, annotate(other, mode="dense", trials=1, grid=[0.01, 3, 64], curves=True))
    wait(ours, annotate(ours, model="fake:nan=0"))
    with ours.client() as mine, other.client() as theirs:
        mine.call(wire.IMPORT, lines_of(tmp_path / "a", sigma_min=1.5))
        theirs.call(wire.IMPORT, lines_of(tmp_path / "b", sigma_min=9, sigma_max=0.25))
    theirs = columns(other)
    other.stop()
    journal = tmp_path / "other/annotations/main/journal-0000000001"
    data = bytearray(journal.read_bytes())
    data[data.index(struct.pack("<II", 24 + 8 * 64, 2)) + 100] ^= 1  # of the first curve
    journal.write_bytes(data)
    out = ctl(ours, "annotations", "merge", journal.parent).stdout
    assert f"{N + 1} taken over, {N - 1} curves" in out and "DAMAGED in 1 places, the first: journal-0000000001 offset" in out
    for life_is_last in (False, True):
        got = columns(ours)
        assert (got["sigma_min"][3], got["sigma_max"][3]) == (1.5, 0.25)
        rest = numpy.arange(N) != 3
        assert (got["sigma_min"] == theirs["sigma_min"])[rest].all() and (got["min_origin"][rest] == 3).all()
        if not life_is_last:
            assert ours.stop() == 0
            ours = served()
    assert "0 taken over" in ctl(ours, "annotations", "merge", journal.parent).stdout
    done = ctl(ours, "annotations", "merge", tmp_path / "other", check=False)
    assert done.returncode == 1 and "other has no MANIFEST, allowed: STATE_DIR/annotations/DATASET" in done.stderr


def test_kill_9_loses_nothing_and_the_job_goes_on(served):
    """Killed again and again while it works: what was acknowledged stays, and no sample is done twice."""
    one = served()
    id = annotate(one, model="fake:slow=3", batch=8)
    kept, n_done = {}, 0
    for _ in range(3):
        while (row := job(one, id))["done"] == n_done:
            assert row["state"] in ("queued", "running"), row
            time.sleep(0.02)
        got = columns(one)
        kept |= {i: v for i, v in enumerate(got["sigma_min"]) if got["min_origin"][i] == 3}
        assert n_done < len(kept) < N
        one.process.kill()
        one.process.wait()
        one = served()
        got = columns(one)
        assert all(got["sigma_min"][i] == v for i, v in kept.items())
        n_done = (got["min_origin"] == 3).sum()
    row = wait(one, id)
    assert (row["state"], row["done"], row["total"]) == ("done", N, N)
    whole = columns(one)
    assert (whole["min_origin"] == 3).all() and row["evaluations"] == whole["evaluations"].sum() + CONTROL
    other = served(state="other")
    wait(other, annotate(other))
    assert (columns(other)["sigma_min"] == whole["sigma_min"]).all()


def test_a_job_that_was_answered_is_kept_over_a_kill(served):
    """Whatever the daemon has done of it: ten kills as soon as the answer is there."""
    one = served()
    for k in range(10):
        id = annotate(one, model="fake:slow=5", where={"annotated": "any"})
        one.process.kill()
        one.process.wait()
        one = served()
        act(one, id, "cancel")
        one.process.kill()
        one.process.wait()
        one = served()
        assert wait(one, id)["state"] == "cancelled", k


def test_follow_waits_for_the_daemon_after_this_one(served):
    one = served()
    id = annotate(one, model="fake:slow=10")
    follow = subprocess.Popen([CTL, "job", "follow", str(id), "--socket", str(one.socket)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    assert "running" in follow.stderr.readline()
    one.process.kill()
    one.process.wait()
    served("--socket", one.socket)
    out, err = follow.communicate(timeout=120)
    assert follow.returncode == 0 and f"job {id} done: {N} of {N} samples" in out and "waiting up to 300 s" in err, (out, err)


@pytest.mark.parametrize("columns", [44, 80, 200])
def test_progress_fits_the_line_of_a_terminal(served, columns):
    """What is longer than a line wraps, and the next one would be written below it instead of over it."""
    one = served()
    id = annotate(one, model="fake:slow=2")
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen([CTL, "job", "follow", str(id), "--socket", str(one.socket)], stdout=there, stderr=there) as follow:
        os.close(there)
        text = b""
        with contextlib.suppress(OSError), open(here, "rb", buffering=0) as terminal:  # EIO: the other end is closed
            while piece := terminal.read(65536):
                text += piece
    *lines, last = text.decode().replace("\r\n", "\n").split("\r\x1b[K")[1:]
    assert follow.returncode == 0 and len(lines) > 2 and f"job {id} done: {N} of {N} samples in" in last
    assert all(line[0] == "▕" and len(line) < columns for line in (*lines, last.splitlines()[0])), lines


def test_two_lines_of_an_import_that_set_a_side_each_both_stay(served, tmp_path):
    one = served()
    lines = [{"filename": "000003", "sigma_min": 1.5}, {"filename": "000004", "sigma_min": 0.5}, {"filename": "000003", "sigma_max": 0.25},
             {"filename": "000004", "sigma_min": 0.75}]
    (tmp_path / "lines").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with one.client() as client:
        assert client.call(wire.IMPORT, {"path": str(tmp_path / "lines")})["durable"]
    for life_is_last in (False, True):
        got = columns(one)
        assert got["sigma_min"][[3, 4]].tolist() == [1.5, 0.75] and got["sigma_max"][[3, 4]].tolist() == [0.25, 0]
        if not life_is_last:
            one.process.kill()
            one.process.wait()
            one = served()


def test_a_start_that_fails_beside_a_job_ends_in_order(served):
    """The job of the life before is looked at by a thread when the socket's group turns out unknown: the exit status and the
    message are those of the group."""
    one = served()
    annotate(one, model="fake:slow=20")
    one.process.kill()
    one.process.wait()
    for _ in range(5):
        with pytest.raises(Died) as died:
            served("--socket-group", "no-such-group")
        assert died.value.daemon.process.returncode in (1, 2) and "no-such-group" in died.value.daemon.log()


def test_job_pauses_resumes_gives_way_and_is_cancelled(served):
    one = served()
    first = annotate(one, model="fake:slow=5", where={"label": 1})
    wait(one, first, ("running",))
    act(one, first, "pause")
    assert wait(one, first, ("paused",))["state"] == "paused"
    second = annotate(one, model="fake:slow=5", where={"label": 2})
    third = annotate(one, where={"label": 3}, priority=5)
    assert wait(one, third)["state"] == "done"
    act(one, second, "cancel")
    assert wait(one, second)["state"] == "cancelled"
    act(one, first, "resume")
    again = annotate(one, where={"label": 2})
    with pytest.raises(wire.Refused, match="may mean the same samples"):
        act(one, second, "resume")
    assert wait(one, first)["state"] == wait(one, again)["state"] == "done"
    with pytest.raises(wire.Refused, match="cannot resume job"):
        act(one, first, "resume")
    with pytest.raises(wire.Refused, match="no job 99"):
        act(one, 99, "pause")
    labels = columns(one)
    assert set(labels["label"][labels["min_origin"] == 3]) >= {1, 3}


def test_second_job_on_the_same_samples_is_refused_while_the_first_runs(served):
    one = served()
    first = annotate(one, model="fake:slow=20")
    with pytest.raises(wire.Refused, match="may mean the same samples") as refused:
        annotate(one)
    assert refused.value.code == "busy"
    act(one, first, "cancel")


def test_trusted_and_imported_samples_cost_no_evaluation(served, tmp_path):
    """An imported value beats the classifier's, so the sample is not even examined."""
    lines = tmp_path / "a.jsonl"
    lines.write_text("".join(json.dumps({"key": f"{i:06d}", "sigma_min": 0.5}) + "\n" for i in range(30)))
    one = served()
    ctl(one, "import", lines)
    row = wait(one, annotate(one))
    assert row["total"] == N - 30
    got = columns(one)
    assert (got["min_origin"][:30] == 4).all() and (got["evaluations"][:30] == 0).all() and (got["sigma_min"][:30] == 0.5).all()
    assert (got["min_origin"][30:] == 3).all()


def test_import_is_kept_over_a_restart(served, tmp_path):
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"key": "000003", "sigma_min": 0.25}\n')
    one = served()
    ctl(one, "import", lines)
    lines.write_text('{"key": "000003", "sigma_max": 0.125}\n')  # another side, another time
    ctl(one, "import", lines)
    one.stop()
    got = columns(served())
    assert (got["sigma_min"][3], got["sigma_max"][3], got["min_origin"][3]) == (0.25, 0.125, 4)


def test_nan_gives_the_sample_up_and_the_job_goes_on(served):
    one = served()
    row = wait(one, annotate(one, model="fake:nan=0.08"))
    assert row["state"] == "done" and row["done"] == N and 0 < row["given_up"] <= N
    got = columns(one)
    assert (got["state"] == 2).sum() == row["given_up"]
    key = got["answer"]["keys"][int(numpy.flatnonzero(got["state"] == 2)[0])]
    listed = ctl(one, "annotations", "given-up", "--count", 500).stdout.splitlines()
    assert f"main/{key}  classifier: the model answers no probability" in listed[0] and listed[-1] == f"{row['given_up']} samples given up"
    assert len(ctl(one, "annotations", "given-up", "-n", 1).stdout.splitlines()) == 2
    assert "gave it up (the model answers no probability)" in ctl(one, "annotations", "show", key).stdout
    again = wait(one, annotate(one))  # a given-up sample has a record: it is done only where asked for again
    assert again["total"] == 0


def test_a_model_without_an_answer_takes_nothing_back(served):
    """What an earlier job found stays, with its model, at once and behind a restart; the samples count as done all the same."""
    one = served()
    wait(one, annotate(one))
    before = columns(one)
    row = wait(one, annotate(one, model="fake:nan=0", where={"annotated": "any"}))
    assert (row["state"], row["done"], row["given_up"]) == ("done", N, N)
    for life_is_last in (False, True):
        got = columns(one)
        for name in ("sigma_min", "sigma_max", "min_origin", "state", "evaluations", "model"):
            assert (got[name] == before[name]).all(), name
        if not life_is_last:
            one.process.kill()
            one.process.wait()
            one = served()


def test_a_curve_goes_with_the_record_that_it_was_found_with(served):
    one = served()

    def curve():
        with one.client() as client:
            return client.call(wire.CURVE, {"key": "000003"})["curve"]

    wait(one, annotate(one, curves=True))
    first = curve()
    wait(one, annotate(one, model="fake:nan=0", where={"annotated": "any"}))
    assert curve() == first and len(first["p"]) > 1
    wait(one, annotate(one, model="fake:slow=0", where={"annotated": "any"}))
    assert curve() is None
    one.stop()
    one = served()
    assert curve() is None


def test_a_model_whose_record_is_lost_is_nobody_and_the_next_keeps_its_number(served, tmp_path):
    one = served()
    wait(one, annotate(one, model="fake:slow=0"))
    wait(one, annotate(one, where={"annotated": "any"}))
    lost, kept = columns(one)["answer"]["models"]
    one.stop()
    journal = tmp_path / "state/annotations/main/journal-0000000001"
    data, n = re.subn(b'(?<!")' + lost.encode(), lost[::-1].encode(), journal.read_bytes())  # not what is said of the jobs
    assert n == 1
    journal.write_bytes(data)
    got = columns(served())
    assert got["answer"]["models"] == ["", kept] and (got["model"] == 2).all()


def test_unreadable_pictures_are_counted_and_passed_over(daemon, tmp_path):
    shards = datasets.tar_set(tmp_path / "tars", 40, bad=(3, 17))
    one = daemon(shards, "--state-dir", tmp_path / "state", "--size", 16)
    row = wait(one, annotate(one))
    assert (row["state"], row["unreadable"], row["done"]) == ("done", 2, 40)
    assert (columns(one)["min_origin"] == 3).sum() == 38


def test_bad_requests_say_what_is_allowed(served, daemon, tars):
    one = served()
    for body, message in [
        ({"model": "relative.onnx"}, "absolute path"),
        ({"mode": "sparse"}, "adaptive, dense"),
        ({"grid": [1, 2]}, "lo, hi, n"),
        ({"part": [3, 2]}, "1 <= k <= n"),
        ({"where": {"annotated": "maybe"}}, "no, any"),
        ({"epsilon": 0.7}, "-0.5 and 0.5"),
        ({"modle": "x"}, "unknown key"),
        ({"where": {"source": "web"}}, "there are: main"),
        ({"where": {"key": "x" * 62000}}, "bytes to write down, allowed: 60000"),
        ({"where": {"source": "web"}, "dry_run": True}, "there are: main"),
        ({"kind": "crops"}, "models"),
        ({"kind": "crops", "models": {"8x": "fake:edge"}}, "one path for each of"),
        ({"kind": "crops", "models": {"8": "fake:edge"}, "crop_table": {"08": 1}}, "a sigma for each of"),
        ({"providers": [1]}, "CUDA"),
    ]:
        with pytest.raises(wire.Refused) as refused:
            annotate(one, **body)
        assert refused.value.code == "config" and message in str(refused.value), (body, str(refused.value))
    bare = daemon(tars)
    with pytest.raises(wire.Refused, match="--state-dir"):
        annotate(bare)


@pytest.mark.parametrize("body,message", [
    ({"model": "/nonexistent.onnx"}, "No such file"),
    ({"model": str(ROOT / "README.md")}, "not an ONNX model"),
    ({"model": "fake:what"}, "fake:edge"),
])
def test_model_that_does_not_open_fails_the_job_with_the_reason(served, body, message):
    one = served()
    row = wait(one, annotate(one, **body))
    assert row["state"] == "failed" and message in row["reason"]
    assert wait(one, annotate(one))["state"] == "done"  # nothing is in the way of the next


@pytest.mark.parametrize("how", ["pause", "kill"])
@pytest.mark.parametrize("kind", ["classifier", "crops"])
def test_model_that_is_replaced_under_a_job_fails_it_until_it_is_back(served, tmp_path, kind, how):
    """Also the second of two models for crops, and where a kill comes with the first records."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    options, more = ("--size", 64), {  # on one processor, so that there is time for it on any machine
        "env": {**os.environ, "VIRTUAL_ENV": sys.prefix}, "prefix": ("taskset", "-c", str(min(os.sched_getaffinity(0))))}
    one = served(*options, **more)
    model, other, bytes_before = tmp_path / "m.onnx", tmp_path / "n.onnx", (ROOT / "clients/demo/classifier.onnx").read_bytes()
    model.write_bytes(bytes_before)
    other.write_bytes(bytes_before)
    if kind == "crops":
        with one.client() as client:
            id = client.call(wire.ANNOTATE, {"kind": "crops", "models": {"4": str(other), "8": str(model)}})["job"]["id"]
    else:
        id = annotate(one, model=str(model), mode="dense", trials=1, grid=[0.01, 3, 256])
    end = time.monotonic() + 60
    while job(one, id)["done"] == 0:
        assert time.monotonic() < end
        time.sleep(0.02)
    if how == "pause":
        act(one, id, "pause")
        assert wait(one, id, ("paused", *OVER))["state"] == "paused"
    else:
        one.process.kill()
        one.process.wait()
    model.write_bytes(bytes_before + b"\x32\x01x")  # a doc_string: the same network, other bytes
    if how == "pause":
        act(one, id, "resume")
    else:
        one = served(*options, **more)
    row = wait(one, id)
    assert row["state"] == "failed" and "the model's file has changed" in row["reason"]
    model.write_bytes(bytes_before)
    act(one, id, "resume")
    assert (row := wait(one, id))["state"] == "done" and row["done"] == N
    got = columns(one)
    assert len(got["answer"]["models"]) == 1 and (got["model"] == 1).all()


def test_grid_that_is_replaced_under_a_job_fails_it_until_it_is_back(served, tmp_path):
    """Behind a restart the file is read anew: gone, or with other sigmas, the job is there and says so."""
    grid, sigmas = tmp_path / "sigmas.txt", "\n".join(f"{0.01 * 1.06**i:.9f}" for i in range(100))
    grid.write_text(sigmas)
    one = served()
    id = annotate(one, model="fake:slow=20", mode="dense", trials=1, grid=str(grid), batch=1)
    for text, message in [(None, "No such file"), (sigmas + "\n70", "holds other sigmas than when the job began")]:
        wait(one, id, ("running",))
        one.process.kill()
        one.process.wait()
        grid.unlink()
        if text is not None:
            grid.write_text(text)
        one = served()
        row = wait(one, id)
        assert row["state"] == "failed" and message in row["reason"]
        grid.write_text(sigmas)
        act(one, id, "resume")
    act(one, id, "cancel")
    wait(one, id, ("cancelled",))


def test_missing_library_is_said_with_what_to_install(served, tmp_path):
    environment = {**os.environ, "AMBIENTD_ONNXRUNTIME": "/nonexistent/libonnxruntime.so"}
    model = tmp_path / "m.onnx"
    model.write_bytes(bytes([0x3A, 0x00]))  # a graph without anything in it
    one = served(env=environment)
    row = wait(one, annotate(one, model=str(model)))
    assert row["state"] == "failed" and "AMBIENTD_ONNXRUNTIME" in row["reason"]


def test_cancel_holds_if_the_daemon_ends_before_the_run(served):
    one = served()
    id = annotate(one, model="fake:slow=30000")
    wait(one, id, ("running",))
    act(one, id, "cancel")
    assert job(one, id)["state"] in ("running", "cancelled")  # the latter if it came before the run
    ctl(one, "annotations", "mint")  # written behind it
    one.process.kill()
    one.process.wait()
    assert job(served(), id)["state"] == "cancelled"


def test_dry_run_counts_and_starts_nothing(served):
    one = served()
    with one.client() as client:
        cost = client.call(wire.ANNOTATE, {"model": "fake:edge", "mode": "dense", "dry_run": True})
        assert cost["samples"] == N and cost["evaluations"] == N * 8192 and cost["evaluations_per_s"] > 0
        assert client.call(wire.JOBS, {})["jobs"] == []


def test_dry_run_of_crops_counts_their_patches(served):
    one = served()
    with one.client() as client:
        answer = client.call(wire.ANNOTATE, {"kind": "crops", "models": {"4": "fake:constant=0.6", "8": "fake:constant=nan"}, "dry_run": True})
    assert answer["evaluations"] == N * (16 + 4) and answer["batch"] > 0 and answer["evaluations_per_s"] > 0 and answer["eta_s"] > 0


def test_dense_keeps_whole_curves_and_agrees_with_adaptive(served, tmp_path):
    one = served()
    grid = [0.01, 3, 256]
    wait(one, annotate(one, mode="dense", grid=grid, curves=True, where={"label": 4}))
    got = columns(one)
    mine = numpy.flatnonzero(got["label"] == 4)
    assert (got["evaluations"][mine] == 4 * 256).all()
    with one.client() as client:
        answer = client.call(wire.CURVE, {"index": int(mine[0])})
    sigmas, p = numpy.array(answer["curve"]["sigmas"]), numpy.array(answer["curve"]["p"])
    assert len(sigmas) == 256 and (numpy.diff(sigmas) > 0).all() and p.min() >= 0 and p.max() <= 1
    smooth = [p[0]]
    for value in p[1:]:
        smooth.append(smooth[-1] + 2 / 33 * (value - smooth[-1]))
    first = numpy.flatnonzero(numpy.array(smooth) < 0.55)[0]
    assert numpy.isclose(sigmas[first], got["sigma_min"][mine[0]], rtol=1e-5)
    wait(one, annotate(one, grid=grid, where={"label": 4, "annotated": "any"}))
    again = columns(one)
    assert (again["evaluations"][mine] < 4 * 256).all()
    assert numpy.abs(numpy.log(again["sigma_min"][mine] / got["sigma_min"][mine])).max() < 0.1  # the stand-in has no noise
    ctl(one, "annotations", "show", "000004", "-o", tmp_path / "curve.png")
    ctl(one, "annotations", "grid", "-o", tmp_path / "grid.png", "--rows", 3, "--columns", 4)
    assert (tmp_path / "curve.png").stat().st_size > 10000 and (tmp_path / "grid.png").stat().st_size > 10000


def test_crops_set_sigma_max_and_leave_sigma_min(served):
    one = served()
    wait(one, annotate(one))
    before = columns(one)
    with one.client() as client:
        id = client.call(wire.ANNOTATE, {"kind": "crops", "models": {"4": "fake:constant=0.6", "8": "fake:constant=0.9"}})["job"]["id"]
    row = wait(one, id)
    got = columns(one)
    # P(target) is 0.4 for tiles of 4 and 0.1 for tiles of 8: the largest above 0.25 is 4
    assert row["state"] == "done" and (got["sigma_max"] == numpy.float32(0.05)).all() and (got["max_origin"] == 2).all()
    assert (got["sigma_min"] == before["sigma_min"]).all()
    assert row["evaluations"] == N * (16 + 4)
    ctl(one, "annotate", "--crops", "4=fake:constant=0.6,8=fake:constant=0.9", "--where", "annotated=any", "--follow",
        "--crop-table", "8=0.3,4=0.1", "--crop-threshold", 0.05)
    assert (columns(one)["sigma_max"] == numpy.float32(0.3)).all()


def subscribe(client, **body):
    return client.subscribe(batch_size=16, fields=["x_t", "index", "s_t", "sigma_min"],
                            options={"seed": 5, "policy": "uniform", "gaps": "truncate", "schedule": {"kind": "lognormal", "mean": 0, "std": 1}},
                            **body)


def test_stream_takes_new_annotations_up_and_replays_an_older_state(served):
    """A stream that follows moves at a step that its state names; after a kill -9 and a restart a stream from the state
    before it draws the same bytes again, on annotations rebuilt from the store."""
    one = served()
    with one.client() as client:
        stream = subscribe(client)
        early = stream.take(3)
        wait(one, annotate(one))
        assert one.wait_for(lambda status: status["datasets"]["main"]["annotations"]["generation"] == 2, 60)
        rows, moved = [], None
        while moved is None or len(rows) < moved + 4:
            rows += stream.take(1)
            if rows[-1][0].flags & 1:
                moved = len(rows) - 1
            assert len(rows) < 500
    before, after = rows[moved - 1][0].state if moved else early[-1][0].state, rows[moved][0]
    assert after.state["annotations"] != early[0][0].state["annotations"]
    one.process.kill()
    one.process.wait()
    one = served()
    wait(one, annotate(one, where={"annotated": "any"}, seed=9))  # one more generation behind the one that is asked for
    with one.client() as client:
        stream = subscribe(client, state=early[0][0].state, follow=False)
        for lend, batch in early[1:]:
            got_lend, got = stream.take(1)[0]
            assert got_lend.step == lend.step and (got["x_t"] == batch["x_t"]).all() and (got["index"] == batch["index"]).all()
    with one.client() as client:
        moves = [{"step": after.step, "annotations": after.state["annotations"]}]
        stream = subscribe(client, state=before, follow=False, moves=moves)
        for lend, batch in rows[moved:moved + 4]:
            got_lend, got = stream.take(1)[0]
            assert got_lend.step == lend.step and (got["x_t"] == batch["x_t"]).all()
    assert "generation.recalled" in one.log()


def test_state_of_unknown_annotations_is_refused_with_what_is_gone(served):
    one = served()
    with one.client() as client:
        state = subscribe(client).take(1)[0][0].state
    state["annotations"] = "0" * 31 + "1"
    with one.client() as client, pytest.raises(wire.Refused, match="no annotations with fingerprint") as refused:
        subscribe(client, state=state)
    assert refused.value.code == "not-found"


def test_generation_is_restored_at_restart_and_what_came_later_is_the_next(served):
    one = served()
    wait(one, annotate(one, where={"label": 1}))
    assert one.wait_for(lambda status: status["datasets"]["main"]["annotations"]["generation"] == 2, 60)
    with one.client() as client:
        minted = client.call(wire.GENERATIONS, {})["annotations"][-1]
    # a job that is killed when it has deposited some: they lie behind the generation
    id = annotate(one, model="fake:slow=10", batch=8)
    assert one.wait_for(lambda _: 0 < job(one, id)["done"], 60)
    one.process.kill()
    one.process.wait()
    one = served()
    with one.client() as client:
        rows = client.call(wire.GENERATIONS, {})["annotations"]
    assert any(row["fingerprint"] == minted["fingerprint"] and row["number"] == minted["number"] for row in rows)
    assert rows[-1]["current"] and rows[-1]["number"] == minted["number"] + 1
    act(one, id, "cancel")


def test_export_is_read_back(served, tmp_path):
    one = served()
    wait(one, annotate(one))
    whole = columns(one)
    assert f"{N} lines written" in ctl(one, "annotations", "export", tmp_path / "out.jsonl").stdout
    other = served(state="other")
    ctl(other, "annotations", "import", tmp_path / "out.jsonl")
    got = columns(other)
    assert (got["sigma_min"] == whole["sigma_min"]).all() and (got["sigma_max"] == whole["sigma_max"]).all()
    ctl(one, "annotations", "export", tmp_path / "toolbox.jsonl", "--toolbox")
    lines = [json.loads(line) for line in open(tmp_path / "toolbox.jsonl")]
    assert all(isinstance(line["sigma_min"], float | int) for line in lines)
    assert [line["filename"] for line in lines] == [f"{key}.png" for key in whole["answer"]["keys"]]


def test_watcher_hears_of_progress_until_the_job_ends(served):
    one = served()
    with one.client() as client:
        assert client.call(wire.WATCH, {}) == {}
        id, states = annotate(one, model="fake:slow=2"), []
        while not states or states[-1] not in OVER:
            got = client.read()
            assert got.type == wire.EVENT and got.id == 2
            states += [row["state"] for row in json.loads(got.payload)["jobs"] if row["id"] == id]
    assert states[-1] == "done" and "running" in states


def test_stats_and_status_say_who_is_annotated(served):
    one = served()
    wait(one, annotate(one, where={"label": 1}))
    out = ctl(one, "annotations", "stats", "--by", "label").stdout
    assert "label 1: 12 samples, 12 annotated, 0 not" in out and "label 2: 12 samples, 0 annotated, 12 not" in out
    with one.client() as client:
        groups = client.call(wire.STATS, {"bins": 8})["groups"]
    assert groups[0]["annotated"] == 12 and sum(groups[0]["sigma_min"]["counts"]) + groups[0]["sigma_min"]["zero"] == N
    assert "done" in ctl(one, "jobs").stdout and "12 samples set" in ctl(one, "status").stdout


def test_status_of_a_dataset_tells_its_jobs(daemon, tars, tmp_path):
    datasets_of = {name: {"sources": {"main": {"shards": [str(tars)]}}} for name in ("one", "two")}
    (tmp_path / "c.json").write_text(json.dumps({"socket": str(tmp_path / "d/s"), "state_dir": str(tmp_path / "state"),
                                                 "cache_dir": str(tmp_path / "i"), "datasets": datasets_of}))
    both = daemon("--config", tmp_path / "c.json")
    both.socket = tmp_path / "d/s"
    ids = {name: annotate(both, dataset=name, model="fake:slow=20") for name in datasets_of}
    for id in ids.values():
        act(both, id, "pause")
        wait(both, id, ("paused",))
    assert f"job {ids['one']} paused: dataset one, " in ctl(both, "status").stdout
    out = ctl(both, "status", "--dataset", "two").stdout
    assert f"job {ids['two']} paused: dataset two, " in out and "dataset one" not in out


def test_verify_reports_damage_with_its_place(served, tmp_path):
    one = served()
    wait(one, annotate(one))
    assert "every record is whole" in ctl(one, "annotations", "verify").stdout
    one.stop()
    journal = sorted((tmp_path / "state/annotations/main").glob("journal-*"))[0]
    data = bytearray(journal.read_bytes())
    at = data.rfind(b"job-") // 3
    data[at] ^= 0x40
    journal.write_bytes(data)
    one = served()
    done = ctl(one, "annotations", "verify", check=False)
    assert done.returncode == 1 and "DAMAGED" in done.stdout and "offset" in done.stdout
    done = ctl(one, "annotations", "verify", "--json", check=False)
    assert done.returncode == 1 and json.loads(done.stdout)["damaged"] > 0
    assert "store.damaged" in one.log() and "DAMAGED" in ctl(one, "status").stdout
    row = wait(one, annotate(one))  # what was lost is done again, the rest is served
    assert row["state"] == "done" and (columns(one)["min_origin"] == 3).all()


def test_a_store_that_cannot_be_opened_says_what_to_do(served, tmp_path):
    served().stop()
    manifest = tmp_path / "state/annotations/main/MANIFEST"
    whole = manifest.read_bytes()
    for change, found in ((lambda: manifest.write_bytes(b""), "both copies"), (manifest.unlink, "1 files of a store but no MANIFEST")):
        change()
        with pytest.raises(Died, match=f"{found}.*restore it from a copy, or move the folder away"):
            served()
    manifest.write_bytes(whole)
    served()


@pytest.mark.slow
def test_a_disk_that_takes_nothing_ends_writing_until_a_restart(served):
    """The third sync fails, and none after it is believed: the job ends with what to do, streams go on, nothing is served
    that is not on disk, and the next daemon does all of it."""
    if shutil.which("strace") is None or subprocess.run(["strace", "-qqo", "/dev/null", "true"], check=False).returncode != 0:
        pytest.skip("strace cannot trace here")
    one = served(prefix=("strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=3"))
    for _ in range(2):
        row = wait(one, annotate(one))
        assert row["state"] == "failed" and "Input/output error" in row["reason"] and "restart the daemon" in row["reason"]
    assert "TAKES NOTHING ANY MORE, streams go on: " in ctl(one, "status").stdout
    with one.client() as client:
        assert len(subscribe(client).take(5)) == 5
    assert (columns(one)["min_origin"] == 0).all()
    assert one.stop() == 0
    one = served()
    assert wait(one, 1)["state"] == "done" and (columns(one)["min_origin"] == 3).all()  # it never heard that it had failed


@pytest.fixture
def full(daemon, tars, tmp_path):
    """The state directory on a small file system of its own that is full: a daemon, a job that waits for room, and the ballast."""
    state = tmp_path / "small"
    state.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(state)], capture_output=True).returncode != 0:
        pytest.skip("a small tmpfs cannot be mounted here")
    try:
        one = daemon(tars, "--state-dir", state)
        ballast = state / "ballast"
        with open(ballast, "wb") as file, pytest.raises(OSError):
            while True:
                file.write(bytes(65536))
                file.flush()
        id = annotate(one, curves=True, mode="dense", trials=1, grid=[0.01, 3, 1024])
        row = wait(one, id, (*OVER, "waiting"))
        assert row["state"] == "waiting" and "No space" in row["reason"]
        yield one, id, ballast
        one.stop()
    finally:
        subprocess.run(["umount", "-l", str(state)], check=False)


def test_full_disk_makes_the_job_wait_and_streams_go_on(full):
    one, id, ballast = full
    with one.client() as client:
        assert len(subscribe(client).take(5)) == 5
    ballast.unlink()
    row = wait(one, id)
    assert (row["state"], row["done"]) == ("done", N)
    assert (columns(one)["min_origin"] == 3).all()


def test_what_a_full_disk_did_not_take_of_a_job_is_said_and_written_later(full, daemon, tars):
    """A cancelled job must not come back: until there is room the answer says that a restart would not know of it."""
    one, id, ballast = full
    for priority in range(1000):
        if row := act(one, id, "priority", priority=priority % 7).get("unwritten"):
            break
    assert "No space" in row
    assert "No space" in act(one, id, "cancel")["unwritten"]
    said = ctl(one, "job", "priority", id, "--priority", 3)
    assert "could not be written down (" in said.stderr and "No space" in said.stderr
    ballast.unlink()
    journals = ballast.parent / "annotations/main"
    end = time.monotonic() + 60
    while not any(b'"cancelled"' in path.read_bytes() for path in journals.glob("journal-*")):
        assert time.monotonic() < end
        time.sleep(0.1)
    one.process.kill()
    one.process.wait()
    one = daemon(tars, "--state-dir", ballast.parent)
    assert job(one, id)["state"] == "cancelled"
    one.stop()


@pytest.mark.parametrize("pause", [0, 1.5], ids=["at once", "the examination has ended"])
def test_stop_does_not_wait_for_room(full, daemon, tars, pause):
    """A job waits for the disk, and may have nothing else left to do: a stop takes neither, and the next daemon goes on."""
    one, id, ballast = full
    time.sleep(pause)
    assert one.stop(signal.SIGTERM) == 0 and "stop.forced" not in one.log()
    ballast.unlink()
    other = daemon(tars, "--state-dir", ballast.parent)
    row = wait(other, id)
    assert (row["state"], row["done"]) == ("done", N)
    other.stop()


def test_stop_during_a_job_is_clean_and_the_next_daemon_goes_on(served):
    one = served()
    id = annotate(one, model="fake:slow=5")
    time.sleep(0.5)
    assert one.stop(signal.SIGTERM) == 0
    assert wait(served(), id)["state"] == "done"

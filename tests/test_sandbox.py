"""Decoder processes of the running daemon: the same bytes, deaths that cost a restart, nothing left behind."""

import os
import pathlib
import signal
import subprocess
import time

import pytest

import datasets
import wire
from conftest import BIN
from test_daemon_stream import digest

FIELDS = ["x_t", "x_tn", "x0", "sigma_t", "sigma_min", "label", "index", "key", "seeds", "replaced"]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """240 pictures in four formats and two sizes; some are cut, some are nothing."""
    rows = []
    for i in range(240):
        kind = ("png", "jpg", "webp", "npy")[i % 4]
        size = 24 if i % 3 else 96
        pixels = datasets.picture(i, size)
        data = datasets.npy(pixels) if kind == "npy" else datasets.encode(pixels, kind)
        if i % 31 == 7:
            data = data[: len(data) // 2]
        rows.append((f"{i:06d}", {kind: data, "cls": str(i % 10).encode()}))
    folder = tmp_path_factory.mktemp("mixed")
    datasets.write_tar(folder / "a.tar", rows[:120])
    datasets.write_tar(folder / "b.tar", rows[120:])
    return str(folder / "*.tar")


def children(pid):
    """Processes whose parent is pid."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def locked_in(pid):
    try:
        return "Seccomp:\t2" in pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def stream(one, n, **body):
    with one.client() as client:
        got = client.subscribe(**({"batch_size": 32, "fields": FIELDS, "options": {"seed": 7}} | body))
        return [(lend.state, digest(batch)) for lend, batch in got.take(n)]


@pytest.mark.threads
def test_same_bytes_with_and_without(daemon, mixed):
    """No cache, so every picture is decoded each time; bad samples too, known and unknown."""
    runs = []
    for flag in ("--sandbox", "--no-sandbox"):
        one = daemon(mixed, "--size", 24, "--cache-size", 0, flag)
        runs.append(stream(one, 30))
        status = one.status()
        assert status["sandbox"]["on"] == (flag == "--sandbox")
        assert status["sandbox"]["restarts"] == status["sandbox"]["faults"] == status["sandbox"]["lost"] == 0
        assert status["counters"]["transient"] == 0 and status["counters"]["replaced"] > 0
        with one.client() as client:
            runs[-1].append(sorted((row["key"], row["code"], row["reason"]) for row in client.call(wire.QUARANTINE, {})["rows"]))
    assert runs[0] == runs[1]


def test_a_batch_of_one_row_and_a_warm_cache_too(daemon, mixed):
    on, off = daemon(mixed, "--size", 24), daemon(mixed, "--size", 24, "--no-sandbox")
    assert stream(on, 40, batch_size=1) == stream(off, 40, batch_size=1)
    assert stream(on, 30) == stream(on, 30) == stream(off, 30)


@pytest.mark.threads
def test_kills_cost_nothing_but_restarts(daemon, mixed):
    """kill -9 while a stream runs: the bytes stay, nothing is replaced for it or quarantined.

    With two slots, four of every six batches are filled after the last kill: none meets the same picture twice."""
    off = daemon(mixed, "--size", 24, "--cache-size", 0, "--no-sandbox")
    reference, quarantined = stream(off, 90, slots=2), off.status()["datasets"]["main"]["quarantined"]
    one = daemon(mixed, "--size", 24, "--cache-size", 0)
    with one.client() as client:
        got = client.subscribe(batch_size=32, fields=FIELDS, options={"seed": 7}, slots=2)
        for i, (state, rows) in enumerate(reference):
            [(lend, batch)] = got.take(1)
            assert (lend.state, digest(batch)) == (state, rows)
            if i % 6 == 0:
                for pid in filter(locked_in, children(one.process.pid)):
                    os.kill(pid, signal.SIGKILL)
    status = one.status()
    assert status["sandbox"]["lost"] > 0 and status["sandbox"]["restarts"] > 0
    assert status["sandbox"]["refused"] == status["sandbox"]["faults"] == status["sandbox"]["late"] == 0
    assert status["datasets"]["main"]["quarantined"] == quarantined
    assert one.wait_for(lambda _: "decoder.ended" in one.log())


def test_decoders_are_locked_in(daemon, shards):
    one = daemon(shards, "--workers", 2, "--cache-size", 0)
    stream(one, 8)
    pids = children(one.process.pid)
    assert 1 <= len(pids) <= 2
    for pid in pids:
        status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
        assert status["Name"] == "ambientd-decode"
        assert status["Seccomp"].strip() == "2" and status["NoNewPrivs"].strip() == "1"
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
        try:
            fds = os.listdir(f"/proc/{pid}/fd")
        except PermissionError:
            continue
        assert [fd for fd in fds if fd != "2"] == []  # a sanitizer's process keeps stderr


def test_no_decoder_without_sandbox(daemon, shards):
    one = daemon(shards, "--no-sandbox", "--cache-size", 0)
    stream(one, 4)
    assert children(one.process.pid) == [] and not one.status()["sandbox"]["on"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_decoders_end_with_the_daemon(daemon, shards, signum):
    one = daemon(shards, "--cache-size", 0)
    stream(one, 4)
    pids = children(one.process.pid)
    assert pids
    one.stop(signum)
    end = time.monotonic() + 10
    while any(pathlib.Path(f"/proc/{pid}/stat").exists() and " Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text() for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_signal_to_the_whole_group_is_the_daemons(daemon, shards):
    """As a terminal's ^C does, and systemd's stop: the decoders leave the decision to the daemon."""
    one = daemon(shards, "--cache-size", 0, preexec_fn=os.setpgrp)
    stream(one, 4)
    pids = children(one.process.pid)
    for pid in pids:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, signum)
    stream(one, 4)
    assert one.status()["sandbox"]["lost"] == 0
    os.killpg(one.process.pid, signal.SIGTERM)
    assert one.process.wait(10) == 0


def test_a_daemon_that_cannot_have_its_sandbox_does_not_start(shards, tmp_path):
    """Here no process may be made: the start is refused, and says how to go on without."""

    def one_process():
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))

    done = subprocess.run([BIN, "serve", shards, "--check", "--cache-dir", tmp_path], capture_output=True, text=True, timeout=60, preexec_fn=one_process)
    if "anitizer" in done.stderr:
        pytest.skip("a sanitizer needs more address space than this test leaves")
    assert done.returncode == 1 and "decode.sandbox" in done.stderr and "--no-sandbox" in done.stderr
    done = subprocess.run([BIN, "serve", shards, "--check", "--no-sandbox", "--cache-dir", tmp_path], capture_output=True, text=True, timeout=60, preexec_fn=one_process)
    assert done.returncode == 0, done.stderr


def test_the_worker_argument_is_not_for_people():
    done = subprocess.run([BIN, "--decode-worker"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "decoder processes only" in done.stderr

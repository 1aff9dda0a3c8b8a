"""Life of the daemon: start, second start, stop, what stands in its way; exit codes as `ambientd --help` says."""

import fcntl
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import pytest

import wire
from conftest import BIN, Daemon


def run(*arguments, **options):
    return subprocess.run([BIN, *map(str, arguments)], capture_output=True, text=True, timeout=60, **options)


def test_ready_fd_says_where_it_listens(daemon, shards):
    one = daemon(shards)
    assert one.ready == f"{one.socket}\n"
    assert one.client().welcome["pid"] == one.process.pid


def test_modes_of_the_socket_and_its_folder(daemon, shards, tmp_path):
    folder = tmp_path / "new" / "deep"
    one = daemon(shards)
    two = subprocess.Popen([BIN, "serve", shards, "--socket", folder / "s", "--cache-dir", tmp_path / "i"], stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while not (folder / "s").exists() and time.monotonic() < end:
            time.sleep(0.02)
        assert (folder / "s").stat().st_mode & 0o777 == 0o600
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        two.terminate()
        assert two.wait(10) == 0
    assert one.socket.stat().st_mode & 0o777 == 0o600


def test_socket_group(daemon, shards):
    one = daemon(shards, "--socket-group", "root" if os.getgid() == 0 else os.getgid())
    assert one.socket.stat().st_mode & 0o777 == 0o660


def test_unknown_socket_group(shards, tmp_path):
    done = run("serve", shards, "--socket", tmp_path / "s", "--socket-group", "no-such-group")
    assert done.returncode == 2 and "no-such-group" in done.stderr
    assert not (tmp_path / "s").exists()


def test_second_daemon_on_the_socket_exits_3(daemon, shards):
    one = daemon(shards)
    done = run("serve", shards, "--socket", one.socket)
    assert done.returncode == 3
    assert "already running" in done.stderr and str(one.process.pid) in done.stderr
    assert one.client().call(wire.PING) == {}


def test_second_daemon_on_the_state_exits_3(daemon, shards, tmp_path):
    one = daemon(shards, "--state-dir", tmp_path / "state")
    done = run("serve", shards, "--socket", tmp_path / "other", "--state-dir", tmp_path / "state")
    assert done.returncode == 3 and "already running" in done.stderr and str(one.process.pid) in done.stderr


def test_what_a_killed_daemon_left_is_waited_for(daemon, shards, tmp_path):
    """A child that has not let go of the lock yet, as a decoder that was being started; its daemon is gone."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    with open(tmp_path / "s.lock", "w") as lock:
        lock.write(f"{gone.pid}\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        threading.Timer(0.5, fcntl.flock, (lock, fcntl.LOCK_UN)).start()
        one = daemon(shards, "--socket", tmp_path / "s")
    assert one.client().call(wire.PING) == {}


def test_one_of_many_that_start_at_once_serves(shards, tmp_path):
    many = [subprocess.Popen([BIN, "serve", shards, "--socket", tmp_path / "s", "--cache-dir", tmp_path / "i"], stderr=subprocess.PIPE)
            for _ in range(6)]
    try:
        losers = []
        end = time.monotonic() + 30
        while len(losers) < 5 and time.monotonic() < end:
            losers = [p for p in many if p.poll() is not None]
            time.sleep(0.02)
        assert [p.returncode for p in losers] == [3] * 5
        winner = next(p for p in many if p.poll() is None)
        end = time.monotonic() + 20
        while not (tmp_path / "s").exists() and time.monotonic() < end:
            time.sleep(0.02)
        assert wire.Client(tmp_path / "s").welcome["pid"] == winner.pid
    finally:
        for process in many:
            if process.poll() is None:
                process.terminate()
            process.communicate(timeout=20)


def test_stale_socket_is_replaced(daemon, shards, tmp_path):
    one = daemon(shards)
    one.process.kill()
    one.process.wait()
    assert one.socket.exists()
    two = Daemon(one.socket.parent, shards)
    try:
        assert two.client().call(wire.PING) == {}
    finally:
        assert two.stop() == 0
    assert not one.socket.exists()


def test_what_is_no_socket_is_not_removed(shards, tmp_path):
    (tmp_path / "s").write_text("precious")
    done = run("serve", shards, "--socket", tmp_path / "s")
    assert done.returncode == 1 and "not a socket" in done.stderr
    assert (tmp_path / "s").read_text() == "precious"


def test_stop_leaves_another_daemons_socket(daemon, shards):
    """Whoever was given the path meanwhile keeps it."""
    one = daemon(shards)
    one.socket.unlink()
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(one.socket))
    assert one.stop() == 0
    assert one.socket.exists()


@pytest.mark.parametrize("length, ok", [(106, True), (107, True), (108, False)])
def test_path_length(daemon, shards, tmp_path, length, ok):
    folder = pathlib.Path(f"/tmp/ambientd-test-{os.getpid()}")
    folder.mkdir(exist_ok=True)
    path = str(folder / "x")
    path += "x" * (length - len(path))
    try:
        process = subprocess.Popen([BIN, "serve", shards, "--socket", path, "--cache-dir", tmp_path / "i"], stderr=subprocess.PIPE, text=True)
        if ok:
            end = time.monotonic() + 20
            while not os.path.exists(path) and time.monotonic() < end:
                time.sleep(0.02)
            assert wire.Client(path).call(wire.PING) == {}
            process.terminate()
            process.communicate(timeout=20)
            assert process.returncode == 0
        else:
            _, text = process.communicate(timeout=20)
            assert process.returncode == 2 and "107" in text and "108" in text
    finally:
        for left in folder.iterdir():
            left.unlink()
        folder.rmdir()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_unwritable_folder(shards, tmp_path):
    def nobody():
        os.setgid(65534)
        os.setuid(65534)

    done = run("serve", shards, "--socket", "/proc/nowhere/s", preexec_fn=nobody)
    assert done.returncode == 1 and "/proc/nowhere" in done.stderr


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_stop_is_clean_under_load(daemon, shards, signum):
    one = daemon(shards)
    streams = [one.client().subscribe(batch_size=64, fields=["x_t", "x0"]) for _ in range(3)]
    for stream in streams:
        stream.take(3)
    began = time.monotonic()
    assert one.stop(signum, timeout=6) == 0
    assert time.monotonic() - began < 5
    assert not one.socket.exists()
    for stream in streams:  # what was lent may still be there, then the end or the closed socket
        with pytest.raises((wire.Closed, BrokenPipeError, ConnectionResetError)):
            while stream.next() is not None:
                pass
            assert stream.end["error"]["code"] == "ESHUTDOWN"
            raise wire.Closed
    assert "server.stopped" in one.log()


def test_second_start_uses_the_index(daemon, shards, tmp_path):
    first = daemon(shards, "--state-dir", tmp_path / "state")
    assert "indexed=3 cached=0" in first.log()
    assert first.stop() == 0
    second = daemon(shards, "--state-dir", tmp_path / "state")
    assert "indexed=" in second.log()


def test_parent_death_stops_it(shards, tmp_path):
    """The daemon's parent is a shell that is killed."""
    script = f"'{BIN}' serve '{shards}' --socket '{tmp_path}/s' --cache-dir '{tmp_path}/i' --parent-death 2>'{tmp_path}/log' & echo $!; wait"
    shell = subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, text=True)
    pid = int(shell.stdout.readline())
    end = time.monotonic() + 20
    while not (tmp_path / "s").exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert (tmp_path / "s").exists(), (tmp_path / "log").read_text()
    shell.kill()
    shell.wait()
    end = time.monotonic() + 10
    while "server.stopped" not in (tmp_path / "log").read_text() and time.monotonic() < end:
        time.sleep(0.05)
    assert "server.stopped" in (tmp_path / "log").read_text()
    assert not (tmp_path / "s").exists()
    while os.path.exists(f"/proc/{pid}/cmdline") and time.monotonic() < end:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{pid}/exe") or not os.readlink(f"/proc/{pid}/exe").endswith("ambientd")


def test_notify_protocol(shards, tmp_path):
    """READY=1, WATCHDOG=1 and STOPPING=1 on a socket of ours."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.settimeout(10)
    env = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    one = Daemon(tmp_path / "d", shards, env=env)
    try:
        assert listener.recv(100) == b"READY=1"
        assert listener.recv(100) == b"WATCHDOG=1"
        assert listener.recv(100) == b"WATCHDOG=1"
    finally:
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(10) == 0
    rest = b""
    while b"STOPPING=1" not in rest:
        rest += listener.recv(100)


def test_hup_reads_annotations_again(daemon, shards, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"filename": "000000.png", "sigma_min": 0.5}\n')
    one = daemon(shards, "--annotations", path)
    before = one.status()["datasets"]["main"]["annotations"]
    path.write_text('{"filename": "000001.png", "sigma_min": 0.25}\n')
    one.process.send_signal(signal.SIGHUP)
    after = one.wait_for(lambda s: s["datasets"]["main"]["annotations"] if s["datasets"]["main"]["annotations"]["generation"] == 2 else None)
    assert after["set"] == 1 and after["fingerprint"] != before["fingerprint"]
    with one.client() as client:
        assert client.call(wire.SAMPLE, {"key": "000001"})["annotation"]["sigma_min"] == 0.25
        assert client.call(wire.SAMPLE, {"key": "000000"})["annotation"]["sigma_min_origin"] == "default"
    # a bad file changes nothing
    path.write_text("not json\n")
    one.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 10
    while "reload.refused" not in one.log() and time.monotonic() < end:
        time.sleep(0.02)
    assert "line 1" in one.log()
    assert one.status()["datasets"]["main"]["annotations"]["fingerprint"] == after["fingerprint"]


@pytest.mark.parametrize("arguments, words", [
    (["serve", "--sise", "3"], ["--sise", "--size"]),
    (["serve", "x", "--size"], ["--size", "value"]),
    (["serve", "x", "--size", "12x"], ["12x"]),
    (["serve"], ["PATTERN"]),
    (["serv", "x"], ["serve"]),
    (["serve", "x", "--workers", "many"], ["many"]),
    (["serve", "x", "--workers", "-1"], ["workers", "1024"]),
    (["serve", "x", "--cache-size", "2Q"], ["2Q"]),
    (["serve", "x", "--log-level", "inf"], ["info"]),
    (["serve", "x", "--default-annotation", "everywear"], ["everywear", "everywhere"]),
    (["serve", "x", "--transform", "squash"], ["squash", "size"]),
    (["--config", "/nonexistent.json"], ["/nonexistent.json"]),
    (["--config", "a.json", "serve", "--size", "3"], ["--config"]),
])
def test_usage_errors_exit_2(arguments, words):
    done = run(*arguments)
    assert done.returncode == 2, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


@pytest.mark.parametrize("text, words", [
    ('{"datasets": {,}}', ["line 1"]),
    ('{"datasets": {}}', ["datasets"]),
    ('{"datasets": {"a": {"sources": {"m": {"shards": ["x"]}}, "imagee": {}}}}', ["datasets.a", "imagee", "image"]),
    ('{"datasets": {"a": {"sources": {"m": {"shards": ["x"], "repeat": 0}}}}}', ["datasets.a.sources.m.repeat", "0"]),
    ('{"datasets": {"a": {"sources": {"m": {"shards": ["x"], "repeat": true}}}}}', ["datasets.a.sources.m.repeat"]),
    ('{"datasets": {"a": {"sources": {"m": {"shards": []}}}}}', ["datasets.a.sources.m.shards"]),
    ('{"datasets": {"a": {"sources": {"m/n": {"shards": ["x"]}}}}}', ["m/n"]),
    ('{"limits": {"hello_ms": 0}, "datasets": {"a": {"sources": {"m": {"shards": ["x"]}}}}}', ["limits.hello_ms", "0"]),
    ('{"datasets": {"a": {"sources": {"m": {"shards": ["x"]}}, "annotations": [{"improt": "x"}]}}}', ["annotations[0]", "import"]),
    ('{"datasets": {"a": {"sources": {"m": {"shards": ["x"]}}, "annotations": [{"fixed": [{"label": 1}]}]}}}', ["fixed[0]", "sigma_min"]),
])
def test_configuration_errors_exit_2(tmp_path, text, words):
    (tmp_path / "c.json").write_text(text)
    done = run("--config", tmp_path / "c.json")
    assert done.returncode == 2, done.stderr
    assert all(word in done.stderr for word in [*words, "c.json"]), done.stderr


def test_printed_configuration_is_the_command_line(daemon, shards, tmp_path):
    """serve --print-config, run from that file, is the same dataset: equal fingerprints."""
    arguments = [shards, "--repeat", "2.5", "--size", "8", "--noise-seed", "18446744073709551615", "--exclude", "main/000003"]
    printed = run("serve", *arguments, "--print-config")
    assert printed.returncode == 0
    config = json.loads(printed.stdout)
    config["socket"] = str(tmp_path / "sock")
    config["cache_dir"] = str(tmp_path / "index")
    (tmp_path / "c.json").write_text(json.dumps(config))
    checked = run("--config", tmp_path / "c.json", "--check")
    assert checked.returncode == 0 and "299 samples" in checked.stdout and "3 x 8 x 8" in checked.stdout
    one = daemon(*arguments)
    assert one.status()["datasets"]["main"]["fingerprint"] in checked.stdout


@pytest.mark.parametrize("arguments", [["serve", "x.tar", "--print-config"], ["--help"], ["--help-config"], ["--version"]])
def test_output_that_cannot_be_written_is_told(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run([BIN, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1 and "cannot write standard output: No space left on device" in done.stderr


def test_a_check_leaves_the_state_directory_alone(daemon, shards, tmp_path):
    """Beside the daemon that has it, and where there is none yet: nothing is written there but indexes."""
    arguments = [shards, "--state-dir", tmp_path / "state", "--cache-dir", tmp_path / "index"]
    assert "300 samples" in run("serve", *arguments, "--check").stdout
    assert not (tmp_path / "state").exists()
    daemon(shards, "--state-dir", tmp_path / "state")
    checked = run("serve", *arguments, "--exclude", "main/000003", "--check")
    assert checked.returncode == 0 and "299 samples" in checked.stdout, checked.stderr
    assert len(list((tmp_path / "state/editions/main").glob("*.json"))) == 1


def test_a_daemon_without_standard_files_opens_nothing_in_their_place(daemon, shards, tmp_path):
    """Else its log would go into a shard, a socket or the store."""
    one = daemon(shards, "--state-dir", tmp_path / "state", preexec_fn=lambda: [os.close(fd) for fd in range(3)])
    assert {os.readlink(f"/proc/{one.process.pid}/fd/{fd}") for fd in range(3)} == {"/dev/null"}
    with one.client() as client:
        assert client.subscribe(batch_size=4, fields=["index"]).take(3)


def test_help_lists_every_option_and_key():
    text = run("--help").stdout
    for word in ["--annotations", "--source", "--ready-fd", "EXIT STATUS", "SIGHUP"]:
        assert word in text
    text = run("--help-config").stdout
    for word in ["shards", "skip_bad_shards", "hello_ms", "out_queue_bytes", "noise_seed", "cache_bytes"]:
        assert f'"{word}"' in text
    assert run("--version").stdout.startswith("ambientd ")


def test_sources_of_the_command_line(daemon, shards):
    one = daemon(shards, "--source", shards, "--repeat", "3", "--default-annotation", "0.5,0")
    sources = one.status()["datasets"]["main"]["sources"]
    assert [(s["name"], s["samples"], s["repeat"]) for s in sources] == [("main", 300, 1), ("main2", 300, 3)]
    with one.client() as client:
        got = client.call(wire.SAMPLE, {"key": "main2/000005"})
        assert got["index"] == 305 and got["annotation"]["sigma_min"] == 0.5
        coverage = client.call(wire.COVERAGE, {"sigmas": [0.1, 1]})
        assert coverage["admitted"] == [300, 600] and coverage["by_source"]["main2"] == [0, 300]


def test_fixed_and_score_annotations(daemon, tmp_path):
    import datasets
    rows = [datasets.sample(i, **{"json": json.dumps({"quality": i}).encode()}) for i in range(10)]
    path = datasets.write_tar(tmp_path / "a.tar", rows)
    config = {"socket": str(tmp_path / "d" / "s"), "cache_dir": str(tmp_path / "i"), "datasets": {"main": {
        "sources": {"main": {"shards": [str(path)]}},
        "annotations": [{"score": {"key": "quality", "quantiles": [[0, "inf"], [0.5, 0.7], [0.9, 0]]}},
                        {"fixed": [{"key": "00000[01]", "sigma_min": 2, "sigma_max": 0.1}, {"label": 9, "sigma_min": 3}]}]}}}
    (tmp_path / "c.json").write_text(json.dumps(config))
    one = daemon("--config", tmp_path / "c.json")
    one.socket = tmp_path / "d" / "s"
    with one.client() as client:
        values = [client.call(wire.SAMPLE, {"index": i})["annotation"] for i in range(10)]
    assert [v["sigma_min"] for v in values] == [2, 2, "inf", "inf", "inf", *[pytest.approx(0.7)] * 4, 3]
    assert values[0]["sigma_max"] == pytest.approx(0.1) and values[9]["sigma_min_origin"] == "fixed"


def scored(daemon, tmp_path, score, n):
    """Annotations of n samples under this score, and what the daemon reports of it."""
    import datasets
    path = datasets.write_tar(tmp_path / "a.tar", [datasets.sample(i) for i in range(n)])
    config = {"socket": str(tmp_path / "d" / "s"), "cache_dir": str(tmp_path / "i"), "datasets": {"main": {
        "sources": {"main": {"shards": [str(path)]}}, "annotations": [{"score": score}]}}}
    (tmp_path / "c.json").write_text(json.dumps(config))
    one = daemon("--config", tmp_path / "c.json")
    one.socket = tmp_path / "d" / "s"
    with one.client() as client:
        values = [client.call(wire.SAMPLE, {"index": i})["annotation"] for i in range(n)]
    return values, "\n".join(one.status()["datasets"]["main"]["annotations"]["reports"])


def test_score_is_read_from_a_file_and_sets_both_sides(daemon, tmp_path):
    """Shares are of the scored samples; equal scores have equal shares, and what is no number is no score."""
    scores = [1, 1, 2, 2, 5, "5", None, float("nan"), {"a": 3}]  # then one without a line
    lines = [json.dumps({"filename": f"some/where/{i:06d}.png", "quality": score, "sigma_min": "means nothing here"})
             for i, score in enumerate(scores)]
    lines += [json.dumps({"filename": "nobody.png", "quality": 0}), json.dumps({"index": 4, "quality": 9})]
    (tmp_path / "scores.jsonl").write_text("\n".join(lines) + "\n")
    values, reports = scored(daemon, tmp_path, {"key": "quality", "file": str(tmp_path / "scores.jsonl"),
                                                "quantiles": [[0, 2.0, 0.125], [0.4, None, 0.25], [0.8, 0, "inf"]]}, 10)
    assert [(v["sigma_min"], v["sigma_max"]) for v in values] == [
        *[(2, 0.125)] * 2, *[("inf", 0.25)] * 2, (0, "inf"), *[(0, "inf")] * 5]
    assert [v["sigma_max_origin"] for v in values] == [*["score"] * 5, *["default"] * 5]
    assert "unmatched (line 10: 'nobody.png')" in reports and "5 of 10 samples have the field 'quality'" in reports


@pytest.mark.parametrize("change, word", [
    ({"quantiles": [[0, 1], [1.5, 2]]}, "row 1"), ({"quantiles": [[0, 1, 2, 3]]}, "row 0"), ({"quantiles": [[0, None]]}, "row 0"),
    ({"quantiles": [[0.5, 1], [0.5, 2]]}, "rising"), ({"quantiles": [[0, -1]]}, "row 0"), ({"table": [[0, 1]]}, "either"),
    ({"quantiles": []}, "no rows"), ({"file": "/nowhere/scores.jsonl"}, "/nowhere/scores.jsonl"), ({"fiel": "x"}, "fiel")])
def test_score_that_cannot_be_meant_is_refused(tmp_path, change, word):
    import datasets
    path = datasets.write_tar(tmp_path / "a.tar", [datasets.sample(0)])
    (tmp_path / "c.json").write_text(json.dumps({"socket": str(tmp_path / "s"), "datasets": {"main": {
        "sources": {"main": {"shards": [str(path)]}},
        "annotations": [{"score": {"key": "quality", "quantiles": [[0, 1]]} | change}]}}}))
    done = subprocess.run([BIN, "serve", "--config", tmp_path / "c.json", "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and word in done.stdout + done.stderr

"""ambientd as a service: inherited sockets, notifications, reloads in a storm, kills at bad moments, clocks, the unit."""

import itertools
import json
import os
import pathlib
import queue
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

import ambientd
import datasets
import wire
from conftest import BIN, ROOT, Daemon, sanitized

pytestmark = pytest.mark.slow  # many starts and waits; what the daemon does in them is covered elsewhere under sanitizers

UNITS = ROOT / "daemon/systemd"
SANITIZED = sanitized()
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@pytest.fixture(autouse=True)
def shared_memory_is_left_alone():
    before = sorted(os.listdir("/dev/shm"))
    yield
    assert sorted(os.listdir("/dev/shm")) == before


def need(program):
    found = shutil.which(program, path=PATH)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def wait_until(what, timeout=20.0):
    end = time.monotonic() + timeout
    while not what():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def run(*arguments, **options):
    return subprocess.run([BIN, *map(str, arguments)], capture_output=True, text=True, timeout=60, **options)


def config(path, shards, **keys):
    dataset = {"sources": {"main": {"shards": [str(shards)]}}, "annotations": keys.pop("annotations", [])}
    path.write_text(json.dumps({"cache_dir": str(path.parent / "index"), "datasets": {"main": dataset}, **keys}))
    return path


@pytest.fixture
def long_names(tmp_path):
    """A hundred pictures whose names keep fnmatch busy: all a, for a pattern of half as many and a b."""
    return datasets.write_tar(tmp_path / "long.tar", [("a" * 3900 + f"{i:03d}", datasets.sample(i)[1]) for i in range(100)])


def busy(halves):
    """Annotations that take about half a second each with `long_names`."""
    return [{"fixed": [{"key": "*" + "a" * 2000 + "b", "sigma_min": 0.5}] * halves}]


# -- inherited sockets -----------------------------------------------------------------------------------------


class Activated:
    """A daemon started as by a .socket unit: `sockets` become descriptors 3, 4, ..."""

    def __init__(self, folder, sockets, *arguments, names=None, pid=None, count=None, **environment):
        folder.mkdir(exist_ok=True)
        self.log_path = folder / "log"
        fds = [s.fileno() for s in sockets]
        moved = 100  # above whatever is open, so that no dup2 hits one that is still to be moved

        def prepare():
            for i, fd in enumerate(fds):
                os.dup2(fd, moved + i)
            for i in range(len(fds)):
                os.dup2(moved + i, 3 + i, inheritable=True)
                os.close(moved + i)
            os.environ["LISTEN_PID"] = str(os.getpid() if pid is None else pid)
            os.execvpe(BIN, [BIN, *map(str, arguments)], os.environ)

        env = {**environment, "LISTEN_FDS": str(len(fds) if count is None else count)}
        if names is not None:
            env["LISTEN_FDNAMES"] = names
        child = os.fork()
        if child == 0:
            try:
                log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(log, 1)
                os.dup2(log, 2)
                os.environ.update(env)
                prepare()
            finally:
                os._exit(127)
        self.pid, self.status = child, None

    def log(self):
        return self.log_path.read_text() if self.log_path.exists() else ""

    def wait(self, timeout=20.0):
        end = time.monotonic() + timeout
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            assert time.monotonic() < end, self.log()
            time.sleep(0.01)
        return self.status

    def stop(self, signum=signal.SIGTERM):
        if self.status is None:
            os.kill(self.pid, signum)
        return self.wait()


@pytest.fixture
def activated(tmp_path, shards):
    many = []

    def start(sockets, *arguments, **options):
        arguments = arguments or ("serve", shards, "--cache-dir", tmp_path / "index")
        many.append(Activated(tmp_path / f"activated{len(many)}", sockets, *arguments, **options))
        return many[-1]

    yield start
    for one in many:
        if one.status is None:
            one.stop(signal.SIGKILL)


def listening(path, mode=0o660):
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    one.bind(str(path))
    os.chmod(path, mode)
    one.listen(16)
    return one


def test_an_inherited_socket_is_served_and_stays(activated, tmp_path):
    """Whoever connected before the daemon ran is served; mode and path stay as they were, also after the stop."""
    held = listening(tmp_path / "s", 0o640)
    early = wire.Client(tmp_path / "s", hello=False)
    early.send(wire.frame(wire.HELLO, b'{"min":1,"max":1}', id=1))
    one = activated([held])
    assert json.loads(early.read().payload)["pid"] == one.pid
    assert "socket.inherited fd=3" in one.log()
    assert one.stop() == 0
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o640
    waiting = wire.Client(tmp_path / "s", hello=False)  # the socket still takes connections, with no daemon
    waiting.send(wire.frame(wire.HELLO, b'{"min":1,"max":1}', id=1))
    two = activated([held])
    assert json.loads(waiting.read().payload)["pid"] == two.pid
    assert two.stop() == 0


def test_several_inherited_sockets_are_all_served(activated, tmp_path):
    held = [listening(tmp_path / name) for name in ("a", "b", "c")]
    one = activated(held, names="trainers:dashboard:")
    for name in ("a", "b", "c"):
        with wire.Client(tmp_path / name) as client:
            assert client.welcome["pid"] == one.pid
            assert client.call(wire.STATUS, {})["server"]["socket"] == str(tmp_path / "a")
    assert 'fd=4 name="dashboard"' in one.log() and 'fd=5 name=""' in one.log()
    assert one.stop() == 0 and all((tmp_path / name).exists() for name in "abc")


def test_a_restart_behind_an_inherited_socket_refuses_nobody(activated, tmp_path, shards):
    """Trainers reconnect while no daemon runs: they wait in the socket's queue instead of being refused."""
    held = listening(tmp_path / "s")
    one = activated([held])
    whole = [batch.x_t.tobytes() for batch in ambientd.Loader(str(tmp_path / "s"), 32, ["x_t"], steps=40)]
    rows = []
    for batch in ambientd.Loader(str(tmp_path / "s"), 32, ["x_t"], steps=40):
        rows.append(batch.x_t.tobytes())
        if batch.step in (8, 20):
            assert one.stop(signal.SIGTERM if batch.step == 8 else signal.SIGKILL) in (0, -signal.SIGKILL)
            one = activated([held])
    assert rows == whole


def test_listen_fds_for_another_process_are_not_ours(activated, tmp_path, shards):
    held = listening(tmp_path / "s")
    one = activated([held], "serve", shards, "--socket", tmp_path / "own", "--cache-dir", tmp_path / "i", pid=1)
    wait_until(lambda: (tmp_path / "own").exists())
    assert wire.Client(tmp_path / "own").welcome["pid"] == one.pid
    assert one.stop() == 0 and not (tmp_path / "own").exists() and (tmp_path / "s").exists()


def abstract():
    one = socket.socket(socket.AF_UNIX)
    one.bind(f"\0ambientd-test-{os.getpid()}")
    one.listen(4)
    return one


def unbound():
    return socket.socket(socket.AF_UNIX)


def internet():
    one = socket.socket(socket.AF_INET)
    one.bind(("127.0.0.1", 0))
    one.listen(4)
    return one


def datagram(path):
    one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.bind(str(path))
    return one


def silent(path):
    one = socket.socket(socket.AF_UNIX)
    one.bind(str(path))
    return one


@pytest.mark.parametrize("make", [abstract, unbound, internet, "datagram", "silent", "file"])
def test_what_is_no_listening_socket_with_a_path_exits_2(activated, tmp_path, make):
    makers = {"datagram": lambda: datagram(tmp_path / "d"), "silent": lambda: silent(tmp_path / "d"),
              "file": lambda: open(tmp_path / "f", "w")}
    other = makers.get(make, make)()
    one = activated([listening(tmp_path / "s"), other], names="good:bad")
    assert one.wait() == 2
    assert "descriptor 4 ('bad') is no listening Unix stream socket" in one.log() and "ListenStream=" in one.log()
    assert (tmp_path / "s").exists()


@pytest.mark.parametrize("count", ["0", "9", "-1", "x", ""])
def test_a_wrong_number_of_sockets_exits_2(activated, tmp_path, count):
    one = activated([listening(tmp_path / "s")], count=count)
    assert one.wait() == 2 and "allowed: 1 to 8 sockets" in one.log()


def test_two_daemons_on_an_inherited_socket_are_one(activated, tmp_path, shards):
    held = listening(tmp_path / "s")
    one = activated([held])
    assert wire.Client(tmp_path / "s").welcome["pid"] == one.pid
    assert activated([held]).wait() == 3
    done = run("serve", shards, "--socket", tmp_path / "s")
    assert done.returncode == 3 and str(one.pid) in done.stderr
    assert one.stop() == 0


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_an_inherited_socket_in_a_closed_folder(tmp_path, shards):
    """As under DynamicUser=: the folder is root's, so there can be no lock file, and nobody of our uid can replace it."""
    import tempfile
    folder = pathlib.Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        folder.chmod(0o755)
        data = datasets.tar_set(folder / "data", 20)
        held = listening(folder / "s", 0o666)
        program = folder / "ambientd"
        shutil.copy(BIN, program)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgid(65534)
                os.setuid(65534)
                os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
                os.dup2(write, 2)
                os.dup2(held.fileno(), 3, inheritable=True)
                env = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "XDG_CACHE_HOME": "/nonexistent"}
                os.execve(program, [str(program), "serve", data], env)
            finally:
                os._exit(127)
        os.close(write)
        with wire.Client(folder / "s") as client:
            assert client.welcome["pid"] == child
            client.subscribe(batch_size=4, fields=["x_t"]).take(3)
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, os.read(read, 5000)
        assert sorted(path.name for path in folder.iterdir()) == ["ambientd", "data", "s"]
    finally:
        shutil.rmtree(folder)


# -- directories of the service ---------------------------------------------------------------------------------


def test_state_and_runtime_directory_are_defaults(tmp_path, shards):
    env = {**os.environ, "STATE_DIRECTORY": f"{tmp_path}/state:{tmp_path}/other", "RUNTIME_DIRECTORY": f"{tmp_path}/run:{tmp_path}/x",
           "XDG_RUNTIME_DIR": f"{tmp_path}/xdg"}
    os.mkdir(tmp_path / "run")
    one = subprocess.Popen([BIN, "serve", shards], env=env, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: (tmp_path / "run/ambientd.sock").exists())
        assert (tmp_path / "state/lock").exists() and list((tmp_path / "state/index").iterdir())
        assert not (tmp_path / "other").exists() and not (tmp_path / "xdg").exists()
        two = run("serve", shards, "--socket", tmp_path / "s", env=env)
        assert two.returncode == 3 and "state" in two.stderr
        three = subprocess.Popen([BIN, "serve", shards, "--socket", tmp_path / "s", "--state-dir", tmp_path / "mine"], env=env,
                                 stderr=subprocess.DEVNULL)
        wait_until(lambda: (tmp_path / "s").exists())
        three.terminate()
        assert three.wait(10) == 0 and (tmp_path / "mine/lock").exists()
    finally:
        one.terminate()
        one.communicate(timeout=10)
    assert one.returncode == 0


@pytest.mark.skipif(os.getuid() != 0, reason="needs root for another group")
def test_a_group_can_reach_the_socket_through_a_new_folder(tmp_path, shards):
    one = subprocess.Popen([BIN, "serve", shards, "--socket", tmp_path / "new" / "s", "--socket-group", "daemon", "--cache-dir",
                            tmp_path / "i"], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: (tmp_path / "new/s").exists() and (tmp_path / "new/s").stat().st_mode & 0o777 == 0o660)
        wait_until(lambda: (tmp_path / "new").stat().st_mode & 0o777 == 0o710)
        assert (tmp_path / "new").stat().st_gid == (tmp_path / "new/s").stat().st_gid != 0
    finally:
        one.terminate()
        assert one.wait(10) == 0


# -- kills at bad moments ----------------------------------------------------------------------------------------


def test_kill_between_bind_and_listen(tmp_path, shards):
    """strace kills it on its way into listen(2): a socket that nobody listens on is left, and replaced."""
    strace = need("strace")
    folder = tmp_path / "d"
    folder.mkdir()
    done = subprocess.run([strace, "-f", "-qq", "-e", "trace=listen", "-e", "inject=listen:signal=KILL", BIN, "serve", shards, "--socket",
                           folder / "s", "--cache-dir", folder / "index"], capture_output=True, timeout=60)
    if done.returncode != -signal.SIGKILL:
        pytest.skip(f"strace cannot inject here: {done.stderr[-200:]!r}")
    assert (folder / "s").is_socket()
    with pytest.raises(ConnectionRefusedError):
        wire.Client(folder / "s")
    one = Daemon(folder, shards)
    assert one.client().welcome["pid"] == one.process.pid
    assert one.stop() == 0 and not (folder / "s").exists()


def test_kills_at_any_moment_of_the_start_leave_nothing_in_the_way(tmp_path, shards):
    rng = random.Random(20)
    folder = tmp_path / "d"
    folder.mkdir()
    for _ in range(40):
        one = subprocess.Popen([BIN, "serve", shards, "--socket", folder / "s", "--state-dir", folder / "state"], stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0, 0.006))
        one.kill()
        one.wait()
    last = Daemon(folder, shards, "--state-dir", folder / "state")
    assert last.client().call(wire.PING) == {}
    assert last.stop() == 0


@pytest.fixture
def launch(tmp_path):
    """launch(config): a daemon that the test need not wait for, its log in tmp_path; killed behind the test if it still runs."""
    def start(path):
        with open(tmp_path / "log", "wb") as log:
            started.append(subprocess.Popen([BIN, "--config", path], stderr=log))
        return started[-1]

    started = []
    yield start
    for one in started:
        if one.poll() is None:
            one.kill()
            one.wait()


@pytest.fixture
def starting(launch, tmp_path, long_names):
    """A daemon whose start takes as many half seconds as it is told."""
    def start(halves):
        one = launch(config(tmp_path / "c.json", long_names, annotations=busy(halves), socket=str(tmp_path / "s")))
        wait_until(lambda: (tmp_path / "s.lock").exists())
        time.sleep(0.1)
        return one

    return start


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_it_serves_ends_it(starting, tmp_path, shards, signum):
    one = starting(halves=600)
    assert one.poll() is None, (tmp_path / "log").read_text()
    one.send_signal(signum)
    assert one.wait(10) == -signum
    one = Daemon(tmp_path / "next", shards, "--state-dir", tmp_path / "state")
    assert one.stop() == 0


def test_a_hangup_before_it_serves_waits(starting, tmp_path):
    one = starting(halves=4)
    one.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert one.poll() is None and not (tmp_path / "s").exists()
    wait_until(lambda: (tmp_path / "s").exists())
    wait_until(lambda: "reload.done" in (tmp_path / "log").read_text())
    one.terminate()
    assert one.wait(10) == 0


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give a socket away")
def test_a_socket_of_somebody_else_is_not_removed(tmp_path, shards):
    left = silent(tmp_path / "s")
    os.chown(tmp_path / "s", 65534, 65534)
    done = run("serve", shards, "--socket", tmp_path / "s")
    assert done.returncode == 1 and "not a socket of uid 0" in done.stderr and (tmp_path / "s").exists()
    left.close()


def test_a_lock_that_is_a_link_is_refused(tmp_path, shards):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "s.lock").symlink_to(tmp_path / "victim")
    done = run("serve", shards, "--socket", tmp_path / "s")
    assert done.returncode == 1 and "s.lock" in done.stderr and (tmp_path / "victim").read_text() == "precious"


def test_a_lock_that_a_dead_daemon_left_is_no_lock(tmp_path, shards):
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "s.lock").write_text("1\n")
    one = Daemon(folder, shards)
    assert (folder / "s.lock").read_text() == f"{one.process.pid}\n"
    assert one.stop() == 0 and (folder / "s.lock").exists()


# -- the stop ------------------------------------------------------------------------------------------------------


@pytest.fixture
def hanging(launch, tmp_path, long_names):
    """A daemon that reads annotations of five minutes in a reload: a stop cannot end by itself."""
    def start(**limits):
        keys = {"socket": str(tmp_path / "s"), "limits": limits}
        one = launch(config(tmp_path / "c.json", long_names, **keys))
        wait_until(lambda: (tmp_path / "s").exists())
        config(tmp_path / "c.json", long_names, annotations=busy(halves=600), **keys)
        one.send_signal(signal.SIGHUP)
        with wire.Client(tmp_path / "s") as client:
            wait_until(lambda: client.call(wire.STATUS, {})["reload"] is not None)
        time.sleep(0.3)
        return one

    return start


def test_a_second_signal_leaves_at_once(hanging, tmp_path):
    one = hanging(stop_ms=600000)
    one.terminate()
    wait_until(lambda: "server.stopping" in (tmp_path / "log").read_text())
    time.sleep(0.2)
    assert one.poll() is None and not (tmp_path / "s").exists()  # the door is closed at once
    one.terminate()
    assert one.wait(10) == 0
    assert 'stop.forced reason="second signal"' in (tmp_path / "log").read_text()


def test_a_stop_has_a_deadline(hanging, tmp_path):
    one = hanging(stop_ms=300)
    one.terminate()
    assert one.wait(10) == 0
    log = (tmp_path / "log").read_text()
    assert "stop.forced after_ms=300" in log or "server.stopped" in log


def test_a_stop_that_needs_no_force_says_so(daemon, shards):
    one = daemon(shards)
    assert one.stop() == 0
    assert "server.stopped" in one.log() and "forced" not in one.log()


# -- notifications and reloads -------------------------------------------------------------------------------------


class Manager:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.messages, self.come = [], queue.Queue()
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self):
        while True:  # the kernel queues no more than ten
            self.come.put(self.socket.recv(4096).decode())

    def read(self, timeout=10.0):
        self.messages.append(self.come.get(timeout=timeout))
        return self.messages[-1]

    def drain(self):
        try:
            while True:
                self.read(0.2)
        except queue.Empty:
            return self.messages


def test_notifications_reach_an_abstract_socket(tmp_path, shards):
    name = f"ambientd-test-{os.getpid()}"
    manager = Manager("\0" + name)
    one = Daemon(tmp_path / "d", shards, env={**os.environ, "NOTIFY_SOCKET": "@" + name})
    assert manager.read() == "READY=1"
    assert one.stop() == 0
    assert "STOPPING=1" in manager.drain()


@pytest.mark.parametrize("address", ["", "relative", "/nonexistent/notify", "/" + "x" * 200])
def test_a_bad_notify_socket_is_no_error(tmp_path, shards, address):
    one = Daemon(tmp_path / "d", shards, env={**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"})
    assert one.client().call(wire.PING) == {} and one.stop() == 0


@pytest.mark.parametrize("usec, pid", [("junk", None), ("0", None), ("200000", "1")])
def test_no_watchdog_where_none_is_asked_for(tmp_path, shards, usec, pid):
    manager = Manager(str(tmp_path / "n"))
    env = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": usec}
    if pid is not None:
        env["WATCHDOG_PID"] = pid
    one = Daemon(tmp_path / "d", shards, env=env)
    time.sleep(0.5)
    assert one.stop() == 0
    assert manager.drain() == ["READY=1", "STOPPING=1"]


def test_the_watchdog_is_fed_under_load(tmp_path, shards):
    manager = Manager(str(tmp_path / "n"))
    one = Daemon(tmp_path / "d", shards, env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "300000"})
    stream = one.client().subscribe(batch_size=64, fields=["x_t"])
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        stream.take(5)
    assert one.stop() == 0
    assert manager.drain().count("WATCHDOG=1") >= 3


def test_a_stopped_loop_does_not_feed_the_watchdog(tmp_path, shards):
    manager = Manager(str(tmp_path / "n"))
    one = Daemon(tmp_path / "d", shards, env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "200000"})
    manager.read(), manager.read()
    one.process.send_signal(signal.SIGSTOP)
    manager.drain()
    with pytest.raises(queue.Empty):
        manager.read(0.6)
    one.process.send_signal(signal.SIGCONT)
    assert manager.read() == "WATCHDOG=1"
    assert one.stop() == 0


@pytest.mark.threads
def test_a_storm_of_1000_hangups(tmp_path, shards):
    """Under a stream: no batch is lost, each RELOADING=1 is closed by READY=1, and the last version of the file wins."""
    manager = Manager(str(tmp_path / "n"))
    path = tmp_path / "a.jsonl"
    path.write_text('{"filename": "000000.png", "sigma_min": 0.5}\n')
    one = Daemon(tmp_path / "d", shards, "--annotations", path, env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "n")})
    stream = one.client().subscribe(batch_size=16, fields=["index"])
    steps = []
    for i in range(1000):
        path.with_suffix(".new").write_text(f'{{"filename": "000000.png", "sigma_min": {1 + i / 1000}}}\n')
        path.with_suffix(".new").rename(path)
        one.process.send_signal(signal.SIGHUP)
        if i % 20 == 0:
            steps += [lend.step for lend, _ in stream.take(1)]
    with one.client() as client:
        wait_until(lambda: client.call(wire.SAMPLE, {"index": 0})["annotation"]["sigma_min"] == pytest.approx(1.999))
        wait_until(lambda: client.call(wire.STATUS, {})["reload"] is None)
        reloads = client.call(wire.STATUS, {})["counters"]["reloads"]
    steps += [lend.step for lend, _ in stream.take(10)]
    assert steps == list(range(60)) and "refused" not in one.log()
    wait_until(lambda: one.log().count("reload.done") == reloads)
    assert one.stop() == 0
    messages = [message.split("\n")[0] for message in manager.drain()]
    assert messages[0] == "READY=1" and messages[-1] == "STOPPING=1"
    assert messages[1:-1] == ["RELOADING=1", "READY=1"] * reloads
    stamps = [int(message.split("MONOTONIC_USEC=")[1]) for message in manager.messages if "MONOTONIC_USEC=" in message]
    assert stamps == sorted(stamps) and stamps[-1] <= time.monotonic_ns() // 1000
    print(f"\n1000 SIGHUPs: {reloads} reloads")


# -- clocks --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(SANITIZED, reason="libfaketime and the sanitizers both want to be loaded first")
@pytest.mark.parametrize("jump", ["+1d", "-1d"])
def test_a_clock_that_jumps_a_day_ends_nothing(tmp_path, shards, jump):
    """libfaketime moves CLOCK_REALTIME of the running daemon; hello, leases, log windows and streams take no notice."""
    need("faketime")
    library = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("libfaketimeMT.so.1 is not installed")
    stamp = tmp_path / "stamp"
    stamp.write_text("+0")
    folder = tmp_path / "d"
    folder.mkdir()
    path = config(tmp_path / "c.json", shards, socket=str(folder / "s"), limits={"slot_lease_s": 30, "hello_ms": 5000})
    env = {**os.environ, "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(stamp), "FAKETIME_NO_CACHE": "1",
           "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
    one = Daemon(folder, "--config", path, env=env)
    stream = one.client().subscribe(batch_size=16, fields=["x_t"])
    quiet = one.client(hello=False)
    held = stream.next()
    before = stream.take(5)
    stamp.write_text(jump)
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + (86400 if jump == "+1d" else -86400)))
    with pytest.raises(wire.Refused):
        with one.client() as client:
            client.call(wire.SAMPLE, {"key": "nobody"})
    time.sleep(1.3)  # a tick of the watch
    stream.done(held)
    after = stream.take(5)
    assert [lend.step for lend, _ in before + after] == list(range(1, 11))
    quiet.send(wire.frame(wire.HELLO, b'{"min":1,"max":1}', id=1))
    assert quiet.read().type == wire.WELCOME
    counters = one.status()["counters"]
    assert counters["lease_limit"] == counters["hello_timeouts"] == 0
    assert 0 <= one.status()["server"]["uptime_s"] < 3600
    assert one.stop() == 0
    assert f"{day}T" in one.log()  # the log did see the jump


# -- the unit ------------------------------------------------------------------------------------------------------


@pytest.fixture
def unit(tmp_path):
    """The two unit files, as installed, with the daemon that was built."""
    folder = tmp_path / "units"
    folder.mkdir()
    text = (UNITS / "ambientd.service.in").read_text().replace("@bindir@/ambientd", BIN).replace("@sysconfdir@", "/etc")
    (folder / "ambientd.service").write_text(text)
    shutil.copy(UNITS / "ambientd.socket", folder)
    return folder


def test_the_units_are_without_a_mistake(unit):
    analyze = need("systemd-analyze")
    done = subprocess.run([analyze, "verify", "--man=no", unit / "ambientd.service", unit / "ambientd.socket"], capture_output=True,
                          text=True, env={**os.environ, "SYSTEMD_UNIT_PATH": f"{unit}:"})
    assert done.returncode == 0 and "ambientd" not in done.stderr, done.stderr


def test_the_units_exposure_is_small(unit):
    analyze = need("systemd-analyze")
    done = subprocess.run([analyze, "security", "--offline=true", "--no-pager", unit / "ambientd.service"], capture_output=True, text=True)
    if "exposure level" not in done.stdout:
        pytest.skip(f"this systemd-analyze knows no --offline: {done.stderr}")
    level = float(re.search(r"exposure level for ambientd.service: ([0-9.]+)", done.stdout)[1])
    print(f"\nsystemd-analyze security: {level}")
    assert level <= 1.0


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's run time calls more")
def test_the_units_filter_allows_every_system_call(unit, tmp_path, shards, annotations):
    """A life under strace: start, streams, requests, queries, reload, stop; each call stands in SystemCallFilter=."""
    strace, analyze = need("strace"), need("systemd-analyze")

    def group(name):
        text = subprocess.run([analyze, "syscall-filter", name], capture_output=True, text=True, check=True).stdout
        words = [line.strip() for line in text.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
        return set().union(*(group(word) if word.startswith("@") else {word} for word in words))

    allowed = set()
    for line in (unit / "ambientd.service").read_text().splitlines():
        if line.startswith("SystemCallFilter="):
            words = line.split("=", 1)[1]
            named = set().union(*(group(word) if word.startswith("@") else {word} for word in words.lstrip("~").split()))
            allowed = allowed - named if words.startswith("~") else allowed | named
    trace = tmp_path / "trace"
    one = subprocess.Popen([strace, "-f", "-qq", "-o", trace, BIN, "serve", shards, "--annotations", annotations, "--size", "16", "--socket",
                            tmp_path / "s", "--state-dir", tmp_path / "state", "--parent-death"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: (tmp_path / "s").exists() or one.poll() is not None)
        if one.poll() is not None:
            pytest.skip("strace cannot trace here")
        with ambientd.Loader(str(tmp_path / "s"), 32) as loader, ambientd.Client(str(tmp_path / "s")) as client:
            pid = client.status()["server"]["pid"]
            for _ in itertools.islice(loader, 20):
                pass
            loader.request([1.0])
            client.coverage(), client.import_annotations(annotations)
            os.kill(pid, signal.SIGHUP)
            wait_until(lambda: client.status()["counters"]["reloads"] == 1)
        time.sleep(1.2)
        os.kill(pid, signal.SIGTERM)
        assert one.wait(20) == 0
    finally:
        if one.poll() is None:
            one.kill()  # and with its parent the daemon
            one.wait()
    used = set(re.findall(r"^\d+ +([a-z0-9_]+)\(", trace.read_text(), re.M))
    assert len(used) > 30 and used - allowed == set()


def test_help_documents_exit_codes_and_the_service():
    text = run("--help").stdout
    for word in ["stop.forced", "LISTEN_FDS", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "NOTIFY_SOCKET", "another daemon runs"]:
        assert word in text
    assert [int(code) for code in re.findall(r"^  (\d)  ", text.split("EXIT STATUS")[1].split("ENVIRONMENT")[0], re.M)] == [0, 1, 2, 3]

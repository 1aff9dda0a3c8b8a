"""ambientd.start() with small scripts in the daemon's place."""
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ambientd
import ambientd.server

FAKE = f"""#!{sys.executable}
import json, os, signal, sys, time
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1])!r}]
from fakedaemon import FakeDaemon
arguments = sys.argv[1:]
def value(flag): return arguments[arguments.index(flag) + 1]
def socket():
    return value("--socket") if "--socket" in arguments else json.load(open(value("--config")))["socket"]
print("arguments", arguments, flush=True)
print("environment", os.environ.get("VIRTUAL_ENV"), flush=True)
if "--fail" in arguments:
    sys.exit("config: unknown option --fail")
if "--slow" in arguments:
    time.sleep(60)
FakeDaemon(socket())
os.write(int(value("--ready-fd")), b"ready\\n")
if "--stubborn" in arguments:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    time.sleep(1)
"""


@pytest.fixture
def binary(tmp_path, monkeypatch):
    path = tmp_path / "ambientd"
    path.write_text(FAKE)
    path.chmod(0o755)
    monkeypatch.setenv("AMBIENTD_BIN", str(path))
    return path


def alive(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


def test_the_daemon_lives_as_long_as_the_block(binary):
    with ambientd.start("a.tar", "b-{0..3}.tar", annotations=Path("a.jsonl"), size=32, sources_dir=None, no_cache=True,
                        exclude=["x", "y"]) as server:
        folder = os.path.dirname(server.address)
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700 and server.running
        server.client().ping()
        assert next(iter(ambientd.Loader(server, batch_size=2))).step == 0
        said = server.log()
        pid = server.pid
    assert not alive(pid) and not os.path.exists(folder) and not server.running
    server.stop()
    arguments = said.split("arguments ")[1]
    assert arguments.startswith("['serve', 'a.tar', 'b-{0..3}.tar', '--annotations', 'a.jsonl', '--size', '32', "
                                "'--no-cache', '--exclude', 'x', '--exclude', 'y', '--socket', ")
    assert "'--parent-death', '--ready-fd', " in arguments


def test_a_configuration_gets_the_private_socket(binary, tmp_path):
    (tmp_path / "c.json").write_text('{"workers": 2, "socket": "/elsewhere"}')
    for config in (tmp_path / "c.json", {"workers": 2}):
        with ambientd.start(config=config) as server:
            server.client().ping()
            said = Path(os.path.dirname(server.address), "config.json").read_text()
            assert said == f'{{"workers": 2, "socket": "{server.address}"}}'
    with pytest.raises(ambientd.ConfigError, match="stands alone; a.tar --size 3 belongs"):
        ambientd.start("a.tar", size=3, config={})


def test_a_daemon_that_does_not_start_says_why(binary):
    with pytest.raises(ambientd.ServerError, match="exit status 1(.|\n)*unknown option --fail") as caught:
        ambientd.start("a.tar", fail=True)
    assert "unknown option" in caught.value.stderr


def test_a_daemon_that_is_not_ready_in_time_is_stopped(binary):
    with pytest.raises(ambientd.ServerError, match="not ready after 0.2 s"):
        ambientd.start("a.tar", slow=True, timeout=0.2)
    assert subprocess.run(["pgrep", "-f", str(binary)], capture_output=True).stdout == b""


def test_a_stubborn_daemon_is_killed(binary, monkeypatch):
    monkeypatch.setattr(ambientd.server, "_STOP_S", 0.3)
    server = ambientd.start("a.tar", stubborn=True)
    server.stop()
    assert not alive(server.pid)


def test_the_daemon_looks_for_libraries_beside_this_python(binary, monkeypatch):
    """Whoever calls venv/bin/python has not activated the environment."""
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.setattr(sys, "prefix", "/somewhere/venv")
    with ambientd.start("a.tar") as server:
        assert "environment /somewhere/venv\n" in server.log()
    with ambientd.start("a.tar", env={"VIRTUAL_ENV": "/other"}) as server:
        assert "environment /other\n" in server.log()


def test_a_forgotten_server_stops_with_its_object(binary):
    server = ambientd.start("a.tar")
    pid = server.pid
    del server
    assert not alive(pid)


def test_the_daemon_stops_with_the_process(binary):
    program = "import ambientd; s = ambientd.start('a.tar'); print(s.pid, flush=True)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    pid = int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=environment).stdout)
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(pid)


def test_a_forked_child_leaves_the_daemon_alone(binary):
    with ambientd.start("a.tar") as server:
        child = os.fork()
        if child == 0:
            server.stop()
            os._exit(0)
        os.waitpid(child, 0)
        assert server.running
        server.client().ping()


def test_a_missing_binary_says_where_it_was_looked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("AMBIENTD_BIN", str(tmp_path / "none"))
    with pytest.raises(ambientd.ConfigError, match="AMBIENTD_BIN is .*none"):
        ambientd.start("a.tar")
    monkeypatch.delenv("AMBIENTD_BIN")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(ambientd.server, "__file__", str(tmp_path / "a" / "b" / "c" / "server.py"))
    with pytest.raises(ambientd.ConfigError, match="neither AMBIENTD_BIN, nor PATH, nor build"):
        ambientd.start("a.tar")


def test_a_long_temporary_directory_is_avoided(binary, monkeypatch, tmp_path):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with ambientd.start("a.tar") as server:
        assert len(server.address) <= 107
    assert list(long.iterdir()) == []


def test_a_terminals_interrupt_is_not_the_daemons(binary):
    with ambientd.start("a.tar") as server:
        assert os.getpgid(server.pid) != os.getpgid(0)


def test_a_daemon_started_by_a_thread_is_the_child_of_one_that_lasts(binary):
    import threading
    started = []
    thread = threading.Thread(target=lambda: started.append(ambientd.start("a.tar")))
    thread.start()
    thread.join()
    with started[0] as server:
        server.client().ping()
        assert any(t.name.startswith("ambientd-keeper") for t in threading.enumerate())

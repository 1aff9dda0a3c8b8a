"""Questions to a daemon."""
import math

import pytest

import ambientd
from .fakedaemon import FakeDaemon


def test_answers_larger_than_a_frame_are_put_together(daemon):
    with ambientd.Client(daemon.path) as client:
        assert len(client.status()["filler"]) == 200_000


def test_questions_go_out_as_the_protocol_wants_them(daemon):
    client = ambientd.Client(daemon.path)
    client.ping()
    assert client.coverage(points=3, buffer=1.5)["asked"] == {"points": 3, "buffer": 1.5}
    assert client.coverage([1, math.inf])["asked"] == {"sigmas": [1.0, math.inf]}  # "inf" on the way
    assert client.ls("shards", start=5)["asked"] == {"what": "shards", "start": 5}
    assert client.quarantine(count=2, dataset="d")["asked"] == {"count": 2, "dataset": "d"}
    assert client.import_annotations("/a/b")["asked"] == {"path": "/a/b"}
    assert client.generations()["annotations"] == []
    assert client.sample(index=3)["annotation"]["sigma_max"] == math.inf
    assert daemon.sessions == 1
    client.close()
    client.ping()  # a closed client connects again


def test_errors_are_typed_and_leave_the_connection(daemon):
    client = ambientd.Client(daemon.path)
    with pytest.raises(LookupError, match="no sample 'nobody'"):
        client.sample("nobody")
    with pytest.raises(TypeError):
        client.sample()
    client.ping()
    assert daemon.sessions == 1


def test_a_restarted_daemon_is_found_again(tmp_path):
    path = str(tmp_path / "s")
    client = ambientd.Client(path)
    with FakeDaemon(path):
        client.ping()
    with pytest.raises(ambientd.DisconnectedError):
        client.ping()
    with FakeDaemon(path):
        client.ping()


def test_another_protocol_version_is_refused(daemon):
    daemon.welcome = {"version": 2}
    with pytest.raises(ambientd.VersionError, match="version 2"):
        ambientd.Client(daemon.path).ping()


def test_the_address_comes_from_the_environment(daemon, monkeypatch):
    monkeypatch.setenv("AMBIENTD_SOCKET", daemon.path)
    ambientd.Client().ping()
    assert ambientd.Loader(batch_size=2).address == daemon.path
    monkeypatch.delenv("AMBIENTD_SOCKET")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    assert ambientd.Client().address == "/run/user/1/ambientd/ambientd.sock"

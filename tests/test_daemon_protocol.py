"""What the daemon answers to clients that break the protocol, or come to a limit, while a good one goes on."""

import contextlib
import json
import os
import resource
import signal
import socket
import struct
import time

import pytest

import datasets
import wire
from conftest import sanitized
from hostile import measure

FIELDS = {"batch_size": 16, "fields": ["x_t", "index"]}


def config(tmp_path, shards, workers=2, **limits):
    """A configuration file with limits of its own; its socket is where Daemon's would be."""
    folder = tmp_path / "daemon0"
    folder.mkdir()
    (tmp_path / "c.json").write_text(json.dumps({
        "socket": str(folder / "s"), "cache_dir": str(tmp_path / "index"), "workers": workers, "limits": limits,
        "datasets": {"main": {"sources": {"main": {"shards": [shards]}}}}}))
    return "--config", tmp_path / "c.json"


def refused(client):
    """The fatal ERROR that comes next, and the end of the connection behind it."""
    got = client.read()
    assert got.type == wire.ERROR
    error = json.loads(got.payload)
    assert error["fatal"]
    with pytest.raises(wire.Closed):
        client.read()
    return error


@pytest.fixture
def served(daemon, shards):
    """A daemon with one healthy stream, which must still work at the end."""
    one = daemon(shards)
    with one.client() as client:
        stream = client.subscribe(**FIELDS)
        stream.take(2)
        yield one
        assert [lend.step for lend, _ in stream.take(4)] == [2, 3, 4, 5]


def hello(minimum=1, maximum=1):
    return wire.frame(wire.HELLO, json.dumps({"min": minimum, "max": maximum}).encode())


def test_hello_says_who_serves(served):
    assert served.client().welcome["version"] == 1


@pytest.mark.parametrize("data, code, words", [
    (hello(2, 9), "version", ["2 to 9", "speaks 1"]),
    (wire.frame(wire.HELLO, b"{}"), "config", ["min"]),
    (wire.frame(wire.HELLO, b'{"min":1,"max":1,"clientt":""}'), "config", ["clientt", "client"]),
    (wire.frame(wire.HELLO, b"nonsense"), "protocol", ["HELLO"]),
    (wire.frame(wire.PING), "protocol", ["PING", "HELLO"]),
    (wire.frame(wire.HELLO, b"{}", version=2), "version", ["2"]),
    (b"GET / HTTP/1.1\r\n\r\n", "protocol", ["AMBP"]),
    (wire.frame(77), "protocol", ["77"]),
    (wire.frame(wire.HELLO, b"", flags=4), "protocol", ["0x4"]),
    (wire.frame(wire.HELLO, length=65537), "limit", ["65537", "65536"]),
    (wire.frame(wire.HELLO, length=0xffffffff), "limit", ["4294967295"]),
])
def test_bad_first_frame(served, data, code, words):
    client = served.client(hello=False)
    client.send(data)
    error = refused(client)
    assert error["code"] == code and all(word in error["message"] for word in words)


@pytest.mark.parametrize("data, code", [
    (hello(), "protocol"),
    (wire.frame(wire.PING, id=0), "protocol"),
    (wire.frame(wire.PING, b"x"), "protocol"),
    (wire.frame(wire.REPLY, b"{}"), "protocol"),
    (wire.frame(wire.STATUS, b"[]"), "protocol"),
    (wire.frame(wire.STATUS, b"{}x"), "protocol"),
    (wire.frame(wire.DONE, struct.pack("<II", 0, 0)), "protocol"),
    (wire.frame(wire.REQUEST, bytes(48)), "protocol"),
    (wire.frame(wire.ADVANCE, b'{"step":1}'), "protocol"),
    (os.urandom(1000), "protocol"),
])
def test_bad_later_frame(served, data, code):
    client = served.client()
    client.send(data)
    assert refused(client)["code"] == code


@pytest.mark.parametrize("depth, ok", [(15, True), (16, True), (17, False)])
def test_json_depth(served, depth, ok):
    """Within the depth the answer is about the key."""
    client = served.client()
    body = b'{"options":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
    client.send(wire.frame(wire.SUBSCRIBE, body, id=9))
    with pytest.raises(wire.Refused) as caught:
        client.answer(9)
    assert (caught.value.code == "limit") == (not ok)


@pytest.mark.parametrize("body, code, words", [
    ({"fields": ["x_t"]}, "config", ["batch_size"]),
    ({"batch_size": 4, "global_batch_size": 4, "fields": ["x_t"]}, "config", ["global_batch_size"]),
    ({"global_batch_size": 5, "world_size": 2, "fields": ["x_t"]}, "config", ["5", "2"]),
    ({"batch_size": 0, "fields": ["x_t"]}, "config", ["batch_size"]),
    ({"batch_size": 4}, "config", ["fields"]),
    ({"batch_size": 4, "fields": []}, "config", ["fields"]),
    ({"batch_size": 4, "fields": ["x_tt"]}, "config", ["x_tt", "x_t"]),
    ({"batch_size": 4, "fields": ["x_t", "x_t"]}, "config", ["twice"]),
    ({"batch_size": 4, "fields": [{"name": "x_t", "dtyp": "f16"}]}, "config", ["dtyp"]),
    ({"batch_size": 4, "fields": ["x_t"], "slots": 0}, "config", ["slots", "64"]),
    ({"batch_size": 4, "fields": ["x_t"], "slots": 65}, "config", ["slots", "64"]),
    ({"batch_size": 4, "fields": ["x_t"], "rank": 2, "world_size": 2}, "config", ["rank"]),
    ({"batch_size": 4, "fields": ["x_t"], "modee": "stream"}, "config", ["modee", "mode"]),
    ({"batch_size": 4, "fields": ["x_t"], "mode": "strean"}, "config", ["strean", "stream"]),
    ({"batch_size": 4, "fields": ["x_t"], "weight": "edn"}, "config", ["edn", "edm"]),
    ({"batch_size": 4, "fields": ["x_t"], "dataset": "other"}, "not-found", ["other", "main"]),
    ({"batch_size": 4, "fields": ["x_t"], "steps": 3, "passes": 1}, "config", ["steps", "passes"]),
    ({"batch_size": 4, "fields": ["x_t"], "follow": True, "moves": []}, "config", ["follow", "moves"]),
    ({"batch_size": 4, "fields": ["x_t"], "follow": True, "world_size": 2}, "config", ["follow"]),
    ({"batch_size": 4, "fields": ["x_t"], "moves": [{"step": 3}, {"step": 3}]}, "config", ["rising"]),
    ({"batch_size": 4, "fields": ["x_t"], "moves": [{"step": 0, "annotations": "ab"}]}, "config", ["32 hex"]),
    ({"batch_size": 4, "fields": ["x_t"], "moves": [{"step": 0, "annotations": "ab" * 16}]}, "not-found", ["abababab"]),
    ({"batch_size": 4, "fields": ["x_t"], "options": {"sed": 1}}, "config", ["sed", "seed"]),
    ({"batch_size": 2**22, "slots": 64, "fields": ["x_t"]}, "quota", ["bytes", "shm_bytes"]),
    ({"batch_size": 2**22 + 1, "fields": ["index"]}, "limit", ["4194305", "1 ranks", "4194304"]),
    ({"batch_size": 5, "world_size": 2**20, "fields": ["index"]}, "limit", ["5 on 1048576", "4194304"]),
])
def test_subscriptions_that_are_refused(served, body, code, words):
    """The session lives on, and nothing is left behind."""
    with served.client() as client:
        with pytest.raises(wire.Refused) as caught:
            client.subscribe(**body)
        assert caught.value.code == code and not caught.value.fatal
        assert all(word in str(caught.value) for word in words), str(caught.value)
        stream = client.subscribe(**FIELDS)
        assert stream.next().step == 0


def test_a_second_stream_in_a_session(served):
    with served.client() as client:
        client.subscribe(**FIELDS)
        with pytest.raises(wire.Refused) as caught:
            client.subscribe(**FIELDS)
        assert caught.value.code == "busy"


@pytest.mark.parametrize("type, body, code, words", [
    (wire.LIST, {"what": "sampels"}, "config", ["sampels"]),
    (wire.LIST, {"count": 10001}, "config", ["10000"]),
    (wire.LIST, {"cuont": 1}, "config", ["cuont", "count"]),
    (wire.SAMPLE, {}, "config", ["key"]),
    (wire.SAMPLE, {"key": "nobody"}, "not-found", ["nobody"]),
    (wire.SAMPLE, {"index": 300}, "not-found", ["300", "299"]),
    (wire.COVERAGE, {"sigmas": [-1]}, "config", ["sigmas"]),
    (wire.COVERAGE, {"buffer": 0.5}, "config", ["buffer"]),
    (wire.COVERAGE, {"points": 4097}, "config", ["points"]),
    (wire.IMPORT, {"path": "a.jsonl"}, "config", ["absolute"]),
    (wire.IMPORT, {"path": "/nonexistent/a.jsonl"}, "ENOENT", ["/nonexistent/a.jsonl"]),
    (wire.STATUS, {"all": True}, "config", ["all"]),
])
def test_queries_that_are_refused(served, type, body, code, words):
    with served.client() as client:
        with pytest.raises(wire.Refused) as caught:
            client.call(type, body)
        assert caught.value.code == code and not caught.value.fatal
        assert all(word in str(caught.value) for word in words), str(caught.value)
        assert client.call(wire.PING) == {}


def test_hello_timeout(daemon, shards, tmp_path):
    one = daemon(*config(tmp_path, shards, hello_ms=300))
    client = one.client(hello=False)
    client.send(wire.frame(wire.HELLO, b"{}")[:9])  # half of a header keeps nobody alive
    began = time.monotonic()
    assert refused(client)["code"] == "ETIMEDOUT"
    assert 0.25 < time.monotonic() - began < 2
    assert one.counter("hello_timeouts") == 1
    with one.client() as late:
        time.sleep(0.5)
        assert late.call(wire.PING) == {}


def test_dribble(served):
    """One byte at a time is slow, not wrong."""
    client = served.client(hello=False)
    for byte in hello() + wire.frame(wire.PING, id=2):
        client.send(bytes([byte]))
    assert client.read().type == wire.WELCOME
    assert client.read().type == wire.REPLY


def test_frames_in_one_piece(served):
    client = served.client(hello=False)
    client.send(hello() + b"".join(wire.frame(wire.PING, id=i) for i in range(2, 300)))
    assert client.read().type == wire.WELCOME
    assert [client.read().id for _ in range(2, 300)] == list(range(2, 300))


@pytest.mark.parametrize("length, ok", [(65535, True), (65536, True), (65537, False)])
def test_frame_limit(served, length, ok):
    client = served.client()
    body = b'{"key":"' + b"k" * (length - 10) + b'"}'
    client.send(wire.frame(wire.SAMPLE, body, id=5))
    if ok:
        with pytest.raises(wire.Refused) as caught:
            client.answer(5)
        assert caught.value.code == "not-found"
    else:
        assert refused(client)["code"] == "limit"


def test_configured_frame_limit(daemon, shards, tmp_path):
    one = daemon(*config(tmp_path, shards, frame_bytes=1024))
    for length, ok in [(1023, True), (1024, True), (1025, False)]:
        client = one.client()
        client.send(wire.frame(wire.SAMPLE, b'{"key":"' + b"k" * (length - 10) + b'"}', id=5))
        if ok:
            with pytest.raises(wire.Refused):
                client.answer(5)
        else:
            assert refused(client)["code"] == "limit"


@pytest.mark.parametrize("limit, key", [(6, "connections_per_uid"), (6, "connections")])
def test_connection_limit(daemon, shards, tmp_path, limit, key):
    one = daemon(*config(tmp_path, shards, **{key: limit}))
    clients = [one.client() for _ in range(limit)]
    over = one.client(hello=False)
    error = refused(over)
    assert error["code"] == "quota" and str(limit) in error["message"] and key in error["message"]
    assert all(client.call(wire.PING) == {} for client in clients)
    clients.pop().close()
    end = time.monotonic() + 5
    while True:  # the daemon sees the close in its next turn
        try:
            assert one.client().call(wire.PING) == {}
            break
        except wire.Refused:
            assert time.monotonic() < end


def test_connects_are_paced_and_each_is_served(daemon, shards, tmp_path):
    """1,000 a second are 20 in each stretch of 20 ms: as many at once are taken up, one more waits."""
    one = daemon(*config(tmp_path, shards, connects_per_s=1000, connections=1024, connections_per_uid=1024))
    with one.client() as watching:

        def burst(n):
            """The pauses that it takes."""
            before = watching.call(wire.STATUS, {})["counters"]["accept_pauses"]
            time.sleep(0.05)
            clients = [one.client(hello=False) for _ in range(n)]
            for client in clients:
                client.send(hello())
            assert all(client.read().type == wire.WELCOME for client in clients)
            for client in clients:
                client.close()
            return watching.call(wire.STATUS, {})["counters"]["accept_pauses"] - before

        assert burst(19) == burst(20) == 0
        assert any(burst(21) == 1 for _ in range(50))  # a slow machine does not connect so fast each time
        assert burst(60) > 0


def test_connects_without_a_pace(daemon, shards, tmp_path):
    one = daemon(*config(tmp_path, shards, connects_per_s=0, connections=1024, connections_per_uid=1024))
    for _ in range(500):
        one.client(hello=False).close()
    assert one.counter("accept_pauses") == 0


def test_reserve_of_file_descriptors(daemon, shards):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))

    one = daemon(shards, preexec_fn=few)
    clients, error = [], None
    while error is None and len(clients) < 64:
        client = one.client(hello=False)
        try:
            client.send(hello())
        except BrokenPipeError:
            pass  # refused already
        got = client.read()
        if got.type == wire.ERROR:
            error = json.loads(got.payload)
        else:
            clients.append(client)
    assert error["code"] == "quota" and "reserve" in error["message"]
    assert 20 < len(clients) < 48
    clients[0].next_id = 1
    assert clients[0].call(wire.PING) == {}
    assert clients[0].subscribe(**FIELDS).next().step == 0  # a slab comes out of the reserve


@pytest.mark.parametrize("extra, ok", [(-1, False), (0, True), (1, True)])
def test_shared_memory_limit(daemon, shards, tmp_path, extra, ok):
    """The limit at exactly what a subscription needs, one byte less, one more."""
    probe = daemon(shards)
    with probe.client() as client:
        client.subscribe(**FIELDS)
        need = probe.counter("shm_bytes")
    probe.stop()
    one = daemon(*config(tmp_path / "two", shards, shm_bytes=need + extra)) if (tmp_path / "two").mkdir() is None else None
    one.socket = tmp_path / "two" / "daemon0" / "s"
    with one.client() as client:
        if ok:
            assert client.subscribe(**FIELDS).next().step == 0
        else:
            with pytest.raises(wire.Refused) as caught:
                client.subscribe(**FIELDS)
            assert caught.value.code == "quota" and str(need) in str(caught.value)
    assert one.wait_for(lambda s: s["counters"]["shm_bytes"] == 0)
    assert one.counter("shm_refused") == (0 if ok else 1)


def test_shared_memory_of_one_uid(daemon, shards, tmp_path):
    one = daemon(*config(tmp_path, shards, shm_bytes_per_uid=1 << 20))
    with one.client() as client:
        with pytest.raises(wire.Refused) as caught:
            client.subscribe(batch_size=1024, fields=["x_t"])
        assert caught.value.code == "quota" and "shm_bytes_per_uid" in str(caught.value)


def test_slot_lease(daemon, shards, tmp_path):
    one = daemon(*config(tmp_path, shards, slot_lease_s=1))
    with one.client() as client:
        stream = client.subscribe(**FIELDS)
        began = time.monotonic()
        with pytest.raises(wire.Refused) as caught:
            while True:
                stream.next()
        assert caught.value.fatal and "slot_lease_s" in str(caught.value)
        assert 0.9 < time.monotonic() - began < 4


def test_never_returns_costs_only_itself(served):
    """Its slots are lent and nothing more is made for it."""
    with served.client() as client:
        stream = client.subscribe(batch_size=16, fields=["index"], slots=3)
        lends = [stream.next() for _ in range(3)]
        client.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            stream.next()
        stream.done(lends[1])
        again = stream.next()
        assert (again.step, again.slot) == (3, lends[1].slot)


def test_never_reads(served):
    """A client that asks and asks and does not read is not read either; others do not notice."""
    with served.client() as client:
        client.socket.settimeout(1)
        with pytest.raises(TimeoutError):
            for i in range(1, 100000):
                client.send(wire.frame(wire.LIST, b'{"count":300}', id=i))
        assert served.client().call(wire.PING) == {}
        rss = served.status()["server"]["rss_bytes"]
        time.sleep(0.3)
        assert served.status()["server"]["rss_bytes"] - rss < 16 << 20
        client.socket.settimeout(20)
        assert client.read().type in (wire.REPLY, wire.DATA)  # whoever reads again is served again


def test_double_return_is_a_protocol_error(served):
    """Both in one piece, so that nothing is lent between them."""
    with served.client() as client:
        stream = client.subscribe(**FIELDS)
        lend = stream.next()
        client.send(2 * wire.frame(wire.DONE, struct.pack("<II", lend.slot, 0), 0))
        with pytest.raises(wire.Refused) as caught:
            while True:
                client.event()
        assert caught.value.code == "protocol" and caught.value.fatal and f"slot {lend.slot}" in str(caught.value)


@pytest.mark.parametrize("slot, reserved", [(4, 0), (2**32 - 1, 0), (0, 1)])
def test_return_of_what_is_no_slot(served, slot, reserved):
    with served.client() as client:
        stream = client.subscribe(**FIELDS)
        stream.next()
        client.send(wire.frame(wire.DONE, struct.pack("<II", slot, reserved), 0))
        with pytest.raises(wire.Refused) as caught:
            while True:
                client.event()
        assert caught.value.code == "protocol" and caught.value.fatal


def test_killed_client_leaves_nothing(served):
    fds, maps = served.n_fds(), served.n_maps()
    for i in range(20):
        client = served.client()
        stream = client.subscribe(batch_size=64, fields=["x_t", "x0"], slots=4)
        for _ in range(i % 4):
            stream.next()
        client.close()
    assert served.wait_for(lambda s: len(s["sessions"]) == 2 and (served.n_fds(), served.n_maps()) == (fds, maps))
    assert served.n_maps() == maps and served.n_fds() <= fds + 1


def test_fds_from_a_client_are_dropped(served):
    """They never arrive: the sender is refused (Linux 6.16) or the kernel closes them."""
    with served.client() as client:
        before = served.n_fds()
        r, w = os.pipe()
        try:
            socket.send_fds(client.socket, [wire.frame(wire.PING, id=7)], [r] * 50)
        except PermissionError:
            client.send(wire.frame(wire.PING, id=7))
        finally:
            os.close(r)
            os.close(w)
        assert client.answer(7).type == wire.REPLY
        assert served.n_fds() <= before


def test_large_answers_come_as_a_run(served):
    with served.client() as client:
        id = client.new_id()
        client.send(wire.frame(wire.LIST, b'{"count":10000}', id))
        kinds = []
        while True:
            got = client.read()
            kinds.append(got.type)
            if got.type == wire.REPLY or not got.flags & 1:
                break
        total = client.call(wire.LIST, {"count": 10000})
        assert total["total"] == 300 and [row["index"] for row in total["rows"]] == list(range(300))
        assert kinds == [wire.REPLY] or set(kinds) == {wire.DATA}


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_import_is_for_the_owner(daemon, shards, tmp_path):
    one = daemon(shards)
    for folder in [one.socket.parent, *one.socket.parent.parents]:
        if folder.owner() == "root" and str(folder).startswith("/tmp/"):
            os.chmod(folder, 0o755)
    os.chmod(one.socket, 0o666)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            client = one.client()
            client.call(wire.STATUS, {})
            try:
                client.call(wire.IMPORT, {"path": "/tmp/x"})
            except wire.Refused as refusal:
                status = 0 if refusal.code == "denied" and "65534" in str(refusal) else 2
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert one.counter("denied") == 1


def test_log_limit(daemon, shards, tmp_path):
    """100 lines at most for one client's mistakes, then their number."""
    one = daemon(*config(tmp_path, shards, log_lines=10, log_window_s=1))
    for _ in range(40):
        client = one.client(hello=False)
        client.send(b"x" * 16)
        refused(client)
    assert one.log().count("session.closed") == 10
    time.sleep(1.5)
    assert one.status()
    time.sleep(1.1)
    assert "log.suppressed" in one.log() and "lines=30" in one.log()


def test_requests_sent_at_once_are_all_answered(daemon, shards, tmp_path):
    """As many as there are slots in one write, before a worker has begun with the first; then the slots are there again."""
    one = daemon(*config(tmp_path, shards, workers=1))
    with one.client() as client:
        stream = client.subscribe(batch_size=8, fields=["s_t", "index"], slots=8, mode="request")
        state = stream.reply["state"]
        for round in range(20):
            ids, frames = zip(*(stream.request_frame([1.5, 2.5], round, state["dataset"], state["annotations"]) for _ in range(8)))
            client.send(b"".join(frames))
            lends = [stream.next() for _ in ids]
            assert {lend.id for lend in lends} == set(ids) and len({lend.slot for lend in lends}) == 8
            for lend in lends:
                assert stream.batch(lend)["s_t"].tolist() == [1.5, 2.5]
                stream.done(lend)
    assert one.wait_for(lambda s: len(s["sessions"]) == 1 and s["counters"]["shm_bytes"] == 0)


def test_a_gap_of_many_sigmas_fits_a_frame(daemon, shards, tmp_path):
    """More sigmas that nothing admits than an ERROR has room for: the first 1,024 are told."""
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"filename": f"{i:06d}", "sigma_min": 5.0}) + "\n" for i in range(1000)))
    one = daemon(shards, "--annotations", tmp_path / "a.jsonl", "--size", 16)
    with one.client() as client:
        stream = client.subscribe(batch_size=8000, fields=["index"], slots=1, mode="request")
        state = stream.reply["state"]
        sigmas = [1 / 3 + i * 1e-9 for i in range(8000)]
        with pytest.raises(wire.Refused) as refused:
            stream.request(sigmas, 1, state["dataset"], state["annotations"])
        assert refused.value.code == "gap" and refused.value.detail["sigmas"] == sigmas[:1024]
        assert client.call(wire.PING) == {}


def test_orders_for_buffers_that_nobody_uses_are_not_kept(daemon, tmp_path):
    """COVERAGE with a new buffer each time: memory stays."""
    shards = datasets.tar_set(tmp_path / "many", 20000, size=2, per_shard=20000)
    one = daemon(*config(tmp_path, shards))
    with one.client(timeout=60) as client:
        for i in range(200):
            client.call(wire.COVERAGE, {"points": 1, "buffer": 1 + i * 1e-9})
            if i == 20:
                before = client.call(wire.STATUS, {})["server"]["rss_bytes"]
        grown = client.call(wire.STATUS, {})["server"]["rss_bytes"] - before
    assert grown < 8 << 20 or sanitized(), grown


def test_a_stream_of_far_too_many_draws_ends_with_its_client(daemon, shards, tmp_path):
    """4 million draws of other ranks in each step, by more clients than workers; who leaves is not drawn for any more."""
    one = daemon(*config(tmp_path, shards, workers=1))
    hogs = [one.client() for _ in range(4)]
    for hog in hogs:
        hog.subscribe(batch_size=4, world_size=2**20, rank=0, fields=["index"], slots=1)
    for hog in hogs:
        hog.close()
    began = time.monotonic()
    with one.client() as client:
        client.subscribe(batch_size=4, fields=["index"], slots=1).take(2)
    assert one.wait_for(lambda s: len(s["sessions"]) == 1) and time.monotonic() - began < 20


def test_hundreds_of_connections_leave_nothing(served):
    """Clean ends, resets, half of a HELLO, vanishing in the middle of a stream; then counts as before."""
    def visit(i):
        client = served.client(hello=i % 5 != 0)
        if i % 5 == 0:
            client.send(hello()[:i % 30])
        elif i % 5 == 1:
            client.call(wire.STATUS, {})
        elif i % 5 == 2:
            client.subscribe(batch_size=32, fields=["x_t"], slots=2).next()
        elif i % 5 == 3:
            stream = client.subscribe(batch_size=32, fields=["x_t"], slots=2)
            stream.done(stream.next())
        else:
            client.send(wire.frame(wire.LIST, b'{"count":300}', id=3))  # gone before the answer
        client.close()

    for i in range(50):
        visit(i)
    idle = lambda s: len(s["sessions"]) == 2 and s["counters"]["shm_bytes"] < 1 << 20
    assert served.wait_for(idle)
    measure.settled(served.process.pid)  # the last stream's slots go behind its session
    before = served.n_fds(), served.n_maps(), served.status()["server"]["rss_bytes"]
    for i in range(400):
        visit(i)
    assert served.wait_for(idle)
    served.wait_for(lambda s: (served.n_fds(), served.n_maps()) == before[:2])
    assert (served.n_fds(), served.n_maps()) == before[:2]
    grown = served.status()["server"]["rss_bytes"] - before[2]
    assert grown < 2 << 20 or sanitized(), grown


def test_a_hog_of_slots_starves_nobody(daemon, shards):
    """One worker: lanes take turns, so another stream's fifth batch comes long before the hog's 64th."""
    one = daemon(shards, "--workers", 1, "--cache-size", 0)
    with one.client() as big, one.client() as small, one.client() as watcher:
        big.subscribe(batch_size=512, fields=["index"], slots=64, options={"seed": 1})
        stream = small.subscribe(batch_size=4, fields=["index"], slots=2)
        stream.take(5)
        rows = watcher.call(wire.STATUS, {})["sessions"]
        assert [row["step"] for row in rows if row["batch_size"] == 512][0] < 64


LARGE = {"what": "samples", "count": 10000}


def large(tmp_path, **limits):
    """A daemon whose answer to LARGE is more than a socket buffer takes: 6,000 samples."""
    import datasets
    png = datasets.encode(datasets.picture(0, 4))
    pattern = datasets.write_tar(tmp_path / "large.tar", [(f"{i:06d}", {"png": png}) for i in range(6000)])
    return config(tmp_path, str(pattern), **limits)


@pytest.mark.slow
def test_soft_limit_of_the_queue(daemon, tmp_path):
    """Who leaves a large answer unread is out after out_queue_soft_s; who reads it slowly but steadily is not."""
    one = daemon(*large(tmp_path, out_queue_soft_s=1))
    one.socket = tmp_path / "daemon0" / "s"
    sleeper, reader = one.client(), one.client()
    body = json.dumps(LARGE).encode()
    sleeper.send(wire.frame(wire.LIST, body, id=2))
    assert one.wait_for(lambda s: s["counters"]["out_queue_limit"] == 1)
    with pytest.raises(wire.Closed):
        while True:
            sleeper.read()
    assert "out_queue_soft_bytes, 65536" in one.log()
    for i in range(3):  # 0.3 s for each answer, one after the other for longer than the limit
        time.sleep(0.3)
        assert len(reader.call(wire.LIST, LARGE)["rows"]) == 6000
        time.sleep(0.3)
    assert one.counter("out_queue_limit") == 1


def test_soft_limit_leaves_small_backlogs_alone(daemon, shards, tmp_path):
    """Below out_queue_soft_bytes a client may sleep for ever: it costs one answer."""
    one = daemon(*config(tmp_path, shards, out_queue_soft_s=1))
    client = one.client()
    body = json.dumps({"what": "samples", "count": 300}).encode()
    with pytest.raises(TimeoutError):
        client.socket.settimeout(0.3)
        for i in range(2, 100000):
            client.send(wire.frame(wire.LIST, body, id=i))
    time.sleep(2.5)
    assert one.counter("out_queue_limit") == 0
    client.socket.settimeout(5)
    assert client.read().type == wire.REPLY


def has_peerpidfd():
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as a:
        a.bind("")
        a.listen(1)
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as b:
            b.connect(a.getsockname())
            try:
                os.close(struct.unpack("i", b.getsockopt(socket.SOL_SOCKET, 77, 4))[0])
                return True
            except OSError:
                return False


@pytest.mark.parametrize("stage", ["streaming", "before HELLO", "before accept"])
def test_a_forked_child_does_not_keep_a_dead_clients_session(daemon, shards, tmp_path, stage):
    """The child holds the socket; the process that connected is dead, and its slots come back within two seconds."""
    if not has_peerpidfd():
        pytest.skip("SO_PEERPIDFD is unknown here: Linux before 6.5")
    one = daemon(*config(tmp_path, shards, hello_ms=60000))
    fds = measure.settled(one.process.pid).fds
    read, write = os.pipe()
    if stage == "before accept":
        one.process.send_signal(signal.SIGSTOP)
    parent = os.fork()
    if parent == 0:
        client = one.client(hello=stage == "streaming")
        if stage == "streaming":
            client.subscribe(**FIELDS).take(2)
        child = os.fork()
        if child == 0:
            os.close(read)
            time.sleep(60)
        else:
            os.write(write, str(child).encode())
        os._exit(0)
    assert os.waitpid(parent, 0)[1] == 0
    child = int(os.read(read, 20))
    one.process.send_signal(signal.SIGCONT)
    try:
        assert one.wait_for(lambda s: s["counters"]["peers_gone"] == 1)
        assert one.wait_for(lambda s: len(s["sessions"]) == 1)
        assert (measure.settled(one.process.pid).fds, one.n_maps()) == (fds, 0)
        assert f"process {parent}, which connected, is gone" in one.log()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_live_client_with_dead_children_is_left_alone(daemon, shards):
    one = daemon(shards)
    stream = one.client().subscribe(**FIELDS)
    for _ in range(3):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
    time.sleep(1.3)
    assert [lend.step for lend, _ in stream.take(3)] == [0, 1, 2] and one.counter("peers_gone") == 0

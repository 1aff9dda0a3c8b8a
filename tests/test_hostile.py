"""Suites C1, C2, C3 and S5: hostile clients beside healthy ones. -s prints the figures; AMBIENTD_SOAK=1 takes a night's sizes."""

import contextlib
import hashlib
import json
import os
import signal
import socket
import time

import pytest

import datasets
import wire
from conftest import sanitized
from hostile import SOAK, measure, memfd, nobody, offenders, size

pytestmark = pytest.mark.slow
MIB = 1 << 20
SMALL = {"batch_size": 4, "fields": ["x_t", "index"], "slots": 2}
SANITIZED = sanitized()


def served(daemon, folder, shards, **limits):
    """A daemon with these limits."""
    folder.mkdir(exist_ok=True)
    (folder / "c.json").write_text(json.dumps({
        "socket": str(folder / "s"), "cache_dir": str(folder / "index"), "workers": 2, "limits": limits,
        "datasets": {"main": {"sources": {"main": {"shards": [shards]}}}}}))
    one = daemon("--config", folder / "c.json")
    one.socket = folder / "s"
    return one


# -- C1 --------------------------------------------------------------------------------------------------------------


def clean(one):
    with one.client() as client:
        client.subscribe(**SMALL).take(1)


def reset(one):
    """Close with frames unread: the daemon's next read or write fails."""
    client = one.client()
    client.subscribe(**SMALL).next()
    time.sleep(0)
    client.close()


def half_hello(one):
    with contextlib.closing(offenders.bare(one.socket)) as bare:
        bare.send(offenders.HELLO[:7])


def killed(one):
    pid = os.fork()
    if pid == 0:
        try:
            one.client().subscribe(**SMALL).take(1)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.threads
def test_c1_a_thousand_clients_leave_nothing(daemon, shards, tmp_path):
    n, n_bare = size(1000, 100000), size(20000, 2000000)
    one = served(daemon, tmp_path / "c1", shards, connections=1024, connections_per_uid=1024, connects_per_s=0)
    pid = one.process.pid
    kinds = [clean, reset, half_hello, killed]

    def crowd(n_clients, n_connects):
        for i in range(n_clients):
            kinds[i % 4](one)
        for i in range(n_connects):
            offenders.bare(one.socket).close()

    crowd(200, 2000)  # so that the allocator has seen it
    one.wait_for(lambda s: len(s["sessions"]) == 1)
    before, began = measure.settled(pid), time.monotonic()
    crowd(n, n_bare)
    took = time.monotonic() - began
    one.wait_for(lambda s: len(s["sessions"]) == 1)
    after = measure.settled(pid, before)
    counters = one.status()["counters"]
    growth = after.rss - before.rss
    print(f"\nC1: {n} clients, {n_bare} bare connects in {took:.1f} s; fds {before.fds} -> {after.fds}, maps {before.maps} -> {after.maps}, "
          f"memfds {before.memfds} -> {after.memfds}, rss {growth / 1024:+.0f} KiB, refused {counters['refused_connections']}")
    assert (after.fds, after.memfds) == (before.fds, before.memfds)
    assert SANITIZED or after.maps == before.maps
    assert counters["refused_connections"] == 0
    assert counters["subscribes"] >= 3 * (n + 200) // 4
    assert SANITIZED or growth <= MIB


# -- C2 --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """10,000 samples, so that LIST has an answer of a megabyte; few different pictures."""
    folder = tmp_path_factory.mktemp("many")
    pictures = [datasets.encode(datasets.picture(i, 32)) for i in range(50)]
    return str(datasets.write_tar(folder / "a.tar", [(f"{i:06d}", {"png": pictures[i % 50]}) for i in range(10000)]))


# name, offender, its second argument, the limit in seconds that ends it (None: it is out at once, or breaks none)
SET = [
    ("spins, elsewhere", offenders.spins, size(2, 60), None),
    ("never reads", offenders.never_reads, None, 1),
    ("never returns", offenders.never_returns, None, 1),
    ("SIGSTOP", offenders.stops_itself, None, 1),
    ("garbage", offenders.garbage, size(1, 600), None),
    ("dribble", offenders.dribbles, None, 1),
    ("12,000 fds", offenders.sends_fds, size(2, 600), None),
    ("oversized", offenders.oversized, size(1, 600), None),
    ("half-open", offenders.half_open, size(600, 10000), 1),
    ("old version", offenders.old_version, size(1, 600), None),
]


def check_answer(name, answer):
    """What became of the offender is what its limit says; nothing here is about speed."""
    assert answer is not None, name
    if "out_after" in answer:
        assert answer["out_after"] is not None, f"{name} is never out"
    if name == "dribble":
        assert answer["code"] == "ETIMEDOUT"
    if name == "12,000 fds":
        n = answer["sent"] + answer["refused_by_kernel"]
        assert n >= 12000 and n % 12000 == 0, answer
    if name == "half-open":
        assert answer["refused"] + answer["timed_out"] == size(600, 10000)
    expected = {"garbage": "protocol", "oversized": "limit", "old version": "version"}.get(name)
    if expected is not None:
        assert set(answer["codes"]) == {expected} and answer["times"] > 0, answer


@pytest.mark.alone
def test_c2_the_hostile_set_beside_a_healthy_trainer(daemon, many, tmp_path):
    one = served(daemon, tmp_path / "c2", many, hello_ms=1000, slot_lease_s=1, out_queue_soft_s=1)
    pid = one.process.pid
    for seconds in (1, size(2, 60)):  # the first one warms the cache
        trainer = measure.Trainer(one.socket)
        time.sleep(seconds)
        solo = trainer.result()
    warm = offenders.start(offenders.never_reads, one.socket, None)
    offenders.finish(*warm)
    before = measure.settled(pid)
    print(f"\nC2: solo {solo['batches_per_s']:.0f} batches/s, p99 {solo['p99_ms']:.2f} ms")
    worst = 0
    for name, offender, argument, limit in SET:
        trainer = measure.Trainer(one.socket)
        child = offenders.start(offender, one.socket, argument)
        answer = offenders.finish(*child)
        beside = trainer.result()
        grown = measure.footprint(pid).rss - before.rss
        worst = max(worst, grown)
        out = answer.get("out_after", answer.get("slowest_s")) if answer else None
        said = "" if out is None else f", out after {out:.2f} s (limit {limit} s + 1 s)"
        print(f"    {name:16} {100 * beside['batches_per_s'] / solo['batches_per_s']:5.1f} % of solo, p99 {beside['p99_ms']:6.2f} ms "
              f"({beside['p99_ms'] / solo['p99_ms']:.1f}x), rss {grown / MIB:+.1f} MiB{said} {json.dumps(answer)}")
        check_answer(name, answer)
    after = measure.settled(pid, before)
    print(f"    daemon rss at most {worst / MIB:+.1f} MiB, fds {before.fds} -> {after.fds}, maps {before.maps} -> {after.maps}")
    assert SANITIZED or worst <= 16 * MIB
    assert (after.fds, after.memfds) == (before.fds, before.memfds)
    counters = one.status()["counters"]
    assert counters["lease_limit"] >= 2 and counters["out_queue_limit"] >= 2 and counters["hello_timeouts"] >= 1
    with one.client() as client:
        assert len(client.subscribe(**SMALL).take(3)) == 3


# -- C3 --------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to run the daemon as somebody without privileges")
def test_c3_descriptors_in_flight_block_nobody(shards):
    """200 clients leave their memfd in flight, under RLIMIT_NOFILE 256; the next one within the quota gets its own.

    Without CAP_SYS_RESOURCE the kernel counts what is in flight against the sender's limit: the daemon runs as nobody.
    """
    n = 200
    with nobody.open_folder() as folder:
        data = datasets.tar_set(folder / "data", 20)
        one = nobody.serve(folder, {"workers": 1, "limits": {"connections": 400, "connections_per_uid": 400},
                                    "datasets": {"main": {"sources": {"main": {"shards": [data]}}}}}, files=256)
        try:
            before = measure.settled(one.process.pid)
            silent = []
            body = json.dumps({"batch_size": 1, "fields": ["index"], "slots": 1}).encode()
            for i in range(n):
                client = offenders.bare(one.socket)
                client.sendall(offenders.HELLO + wire.frame(wire.SUBSCRIBE, body, id=2))
                silent.append(client)
                if i % 5 == 4:  # a memfd that is not sent yet costs a descriptor more
                    assert one.wait_for(lambda s: s["counters"]["subscribes"] == i + 1), one.status()["counters"]
            with one.client() as client:
                stream = client.subscribe(batch_size=4, fields=["x_t", "index"])
                assert [lend.step for lend, _ in stream.take(5)] == [0, 1, 2, 3, 4]
            held = measure.footprint(one.process.pid)
            late = []
            for i in range(100):  # past the quota: refused in words, and nobody inside suffers
                client = offenders.bare(one.socket)
                with contextlib.suppress(ConnectionError):
                    client.sendall(offenders.HELLO + wire.frame(wire.SUBSCRIBE, body, id=2))
                late.append(client)
            stillborn = [client for client in late if offenders.seconds_until_out(client, 0.05) is not None]
            assert all(offenders.last_error(client) == "quota" for client in stillborn)
            for client in silent + late:
                client.close()
            deadline = time.monotonic() + 10
            while True:  # until the daemon has seen the ends, whoever asks is refused too
                with contextlib.suppress(wire.Refused):
                    if len(one.status()["sessions"]) == 1:
                        break
                assert time.monotonic() < deadline, "sessions of closed clients stay"
                time.sleep(0.02)
            after = measure.settled(one.process.pid)
            print(f"\nC3: {n} clients with their memfd in flight under RLIMIT_NOFILE 256: the daemon has {held.fds} fds; client {n + 1} was "
                  f"served; of 100 more {len(stillborn)} were refused by quota; fds {before.fds} -> {after.fds}")
            assert stillborn and after.counts[0] == before.counts[0]
            assert one.stop() == 0
        finally:
            if one.process.poll() is None:
                one.process.kill()
                one.process.wait()


# -- S5 --------------------------------------------------------------------------------------------------------------


def digests(stream, n):
    rows = []
    for _ in range(n):
        lend = stream.next()
        base = lend.slot * stream.reply["slot_bytes"]
        parts = (stream.map[base + f["offset"]:base + f["offset"] + f["bytes"]] for f in stream.reply["fields"])
        rows.append(hashlib.sha256(b"".join(parts)).hexdigest())
        stream.done(lend)
    return rows


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_s5_eleven_attacks_on_the_shared_memory(daemon, shards):
    """As another user: shrink, grow and seals are refused, what is possible reaches the attacker's own slots alone."""
    sizes = {"batch_size": 16, "fields": ["x_t", "x_tn", "index"], "slots": 3, "options": {"seed": 5}}
    n_rounds = size(20, 2000)
    with nobody.open_folder() as folder:
        one = served(daemon, folder / "d", shards)
        (folder / "d").chmod(0o755)
        one.socket.chmod(0o666)
        with one.client() as client:
            whole = digests(client.subscribe(**sizes), n_rounds * sizes["slots"])
        with one.client() as client:
            victim = client.subscribe(**sizes)
            first = digests(victim, len(whole) // 2)
            answer = offenders.finish(*offenders.start(memfd.attack, one.socket, 65534, sizes, n_rounds))
            assert first + digests(victim, len(whole) - len(first)) == whole
        assert answer is not None and answer["uid"] == 65534
        print("\nS5, as uid 65534: " + ", ".join(f"{name} {what}" for name, what in answer["came_to"].items()))
        assert set(answer["came_to"]) == {attack.__name__ for attack in memfd.ATTACKS} and len(memfd.ATTACKS) == 11
        assert answer["size_kept"] and answer["seals_kept"]
        assert answer["seals"] & 7 == memfd.SEAL_SEAL | memfd.SEAL_SHRINK | memfd.SEAL_GROW
        for name in memfd.REFUSED:
            assert answer["came_to"][name].startswith("refused"), (name, answer["came_to"][name])
        assert answer["digests"] == whole  # what lies in a slot is never read, and written anew each time
        print(f"    {n_rounds} rounds; the victim's {len(whole)} batches and the attacker's next ones in the same slots are right")
        assert one.status()["sessions"] and one.process.poll() is None
        with one.client() as client:
            assert digests(client.subscribe(**sizes), 5) == whole[:5]

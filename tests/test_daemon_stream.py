"""Streams over the bare protocol: order, resume, ranks, ends, requests, moves from generation to generation."""

import hashlib
import json
import random

import numpy
import pytest

import datasets
import wire

N = 300
FIELDS = ["x_t", "x_tn", "x0", "sigma_t", "sigma_min", "label", "index", "key", "seeds", "replaced"]


def digest(batch):
    """A hash for each row, over every field."""
    rows = []
    for i in range(len(batch["index"])):
        h = hashlib.sha256()
        for name in FIELDS:
            value = batch[name][i]
            h.update(value if isinstance(value, bytes) else numpy.ascontiguousarray(value).tobytes())
        rows.append(h.hexdigest())
    return rows


def stream(one, n=None, **body):
    with one.client() as client:
        size = {} if "global_batch_size" in body else {"batch_size": 32}
        got = client.subscribe(**(size | {"fields": FIELDS, "options": {"seed": 7}} | body))
        return [(lend, digest(batch)) for lend, batch in got.take(n)]


@pytest.fixture
def one(daemon, shards, annotations):
    return daemon(shards, "--annotations", annotations)


@pytest.mark.threads
def test_equal_bytes_for_any_number_of_workers(daemon, shards, annotations):
    runs = []
    for workers in (1, 2, 4):
        server = daemon(shards, "--annotations", annotations, "--workers", workers)
        runs.append(stream(server, 20))
        assert server.stop() == 0
    for run in runs[1:]:
        assert [rows for _, rows in run] == [rows for _, rows in runs[0]]
        assert [lend.state for lend, _ in run] == [lend.state for lend, _ in runs[0]]
    assert [lend.step for lend, _ in runs[0]] == list(range(20))
    assert [lend.k for lend, _ in runs[0]] == [32 * i for i in range(20)]


def test_batches_do_not_depend_on_slots(one):
    assert [r for _, r in stream(one, 12, slots=1)] == [r for _, r in stream(one, 12, slots=16)]


@pytest.mark.threads
@pytest.mark.parametrize("world_size", [2, 4, 8])
def test_union_over_world_sizes(one, world_size):
    whole = [rows for _, rows in stream(one, 6, batch_size=64)]
    ranks = [[rows for _, rows in stream(one, 6, global_batch_size=64, rank=rank, world_size=world_size)]
             for rank in range(world_size)]
    assert [sum((rank[i] for rank in ranks), []) for i in range(6)] == whole


def test_resume_at_random_steps(one):
    whole = stream(one, 40)
    for step in random.Random(5).sample(range(39), 8):
        resumed = stream(one, 3, state=whole[step][0].state)
        assert [rows for _, rows in resumed] == [rows for _, rows in whole[step + 1:step + 4]]
        assert resumed[0][0].step == step + 1 and resumed[0][0].state == whole[step + 1][0].state


def test_resume_without_options_and_with_other_sizes(one):
    whole = stream(one, 8, batch_size=32)
    with one.client() as client:
        got = client.subscribe(batch_size=64, fields=FIELDS, state=whole[3][0].state)
        rows = [digest(batch) for _, batch in got.take(2)]
    assert sum(rows, []) == sum((r for _, r in whole[4:8]), [])


def test_resume_with_another_seed_is_refused(one):
    state = stream(one, 1)[0][0].state
    with one.client() as client, pytest.raises(wire.Refused) as caught:
        client.subscribe(batch_size=32, fields=["x_t"], options={"seed": 8}, state=state)
    assert caught.value.code == "state" and "seed" in str(caught.value)


def test_state_of_other_data_is_refused(one, daemon, tmp_path):
    state = stream(one, 1)[0][0].state
    other = daemon(datasets.tar_set(tmp_path / "other", 20))
    with other.client() as client:
        with pytest.raises(wire.Refused) as caught:
            client.subscribe(batch_size=4, fields=["x_t"], state=state)
        assert caught.value.code == "state" and "dataset" in str(caught.value) and state["dataset"] in str(caught.value)
        mixed = state | {"dataset": other.status()["datasets"]["main"]["fingerprint"]}
        with pytest.raises(wire.Refused) as caught:
            client.subscribe(batch_size=4, fields=["x_t"], state=mixed)
        assert caught.value.code == "not-found" and state["annotations"] in str(caught.value)


def test_state_of_other_codecs_warns_or_is_refused(one):
    state = stream(one, 1)[0][0].state | {"codecs": "jpeg 0.0.1"}
    with one.client() as client:
        with pytest.raises(wire.Refused) as caught:
            client.subscribe(batch_size=32, fields=["x_t"], state=state, strict=True)
        assert caught.value.code == "state" and "jpeg 0.0.1" in str(caught.value)
        got = client.subscribe(batch_size=32, fields=["x_t"], state=state)
        assert len(got.reply["warnings"]) == 1 and "jpeg 0.0.1" in got.reply["warnings"][0]


def test_steps_end_the_stream(one):
    with one.client() as client:
        got = client.subscribe(batch_size=16, fields=["index"], steps=5)
        assert got.reply["steps"] == 5
        rows = got.take()
        assert [lend.flags & 2 for lend, _ in rows] == [0, 0, 0, 0, 2]
        assert got.end["reason"] == "steps"
        assert client.call(wire.PING) == {}


def test_passes_end_the_stream(one):
    with one.client() as client:
        got = client.subscribe(batch_size=32, fields=["index"], passes=2)
        assert got.reply["entries_per_pass"] >= 1
        assert len(got.take()) == got.reply["steps"] == -(-2 * got.reply["entries_per_pass"] // 32)


@pytest.mark.parametrize("world_size", [1, 2])
def test_sequential_gives_each_sample_once(one, world_size):
    seen = []
    for rank in range(world_size):
        with one.client() as client:
            got = client.subscribe(global_batch_size=64, fields=["index", "x0"], options={"policy": "sequential"}, rank=rank,
                                   world_size=world_size)
            assert got.reply["steps"] == 5
            rows = got.take()
            assert len(rows) == 5 and got.end["reason"] == "sequential"
            assert rows[-1][0].flags & 2
            seen += [int(i) for _, batch in rows for i in batch["index"]]
    assert sorted(seen) == list(range(N))


def test_sequential_resumes_in_the_middle_and_ends(one):
    options = {"policy": "sequential"}
    with one.client() as client:
        got = client.subscribe(batch_size=64, fields=["index"], options=options)
        states = [lend.state for lend, _ in got.take()]
    with one.client() as client:
        got = client.subscribe(batch_size=64, fields=["index"], options=options, state=states[2])
        assert [int(i) for _, batch in got.take() for i in batch["index"]] == list(range(192, N))
    with one.client() as client:
        got = client.subscribe(batch_size=64, fields=["index"], options=options, state=states[-1])
        assert got.reply["steps"] == 0 and got.take() == [] and got.end["reason"] == "sequential"


def test_x0_is_the_picture(one):
    with one.client() as client:
        got = client.subscribe(batch_size=50, fields=["x0", "u8", "index", "key", "label"], options={"policy": "sequential"})
        for _, batch in got.take(2):
            for i, index in enumerate(batch["index"]):
                want = datasets.picture(int(index)).transpose(2, 0, 1)
                assert numpy.array_equal(batch["u8"][i], want)
                assert numpy.allclose(batch["x0"][i], want / numpy.float32(127.5) - 1, atol=1e-6)
                assert batch["key"][i] == b"%06d" % index and batch["label"][i] == index % 10


@pytest.mark.threads
def test_requests(one):
    """Samples for given sigmas: no state moves, and equal requests are answered in equal bytes."""
    with one.client() as client:
        got = client.subscribe(batch_size=8, fields=FIELDS + ["s_t"], mode="request", options={"seed": 7})
        state = got.reply["state"]
        names = state["dataset"], state["annotations"]
        first = got.request([0.5, 2.0, 70.0], 0, *names)
        assert first.count == 3 and first.step == 0 and first.state is None
        batch = got.batch(first)
        assert list(batch["s_t"]) == [0.5, 2.0, 70.0]
        second = got.request([0.5, 2.0, 70.0], 1, *names)
        assert digest(got.batch(second)) != digest(batch)
        got.done(first)
        again = got.request([0.5, 2.0, 70.0], 0, *names)
        assert digest(got.batch(again)) == digest(batch)
        for sigmas in ([], [1.0] * 9, [-1.0], [float("nan")], [float("inf")]):
            with pytest.raises(wire.Refused) as caught:
                got.request(sigmas, 0, *names)
            assert caught.value.code in ("config", "protocol") and not caught.value.fatal or not sigmas
            if caught.value.fatal:
                break
        else:
            with pytest.raises(wire.Refused) as caught:
                got.request([1.0], 0, "ab" * 16, names[1])
            assert caught.value.code == "state"
            with pytest.raises(wire.Refused) as caught:
                got.request([1.0], 0, names[0], "ab" * 16)
            assert caught.value.code == "not-found"


def test_requests_beyond_the_slots(one):
    with one.client() as client:
        got = client.subscribe(batch_size=8, fields=["index"], mode="request", slots=2)
        names = got.reply["state"]["dataset"], got.reply["state"]["annotations"]
        lends = [got.request([1.0], q, *names) for q in range(2)]
        with pytest.raises(wire.Refused) as caught:
            got.request([1.0], 2, *names)
        assert caught.value.code == "busy"
        got.done(lends[0])
        assert got.request([1.0], 2, *names).slot == lends[0].slot


def test_request_in_a_stream_is_refused(one):
    with one.client() as client:
        got = client.subscribe(batch_size=8, fields=["index"], slots=1)
        names = got.reply["state"]["dataset"], got.reply["state"]["annotations"]
        with pytest.raises(wire.Refused) as caught:
            got.request([1.0], 0, *names)
        assert "mode" in str(caught.value)


def write_annotations(path, value):
    path.write_text("".join(f'{{"filename": "{i:06d}.png", "sigma_min": {value if i % 3 else 0}}}\n' for i in range(N)))
    return str(path)


def take_until_moved(got, limit=300):
    rows = []
    while not rows or not rows[-1][0].flags & 1:
        rows += got.take(1)
        assert len(rows) < limit
    return rows


@pytest.mark.threads
def test_follow_takes_the_new_generation(one, tmp_path):
    """The state before the move names the new fingerprint; a replay of the moves gives the same bytes."""
    with one.client() as client, one.client() as owner:
        got = client.subscribe(batch_size=32, fields=FIELDS, options={"seed": 7})
        rows = got.take(5)
        report = owner.call(wire.IMPORT, {"path": write_annotations(tmp_path / "b.jsonl", 0.3)})
        assert report["matched"] == N and report["generation"]["changed"]
        rows += take_until_moved(got)
        rows += got.take(3)
        moved = next(lend.step for lend, _ in rows if lend.flags & 1)
        before, after = rows[0][0].state["annotations"], report["generation"]["fingerprint"]
        for lend, batch in rows:
            assert lend.state["annotations"] == (before if lend.step + 1 < moved else after)
            values = {float(v) for v in batch["sigma_min"]}
            if lend.step >= moved:
                assert values <= {0.0, float(numpy.float32(0.3))}
        assert [g["current"] for g in owner.call(wire.GENERATIONS, {})["annotations"]] == [False, True]
        again = owner.call(wire.IMPORT, {"path": str(tmp_path / "b.jsonl")})
        assert not again["generation"]["changed"] and again["generation"]["fingerprint"] == after
    want = [digest(batch) for _, batch in rows]
    moves = [{"step": 0, "annotations": before}, {"step": moved, "dataset": rows[0][0].state["dataset"], "annotations": after}]
    assert [r for _, r in stream(one, len(rows), moves=moves)] == want
    # resumed on the state before the move: the fingerprints of the state, then none further
    resumed = stream(one, 3, state=rows[moved - 1][0].state, follow=False)
    assert [r for _, r in resumed] == want[moved:moved + 3]
    stays = stream(one, moved + 3, moves=moves[:1])
    assert [r for _, r in stays[:moved]] == want[:moved] and [r for _, r in stays[moved:]] != want[moved:moved + 3]


@pytest.mark.threads
def test_advance_moves_all_ranks_at_one_step(one, tmp_path):
    clients = [one.client() for _ in range(2)]
    streams = [client.subscribe(batch_size=16, fields=FIELDS, options={"seed": 7}, rank=rank, world_size=2)
               for rank, client in enumerate(clients)]
    rows = [got.take(4) for got in streams]
    with one.client() as owner:
        new = owner.call(wire.IMPORT, {"path": write_annotations(tmp_path / "b.jsonl", 0.3)})["generation"]["fingerprint"]
    for client in clients:
        with pytest.raises(wire.Refused) as caught:
            client.call(wire.ADVANCE, {"step": 4, "annotations": new})
        assert caught.value.code == "state"
        with pytest.raises(wire.Refused) as caught:
            client.call(wire.ADVANCE, {"step": 20, "annotations": "ab" * 16})
        assert caught.value.code == "not-found"
        assert client.call(wire.CANCEL_ADVANCE, {"step": 20}) == {}
        assert client.call(wire.ADVANCE, {"step": 15, "annotations": new})["annotations"] == new
        with pytest.raises(wire.Refused) as caught:
            client.call(wire.ADVANCE, {"step": 15, "annotations": new})
        assert caught.value.code == "busy"
        assert client.call(wire.CANCEL_ADVANCE, {"step": 15}) == {}
        answer = client.call(wire.ADVANCE, {"step": 12, "annotations": new})
        assert answer == {"step": 12, "dataset": rows[0][0][0].state["dataset"], "annotations": new}
    rows = [have + got.take(14) for have, got in zip(rows, streams)]
    for rank in rows:
        assert [lend.step for lend, _ in rank if lend.flags & 1] == [12]
        assert rank[11][0].state["annotations"] == new and rank[10][0].state["annotations"] != new
    with pytest.raises(wire.Refused) as caught:
        clients[0].call(wire.CANCEL_ADVANCE, {"step": 12})
    assert caught.value.code == "state"
    old = rows[0][0][0].state["annotations"]
    whole = stream(one, 18, moves=[{"step": 0, "annotations": old}, {"step": 12, "annotations": new}])
    assert [digest(a) + digest(b) for (_, a), (_, b) in zip(*rows)] == [r for _, r in whole]


def test_moves_of_the_list_and_of_advance_are_one_list(one, tmp_path):
    """So a client that comes back after an outage has the advances of before, can take them back, and make others."""
    with one.client() as owner:
        old = owner.call(wire.GENERATIONS, {})["annotations"][-1]["fingerprint"]
        new = owner.call(wire.IMPORT, {"path": write_annotations(tmp_path / "b.jsonl", 0.3)})["generation"]["fingerprint"]
    begin, listed = {"step": 0, "annotations": old}, [{"step": 8, "annotations": new}, {"step": 20, "annotations": new}]
    with one.client() as client:
        got = client.subscribe(batch_size=32, fields=FIELDS, options={"seed": 7}, moves=[begin, *listed])
        with pytest.raises(wire.Refused) as caught:
            client.call(wire.ADVANCE, {"step": 20, "annotations": old})
        assert caught.value.code == "busy"
        assert client.call(wire.CANCEL_ADVANCE, {"step": 20}) == {}
        assert client.call(wire.ADVANCE, {"step": 20, "annotations": old})["annotations"] == old
        assert client.call(wire.ADVANCE, {"step": 14, "dataset": None, "annotations": None})["annotations"] == new  # that of step 8
        rows = got.take(24)
        with pytest.raises(wire.Refused) as caught:
            client.call(wire.CANCEL_ADVANCE, {"step": 20})
        assert caught.value.code == "state"
    assert [lend.step for lend, _ in rows if lend.flags & 1] == [8, 20]
    want = stream(one, 24, moves=[begin, listed[0], {"step": 20, "annotations": old}])
    assert [digest(batch) for _, batch in rows] == [row for _, row in want]
    with one.client() as client:  # moves by itself: nobody's advance is taken back
        got = client.subscribe(batch_size=32, fields=FIELDS, options={"seed": 7})
        with pytest.raises(wire.Refused) as caught:
            client.call(wire.ADVANCE, {"step": 20, "annotations": old})
        assert caught.value.code == "config" and client.call(wire.CANCEL_ADVANCE, {"step": 20}) == {}


def test_old_generations_are_forgotten(one, tmp_path):
    """limits.generations_kept, 4, beside those that streams stand on."""
    with one.client() as owner, one.client() as client:
        got = client.subscribe(batch_size=8, fields=["index"], follow=False)
        got.take(2)
        for i in range(1, 10):
            owner.call(wire.IMPORT, {"path": write_annotations(tmp_path / "b.jsonl", i / 10)})
        known = owner.call(wire.GENERATIONS, {})["annotations"]
        assert [g["number"] for g in known] == [1, 6, 7, 8, 9, 10] and known[0]["streams"] == 1
        client.close()
        assert one.wait_for(lambda s: len(s["sessions"]) == 2)
        owner.call(wire.IMPORT, {"path": write_annotations(tmp_path / "b.jsonl", 2)})
        assert [g["number"] for g in owner.call(wire.GENERATIONS, {})["annotations"]] == [7, 8, 9, 10, 11]


def test_bad_samples_are_replaced_and_listed(daemon, tmp_path):
    bad = (3, 57)
    one = daemon(datasets.tar_set(tmp_path / "bad", 100, bad=bad))
    with one.client() as client:
        got = client.subscribe(batch_size=50, fields=["index", "replaced", "x0"], options={"policy": "sequential"})
        replaced = numpy.concatenate([batch["replaced"] for _, batch in got.take()])
        assert [int(i) for i in numpy.flatnonzero(replaced)] == list(bad) and set(replaced[list(bad)]) == {2}
    with one.client() as client:
        rows = client.call(wire.QUARANTINE, {})
        assert rows["total"] == 2 and {row["index"] for row in rows["rows"]} == set(bad)
        assert client.call(wire.SAMPLE, {"index": 3})["quarantine"]["reason"]
        assert client.call(wire.SAMPLE, {"index": 4})["quarantine"] is None
        got = client.subscribe(batch_size=100, fields=["index", "replaced"], options={"policy": "uniform"})
        lends = [got.take(1)[0] for _ in range(8)]
        assert not {int(i) for _, batch in lends for i in batch["index"]} & set(bad)
        assert sum(lend.n_replaced for lend, _ in lends) == sum(int((batch["replaced"] != 0).sum()) for _, batch in lends) > 0


def test_members_beside_the_picture(daemon, tmp_path):
    rows = []
    for i in range(40):
        members = {"txt": b"caption %d" % i * (i % 3), "emb.npy": datasets.npy(numpy.full((2, 3), i, "f4"))}
        if i % 5 == 0:
            del members["txt"]
        rows.append(datasets.sample(i, **members))
    one = daemon(datasets.write_tar(tmp_path / "a.tar", rows))
    with one.client() as client:
        got = client.subscribe(batch_size=40, options={"policy": "sequential"},
                               fields=["index", {"name": "member:txt", "max_bytes": 15}, "member:emb.npy"])
        fields = {f["name"]: f for f in got.reply["fields"]}
        assert fields["member:txt"]["ragged"] and fields["member:emb.npy"]["stacked"]
        assert fields["member:emb.npy"]["shape"] == [40, 2, 3]
        batch = got.take(1)[0][1]
        for i in range(40):
            want = None if i % 5 == 0 else (b"caption %d" % i * (i % 3))[:15]
            assert batch["member:txt"][i] == want
            assert batch["member:emb.npy"][i] == numpy.full((2, 3), i, "f4").tobytes()
    with one.client() as client:
        got = client.subscribe(batch_size=40, fields=[{"name": "member:txt", "max_bytes": 5, "overflow": "error"}])
        assert got.next() is None and got.end["reason"] == "error" and got.end["error"]["code"] == "limit"


def test_status_of_a_stream(one):
    with one.client() as client:
        got = client.subscribe(batch_size=32, fields=["x_t"])
        got.take(6)
        rows = [s for s in one.status()["sessions"] if s["mode"] == "stream"]
        assert len(rows) == 1
        row = rows[0]
        assert row["client"] == "wire/1" and row["images"] >= 6 * 32 and row["slots"] == 4 and row["step"] >= 6
        assert row["decoded"] > 0 and row["wait_client_s"] >= 0


@pytest.mark.threads
def test_many_streams_at_once(one):
    """Each gets its own bytes, whatever runs beside it."""
    want = {seed: [rows for _, rows in stream(one, 10, options={"seed": seed})] for seed in range(4)}
    clients = [one.client() for _ in range(8)]
    streams = [client.subscribe(batch_size=32, fields=FIELDS, options={"seed": i % 4}) for i, client in enumerate(clients)]
    got = [[] for _ in streams]
    order = random.Random(1)
    while any(len(rows) < 10 for rows in got):
        i = order.choice([i for i, rows in enumerate(got) if len(rows) < 10])
        got[i].append(digest(streams[i].take(1)[0][1]))
    assert all(rows == want[i % 4] for i, rows in enumerate(got))


@pytest.mark.threads
def test_clients_that_vanish_while_slots_are_filled(one):
    """Nothing is freed under a worker: sanitizers would see it."""
    for i in range(30):
        client = one.client()
        got = client.subscribe(batch_size=256, fields=FIELDS, slots=8, options={"seed": i})
        if i % 3:
            got.next()
        client.close()
    assert one.wait_for(lambda s: len(s["sessions"]) == 1 and s["counters"]["shm_bytes"] == 0)
    assert stream(one, 1)


def test_two_datasets(daemon, shards, tmp_path):
    other = datasets.folder_set(tmp_path / "folder", 20)
    (tmp_path / "c.json").write_text(json.dumps({
        "socket": str(tmp_path / "daemon0" / "s"), "cache_dir": str(tmp_path / "i"), "datasets": {
            "a": {"sources": {"main": {"shards": [shards]}}},
            "b": {"sources": {"main": {"shards": [other]}}, "image": {"size": [8, 12], "channels": 1}}}}))
    one = daemon("--config", tmp_path / "c.json")
    with one.client() as client:
        with pytest.raises(wire.Refused) as caught:
            client.call(wire.LIST, {})
        assert caught.value.code == "not-found" and "a, b" in str(caught.value)
        assert client.call(wire.LIST, {"dataset": "b"})["total"] == 20
        got = client.subscribe(dataset="b", batch_size=4, fields=["u8"])
        assert got.reply["fields"][0]["shape"] == [4, 1, 8, 12]


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["0", "1G"])
def test_no_allocation_in_the_steady_state(daemon, shards, annotations, cache):
    """Calls of our own allocator over 1,000 steps, less those of the STATUS that tells them."""
    one = daemon(shards, "--annotations", annotations, "--cache-size", cache)
    with one.client() as client:
        got = client.subscribe(batch_size=16, fields=FIELDS + ["member:cls"], options={"xflip": True})
        got.take(200)
        counts = [client.call(wire.STATUS, {})["counters"]["allocations"] for _ in range(2)]
        got.take(1000)
        after = client.call(wire.STATUS, {})["counters"]["allocations"]
        assert after - counts[1] == counts[1] - counts[0]


def schedule(kind, process="ve", **numbers):
    return {"process": process, "schedule": {"kind": kind, **numbers}}


@pytest.mark.parametrize("options, weight, word", [
    (schedule("constant", level=0), "edm", "weight"),
    (schedule("constant", "flow", level=0), "velocity", "weight"),
    (schedule("uniform", "flow", lo=0, hi=0, scale="t"), "velocity", ""),
    (schedule("constant", level="inf"), "none", ""),
    (schedule("lognormal", mean=0, std=-1), "edm", "std"),
])
def test_levels_that_have_no_weight_or_no_picture(one, options, weight, word):
    with one.client() as client:
        with pytest.raises(wire.Refused) as caught:
            client.subscribe(batch_size=4, fields=["x_t", "weight"], options=options, weight=weight)
        assert caught.value.code == "config" and word in str(caught.value)
        got = client.subscribe(batch_size=4, fields=["weight"], weight="edm", mode="request")
        names = got.reply["state"]["dataset"], got.reply["state"]["annotations"]
        with pytest.raises(wire.Refused) as caught:
            got.request([1.0, 0.0], 0, *names)
        assert caught.value.code in ("config", "gap")


def nowhere(path):
    """Nothing below sigma 250, where the schedule almost never is."""
    path.write_text("".join(f'{{"filename": "{i:06d}.png", "sigma_min": 250.0, "sigma_max": 0}}\n' for i in range(N)))
    return str(path)


@pytest.mark.threads
def test_a_generation_that_cannot_be_drawn_from_is_not_taken(one, tmp_path):
    body = {"batch_size": 16, "fields": ["index"], "options": {"seed": 7}}
    with one.client() as owner, one.client() as follower, one.client() as pinned:
        follows = follower.subscribe(**body)
        stays = pinned.subscribe(**body, follow=False)
        follows.take(2)
        new = owner.call(wire.IMPORT, {"path": nowhere(tmp_path / "n.jsonl")})["generation"]["fingerprint"]
        reason = one.wait_for(lambda s: [row["stays"] for row in s["sessions"] if row["stays"]])
        assert len(reason) == 1 and "no sample admits" in reason[0]
        rows = follows.take(20)
        assert all(lend.state["annotations"] != new and not lend.flags & 1 for lend, _ in rows)
        with pytest.raises(wire.Refused) as caught:
            pinned.call(wire.ADVANCE, {"step": 50, "annotations": new})
        assert caught.value.code == "gap" and caught.value.detail["mass"] > 0.99
        assert [lend.step for lend, _ in stays.take(3)] == [0, 1, 2]
        with one.client() as fresh, pytest.raises(wire.Refused) as caught:
            fresh.subscribe(**body)
        assert caught.value.code == "gap" and caught.value.detail["gap"][0] == 0
        # `moves` asked for it: the stream ends there
        with one.client() as replay:
            old = rows[0][0].state["annotations"]
            got = replay.subscribe(**body, moves=[{"step": 0, "annotations": old}, {"step": 6, "annotations": new}])
            taken = got.take()
            assert [lend.step for lend, _ in taken] == list(range(5)) and got.end["error"]["code"] == "gap"
        # and back again
        back = owner.call(wire.IMPORT, {"path": write_annotations(tmp_path / "b.jsonl", 0.3)})["generation"]["fingerprint"]
        assert take_until_moved(follows)[-1][0].state["annotations"] == back
        assert not [row for row in one.status()["sessions"] if row["stays"]]


def test_stream_ends_where_every_replacement_is_bad(daemon, tmp_path):
    """One good sample that no sigma of the schedule admits; all others are bad."""
    bad = [i for i in range(30) if i != 12]
    path = tmp_path / "a.jsonl"
    path.write_text('{"filename": "000012.png", "sigma_min": 250.0}\n')
    one = daemon(datasets.tar_set(tmp_path / "bad", 30, bad=bad), "--annotations", path)
    with one.client() as client:
        got = client.subscribe(batch_size=8, fields=["x_t"])
        assert got.next() is None
        assert got.end["reason"] == "error" and got.end["error"]["code"] == "exhausted" and "s = " in got.end["message"]
        assert client.call(wire.QUARANTINE, {})["total"] > 20
        assert client.call(wire.PING) == {}

"""How annotations reach streams: sources that wait for theirs, generations that come under a running job, what stays and why."""

import json
import subprocess
import time

import numpy
import pytest

import datasets
import wire
from test_annotate import OVER, act, annotate, columns, ctl, job, wait

N = 60
SCHEDULE = {"seed": 5, "schedule": {"kind": "lognormal", "mean": 0, "std": 1}}


@pytest.fixture
def served(daemon, tmp_path):
    """served(source options): a daemon whose jobs publish every second, or as said, with a state directory that its successors share."""
    def start(shards=None, state=tmp_path / "state", publish_s=1, **source):
        shards = shards or datasets.tar_set(tmp_path / "tars", N, per_shard=30)
        config = {"socket": str(tmp_path / "s"), "cache_dir": str(tmp_path / "index"), "state_dir": str(state), "workers": 1,
                  "annotate": {"gives_way": False, "publish_s": publish_s}, "datasets": {"main": {"sources": {"main": {"shards": [shards], **source}}}}}
        (tmp_path / "c.json").write_text(json.dumps(config))
        one = daemon("--config", tmp_path / "c.json")
        one.socket = tmp_path / "s"
        return one
    return start


def load(one, path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with one.client() as client:
        return client.call(wire.IMPORT, {"path": str(path)})["generation"]


def subscribe(client, **body):
    return client.subscribe(batch_size=16, fields=["x_t", "index", "s_t", "sigma_min", "sigma_max"], options=SCHEDULE, **body)


def test_a_source_is_not_used_before_it_is_annotated(served):
    """Nothing is admitted at first, and who subscribes is told so; then the annotated samples come, and no others, each above its
    sigma_min. `sequential` asks no annotation."""
    one = served(default_annotation="nowhere")
    with one.client() as client:
        with pytest.raises(wire.Refused, match="annotate the samples") as refused:
            subscribe(client)
        assert refused.value.code == "gap" and refused.value.detail == {"gap": [0, "inf"], "mass": 1}
        whole = client.subscribe(batch_size=N, fields=["index"], options={"policy": "sequential"}).take()
        assert sorted(whole[0][1]["index"]) == list(range(N))
    id = annotate(one, where={"label": 1})
    assert wait(one, id)["state"] == "done"
    one.process.kill()
    one.process.wait()
    one = served(default_annotation="nowhere")
    sigma_min = columns(one)["sigma_min"]
    assert numpy.isinf(sigma_min).sum() == N - 6
    with one.client() as client:
        stream = subscribe(client)
        rows = stream.take(30)
        assert {int(i) for _, batch in rows for i in batch["index"]} == {1, 11, 21, 31, 41, 51}
        assert stream.reply["gap"]["gap"] == pytest.approx([0, sigma_min.min()])
        for _, batch in rows:
            assert (batch["sigma_min"] == sigma_min[batch["index"]]).all() and (batch["s_t"] > batch["sigma_min"]).all()
            assert (batch["sigma_max"] == 0).all()


def test_generations_come_under_a_running_job_and_streams_take_them(served, tmp_path):
    """A stream that follows is drawn, at every step, on the generation that the state before names; a replay of any of these steps by
    a later daemon gives the same bytes."""
    one = served(shards=datasets.tar_set(tmp_path / "many", 900, per_shard=300))
    with one.client() as client:
        stream, states, rows = subscribe(client), [], []
        state = stream.reply["state"]
        id = annotate(one, model="fake:slow=2", batch=8)
        end = time.monotonic() + 120
        while len({state["annotations"] for state in states}) < 4:
            (lend, batch), = stream.take(1)
            states.append(state)
            rows.append(batch)
            state = lend.state
            assert time.monotonic() < end
        assert job(one, id)["state"] == "running"
        act(one, id, "cancel")
        wait(one, id)
    one.process.kill()
    one.process.wait()
    one = served(shards=str(tmp_path / "many/shard-*.tar"))
    first = {state["annotations"]: i for i, state in reversed(list(enumerate(states)))}  # the step at which each took effect
    for i in sorted(first.values()):
        with one.client() as client:
            (_, again), = subscribe(client, state=states[i], follow=False).take(1)
            assert all((again[name] == rows[i][name]).all() for name in again)
        annotated = rows[i]["sigma_max"] == 0
        assert (rows[i]["s_t"] > rows[i]["sigma_min"])[annotated].all() and (rows[i]["sigma_min"] == 0)[~annotated].all()


def test_status_says_which_stream_stays_and_why(served, tmp_path):
    one = served()
    with one.client() as client:
        subscribe(client).take(1)
        load(one, tmp_path / "a.jsonl", [{"key": f"{i:06d}", "sigma_min": "inf"} for i in range(N)])
        assert one.wait_for(lambda status: any(row["stays"] for row in status["sessions"]))
        assert "stays on its generation, the newest is not for it: no sample admits sigma in [0, inf]" in ctl(one, "status").stdout


def test_annotations_that_are_gone_are_named_with_the_way_out(served):
    one = served()
    with one.client() as client:
        state = subscribe(client).take(1)[0][0].state
    state["annotations"] = "0" * 31 + "1"
    with one.client() as client:
        with pytest.raises(wire.Refused, match="0{31}1 in memory or in its store.*on_generation_change=continue") as refused:
            subscribe(client, state=state)
        assert refused.value.code == "not-found"
        stream = subscribe(client, state=state, on_generation_change="continue")
        assert "0" * 31 + "1" in stream.reply["warnings"][0] and stream.take(1)[0][0].step == 1


@pytest.mark.slow
def test_a_generation_for_which_there_was_no_room_is_minted_later(served, tmp_path):
    """The disk fills under a job that replaces values, so that what they were does not fit when it is cancelled. Once there is room
    the generation comes by itself."""
    state = tmp_path / "small"
    state.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(state)], capture_output=True).returncode != 0:
        pytest.skip("a small tmpfs cannot be mounted here")
    try:
        one = served(shards=datasets.tar_set(tmp_path / "many", 6000, size=8, per_shard=3000), state=state, publish_s=5)
        assert wait(one, annotate(one))["state"] == "done"
        ballast = state / "ballast"
        with open(ballast, "wb", 0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(4096))
        for turn in range(20):  # the journal has some room ahead
            id = annotate(one, grid=[0.002 + 0.001 * (turn % 2), 80, 2000], where={"annotated": "any"})
            if wait(one, id, ("waiting", *OVER))["state"] == "waiting":
                break
        act(one, id, "cancel")
        wait(one, id)
        assert one.wait_for(lambda _: "annotations.unminted" in one.log())
        before = one.status()["datasets"]["main"]["annotations"]["generation"]
        ballast.unlink()
        assert one.wait_for(lambda status: status["datasets"]["main"]["annotations"]["generation"] > before, 30)
        one.stop()
    finally:
        subprocess.run(["umount", "-l", str(state)], check=False)


@pytest.mark.parametrize("harm", [lambda data: data[:60], lambda data: data[:60] + bytes([data[60] ^ 4]) + data[61:], lambda data: b""],
                         ids=["cut", "flipped", "empty"])
def test_damage_to_the_archive_takes_no_generation_that_the_store_knows(served, tmp_path, harm):
    """The values of an edition that was left are damaged: the records say them too, and the way back begins there."""
    tars = tmp_path / "tars"
    datasets.tar_set(tars, N, per_shard=30)
    one, drawn = served(shards=str(tars / "shard-000000.tar")), []
    for sigma_min in (0.25, 0.5):
        load(one, tmp_path / "a.jsonl", [{"key": f"{i:06d}", "sigma_min": sigma_min} for i in range(15)])
        with one.client() as client:
            stream = subscribe(client)
            drawn.append((stream.reply["state"], stream.take(1)[0][1]))
    one.stop()
    values = tmp_path / "state/editions/main" / f"{drawn[0][0]['dataset']}.values"
    values.write_bytes(harm(values.read_bytes()))
    one = served(shards=str(tars / "shard-*.tar"))
    for state, batch in drawn:
        with one.client() as client:
            again = subscribe(client, state=state, follow=False).take(1)[0][1]
            assert all((again[name] == batch[name]).all() for name in batch)

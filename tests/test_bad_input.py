"""What bad input gets: a message that says what was found and what is allowed, and nothing lost (issue 3, section 5)."""

import json
import os
import subprocess

import numpy
import pytest

import ambientd
import datasets
import wire

BIN = os.environ.get("AMBIENTD_BIN", "build/daemon/ambientd")


def check(*arguments):
    """`ambientd serve --check`: exit status and what it said."""
    done = subprocess.run([BIN, "serve", *map(str, arguments), "--check"], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def refused(*arguments, words):
    status, text = check(*arguments)
    assert status in (1, 2), text
    for word in words:
        assert word in text, f"{word!r} is not in: {text}"
    return text


@pytest.fixture
def shards(tmp_path):
    return datasets.tar_set(tmp_path / "shards", 20)


def test_no_shard_matches(tmp_path):
    refused(tmp_path / "nothing-*.tar", "--size", 16, words=["nothing-*.tar", "match"])


def test_truncated_tar(tmp_path, shards):
    whole = (tmp_path / "shards" / "shard-000000.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2 + 100])
    refused(tmp_path / "cut.tar", "--size", 16, words=["cut.tar"])


def test_truncated_zip(tmp_path):
    path = datasets.zip_set(tmp_path / "a.zip", 20)
    data = open(path, "rb").read()
    open(path, "wb").write(data[:-40])
    refused(path, "--size", 16, words=["a.zip"])


def test_sample_without_image(tmp_path):
    rows = [datasets.sample(i) for i in range(5)] + [("lonely", {"txt": b"no picture here"})]
    path = datasets.write_tar(tmp_path / "a.tar", rows)
    status, text = check(path, "--size", 16)
    assert status == 0 and "lonely" in text


def test_shard_without_any_image(tmp_path):
    path = datasets.write_tar(tmp_path / "a.tar", [("lonely", {"txt": b"no picture here"})])
    refused(path, "--size", 16, words=["a.tar"])


def test_repeated_key_names_both_places(tmp_path):
    one = datasets.write_tar(tmp_path / "one.tar", [datasets.sample(1)])
    two = datasets.write_tar(tmp_path / "two.tar", [datasets.sample(1)])
    refused(one, two, "--size", 16, words=["000001", "one.tar", "two.tar"])


@pytest.mark.parametrize("line, word", [
    ("not json", "line 2"),
    ('{"filename": "000001.png", "sigma_min": NaN}', "line 2"),
    ('{"filename": "000001.png", "sigma_min": -1}', "line 2"),
    ('{"filename": "000001.png", "sigma_min": "many"}', "line 2"),
])
def test_bad_annotation_line(tmp_path, shards, line, word):
    (tmp_path / "a.jsonl").write_text('{"filename": "000000.png", "sigma_min": 0.5}\n' + line + "\n")
    refused(shards, "--size", 16, "--annotations", tmp_path / "a.jsonl", words=["a.jsonl", word])


def test_sigma_max_above_sigma_min_is_legal(tmp_path, shards):
    (tmp_path / "a.jsonl").write_text('{"filename": "000000.png", "sigma_min": 0.5, "sigma_max": 2}\n')
    assert check(shards, "--size", 16, "--annotations", tmp_path / "a.jsonl")[0] == 0


def test_unmatched_lines_are_reported(tmp_path, shards):
    (tmp_path / "a.jsonl").write_text('{"filename": "elephant.png", "sigma_min": 0.5}\n{"filename": "000001.png", "sigma_min": 0.5}\n')
    status, text = check(shards, "--size", 16, "--annotations", tmp_path / "a.jsonl")
    assert status == 0 and "elephant.png" in text


def test_mixed_sizes_without_a_transform(tmp_path):
    """Nothing says how 16 x 16 shall become 32 x 32: those samples are bad, with both sizes in the reason."""
    rows = [datasets.sample(i, size=32 if i % 2 else 16) for i in range(10)]
    path = datasets.write_tar(tmp_path / "a.tar", rows)
    with ambientd.start(path, size=32, transform="none") as server:
        with ambientd.Loader(server.address, batch_size=10, fields=["x0", "replaced"], policy="sequential", schedule=None) as loader:
            replaced = numpy.concatenate([numpy.array(batch.replaced) for batch in loader])
        assert list(replaced) == [2, 0] * 5
        rows = ambientd.Client(server.address).quarantine()
        rows = rows["rows"] if isinstance(rows, dict) else rows
        assert len(rows) == 5 and all("16" in row["reason"] and "32" in row["reason"] for row in rows)


def test_gap_names_its_mass(tmp_path, shards):
    (tmp_path / "a.jsonl").write_text("".join(f'{{"filename": "{i:06d}.png", "sigma_min": 0.5}}\n' for i in range(20)))
    with ambientd.start(shards, size=16, annotations=tmp_path / "a.jsonl") as server:
        with pytest.raises(ambientd.GapError) as caught:
            next(iter(ambientd.Loader(server.address, batch_size=4)))
        assert "0.5" in str(caught.value) and caught.value.mass == pytest.approx(0.664, abs=0.002)
        # the schedule that stays above is served
        loader = ambientd.Loader(server.address, batch_size=4, schedule=ambientd.LogUniform(0.6, 80), steps=2)
        assert len(list(loader)) == 2


def test_truncated_gap_is_reported_and_never_drawn(tmp_path, shards):
    (tmp_path / "a.jsonl").write_text("".join(f'{{"filename": "{i:06d}.png", "sigma_min": 0.015}}\n' for i in range(20)))
    with ambientd.start(shards, size=16, annotations=tmp_path / "a.jsonl") as server:
        with ambientd.Loader(server.address, batch_size=512, fields=["s_t"], steps=20) as loader:
            assert min(float(batch.s_t.min()) for batch in loader) > 0.015
        with pytest.raises(ambientd.GapError):
            next(iter(ambientd.Loader(server.address, batch_size=4, gaps="error")))


def test_request_that_nothing_admits_lists_the_sigmas(tmp_path, shards):
    (tmp_path / "a.jsonl").write_text("".join(f'{{"filename": "{i:06d}.png", "sigma_min": 0.015}}\n' for i in range(20)))
    with ambientd.start(shards, size=16, annotations=tmp_path / "a.jsonl") as server:
        with ambientd.Loader(server.address, batch_size=4, fields=["s_t", "x_t"]) as loader:
            next(iter(loader))
            with pytest.raises(ambientd.GapError) as caught:
                loader.request([0.01, 0.5])
            assert caught.value.sigmas == [0.01]
            batch = loader.request([0.5, 1.5])
            assert list(batch.s_t) == [0.5, 1.5]


def test_batch_larger_than_memory(shards):
    with ambientd.start(shards, size=16) as server:
        with pytest.raises(ambientd.AmbientError) as caught:
            next(iter(ambientd.Loader(server.address, batch_size=2**22, slots=64, fields=["x_t"])))
        assert "bytes" in str(caught.value) or "GiB" in str(caught.value)


@pytest.mark.parametrize("options, word", [
    ({"fields": ["x_tt"]}, "x_t"),
    ({"fields": ["x_t:i64"]}, "f32"),
    ({"process": "vee"}, "ve"),
    ({"policy": "passs"}, "pass"),
    ({"fields": ["weight"], "weight": "velocity", "process": "flow", "policy": "sequential", "schedule": ambientd.Constant(0.0)}, "weight"),
])
def test_wrong_stream_options(shards, options, word):
    with ambientd.start(shards, size=16) as server:
        with pytest.raises((ambientd.AmbientError, ValueError)) as caught:
            next(iter(ambientd.Loader(server.address, **({"batch_size": 4} | options))))
        assert word in str(caught.value)


def test_state_of_other_options_or_data(tmp_path, shards):
    other = datasets.tar_set(tmp_path / "other", 21)
    with ambientd.start(shards, size=16) as server, ambientd.start(other, size=16) as stranger:
        with ambientd.Loader(server.address, batch_size=4, steps=3) as loader:
            state = [batch.state for batch in loader][-1]
        loader = ambientd.Loader(server.address, batch_size=4, seed=1)
        loader.load_state_dict(state)
        with pytest.raises(ambientd.AmbientError, match="seed"):
            next(iter(loader))
        loader = ambientd.Loader(stranger.address, batch_size=4)
        loader.load_state_dict(state)
        with pytest.raises(ambientd.AmbientError, match="dataset"):
            next(iter(loader))


@pytest.mark.parametrize("arguments, words", [
    (["--sise", "16"], ["--sise", "--size"]),
    (["--size", "many"], ["many"]),
    (["--transform", "centre-crop"], ["center-crop"]),
])
def test_wrong_arguments(shards, arguments, words):
    refused(shards, *arguments, words=words)


def test_config_with_a_misspelt_key(tmp_path, shards):
    (tmp_path / "c.json").write_text(json.dumps({"datasets": {"main": {"sources": {"main": {"shardz": [shards]}}}}}))
    done = subprocess.run([BIN, "--config", tmp_path / "c.json", "--check"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "shardz" in done.stderr and "shards" in done.stderr.replace("shardz", "")
    (tmp_path / "c.json").write_text('{\n  "datasets": {,}\n}')
    done = subprocess.run([BIN, "--config", tmp_path / "c.json", "--check"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "line 2" in done.stderr


def test_hidden_pictures_are_told(tmp_path):
    """Two pictures of one key are one sample; nothing is dropped in silence."""
    one, two = datasets.sample(1), datasets.sample(2)
    one[1]["jpg"] = datasets.encode(datasets.picture(3), "jpg")
    path = datasets.write_tar(tmp_path / "a.tar", [one, two])
    status, text = check(path, "--size", 16)
    assert status == 0 and "1 further pictures of a key" in text and "000001" in text
    with ambientd.start(path, size=16) as server:
        findings = ambientd.Client(server.address).status()["datasets"]["main"]["findings"]
        assert len(findings) == 1 and "000001" in findings[0]


def exclude(tmp_path, shards, path):
    """`--check` with a list of excluded samples in a file."""
    (tmp_path / "c.json").write_text(json.dumps({"datasets": {"main": {"sources": {"main": {"shards": [shards]}}, "image": {"size": 16}, "exclude": str(path)}}}))
    done = subprocess.run([BIN, "--config", tmp_path / "c.json", "--check"], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_excludes_that_cannot_be_read(tmp_path, shards):
    """A folder is no list; a list without end must end somewhere."""
    status, text = exclude(tmp_path, shards, tmp_path)
    assert status in (1, 2) and "exclude" in text and "is a folder" in text, text
    with open(tmp_path / "long", "wb") as file:
        file.truncate((256 << 20) + 1)
    status, text = exclude(tmp_path, shards, tmp_path / "long")
    assert status in (1, 2) and "exclude" in text and "268435456" in text, text
    (tmp_path / "good").write_text("# comment\nmain/000001\r\n\n")
    assert exclude(tmp_path, shards, tmp_path / "good")[0] == 0


def test_pictures_past_a_limit_are_replaced_and_counted(daemon, tmp_path):
    """One below it, one at it, one above, which both workers may meet before either has told."""
    tar = datasets.write_tar(tmp_path / "a.tar", [(f"{side}", {"png": datasets.encode(datasets.picture(side, side))}) for side in (17, 18, 19)])
    (tmp_path / "c.json").write_text(json.dumps({
        "socket": str(tmp_path / "s"), "cache_dir": str(tmp_path / "index"), "limits": {"image_side": 18},
        "datasets": {"main": {"sources": {"main": {"shards": [str(tar)]}}, "image": {"size": 16, "transform": "center-crop"}}}}))
    one = daemon("--config", tmp_path / "c.json")
    one.socket = tmp_path / "s"
    with one.client() as client:
        rows = client.subscribe(batch_size=3, fields=["key", "replaced"], options={"policy": "uniform"}, slots=2).take(20)
        bad, = client.call(wire.QUARANTINE, {})["rows"]
    assert {key for _, batch in rows for key in batch["key"]} == {b"17", b"18"}
    assert bad["key"] == "19" and bad["code"] == "limit" and one.counter("image_limit") in (1, 2) and one.counter("decode_cpu_limit") == 0

"""Same seed, same bytes: whatever the workers, world size, restarts, code path, cache, copy of the data (issue 3, 6.4).

Every comparison is of all bytes of all fields. The data has bad samples in it, so that replacement is under the same
promise.
"""

import hashlib
import os
import random
import shutil

import numpy
import pytest

import ambientd
import datasets

N = 300
BAD = (7, 123, 211)
FIELDS = ["x_t", "x_tn", "x0", "noise", "u8", "sigma_t", "sigma_tn", "s_t", "s_tn", "sigma_min", "sigma_max", "weight", "label",
          "index", "uid", "key", "replaced", "seeds"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("determinism")
    pattern = datasets.tar_set(folder / "shards", N, bad=BAD)
    return pattern, datasets.annotate(folder / "annotations.jsonl", N)


def serve(data, **options):
    return ambientd.start(data[0], annotations=data[1], size=16, **options)


def digest(batch) -> list[str]:
    """One hash for each row, over every field."""
    rows = []
    for i in range(batch.count):
        h = hashlib.sha256()
        for name in FIELDS:
            value = batch[name][i]
            h.update(value.encode() if isinstance(value, str) else numpy.ascontiguousarray(value).tobytes())
        rows.append(h.hexdigest())
    return rows


def stream(address, steps, **options):
    options = {"batch_size": 32, "seed": 11, "xflip": True, "fields": FIELDS} | options
    with ambientd.Loader(address, steps=steps, **options) as loader:
        return [digest(batch) for batch in loader]


@pytest.fixture(scope="module")
def reference(data):
    with serve(data, workers=1) as server:
        return {policy: stream(server.address, 40, policy=policy) for policy in ("pass", "uniform")}


@pytest.mark.threads
@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("policy", ["pass", "uniform"])
def test_workers_change_no_byte(data, reference, workers, policy):
    with serve(data, workers=workers) as server:
        assert stream(server.address, 40, policy=policy) == reference[policy]


def test_bad_samples_are_replaced_the_same_way(data):
    with serve(data, workers=2) as server:
        with ambientd.Loader(server.address, batch_size=32, seed=11, fields=["index", "replaced"], steps=40) as loader:
            rows = [(int(i), int(r)) for batch in loader for i, r in zip(batch.index, batch.replaced)]
        assert not {i for i, _ in rows} & set(BAD)
        assert any(r == 1 for _, r in rows)
        # one that only the largest sigmas admit may not have been drawn
        found = {int(row["index"]) for row in ambientd.Client(server.address).quarantine()["rows"]}
        assert found and found <= set(BAD)


@pytest.mark.parametrize("path", ["scalar", "avx2", "avx512"])
def test_vector_paths_agree(data, reference, path, monkeypatch):
    flags = open("/proc/cpuinfo").read()
    needs = {"scalar": [], "avx2": ["avx2", "fma"], "avx512": ["avx512f", "avx512dq", "avx512bw", "avx512vl"]}[path]
    if any(f" {flag}" not in flags for flag in needs):
        pytest.skip(f"this processor lacks {path}")
    monkeypatch.setenv("AMBIENTD_PATH", path)
    with serve(data, workers=2) as server:
        assert ambientd.Client(server.address).status()["server"]["path"] == path
        assert stream(server.address, 40) == reference["pass"]


@pytest.mark.parametrize("world", [2, 4, 8])
def test_union_over_world_sizes_is_the_same(data, reference, world):
    with serve(data) as server:
        ranks = [stream(server.address, 40, batch_size=32 // world, rank=r, world_size=world) for r in range(world)]
    assert [sum((ranks[r][step] for r in range(world)), []) for step in range(40)] == reference["pass"]


@pytest.mark.parametrize("policy", ["pass", "uniform"])
def test_resume_at_random_steps(data, reference, policy):
    """100 states, each saved behind one of 40 steps, each resumed on a fresh connection for two steps."""
    with serve(data) as server:
        with ambientd.Loader(server.address, batch_size=32, seed=11, xflip=True, fields=FIELDS, policy=policy, steps=40) as loader:
            states = [batch.state for batch in loader]
        rng = random.Random(5)
        for _ in range(100):
            step = rng.randrange(38)
            with ambientd.Loader(server.address, batch_size=32, seed=11, xflip=True, fields=FIELDS, policy=policy, steps=2) as loader:
                loader.load_state_dict(states[step])
                assert [digest(batch) for batch in loader] == reference[policy][step + 1 : step + 3]


def test_resume_with_another_world_size(data, reference):
    with serve(data) as server:
        with ambientd.Loader(server.address, batch_size=32, seed=11, xflip=True, fields=FIELDS, steps=10) as loader:
            state = [batch.state for batch in loader][-1]
        halves = []
        for rank in range(2):
            with ambientd.Loader(server.address, batch_size=16, seed=11, xflip=True, fields=FIELDS, rank=rank, world_size=2, steps=5) as loader:
                loader.load_state_dict(state)
                halves.append([digest(batch) for batch in loader])
    assert [a + b for a, b in zip(*halves)] == reference["pass"][10:15]


def test_another_daemon_on_a_copy_gives_the_same(data, reference, tmp_path):
    """Paths, times and inodes differ; names, order and bytes do not."""
    folder = os.path.dirname(data[0])
    shutil.copytree(folder, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    copy = str(tmp_path / "elsewhere" / "shard-*.tar")
    with serve((copy, data[1])) as server:
        assert stream(server.address, 40) == reference["pass"]


@pytest.mark.parametrize("cache", ["0", "64K", "1G"])
def test_cache_changes_no_byte(data, reference, cache):
    """None, one that holds a fraction, one that holds all; the second run is answered from it."""
    with serve(data, cache_size=cache) as server:
        assert stream(server.address, 40) == reference["pass"]
        assert stream(server.address, 40) == reference["pass"]
        stats = ambientd.Client(server.address).status()["cache"]
    if cache == "1G":
        assert stats["hits"] > stats["misses"]
    if cache == "0":
        assert stats["hits"] == 0 and stats["used_bytes"] == 0


def test_fields_asked_for_change_no_byte_of_others(data):
    with serve(data) as server:
        whole = {}
        with ambientd.Loader(server.address, batch_size=16, seed=3, fields=FIELDS, steps=5) as loader:
            for batch in loader:
                whole[batch.step] = {name: numpy.array(batch[name]) for name in ("x_t", "x_tn", "sigma_t")}
        for name in ("x_t", "x_tn", "sigma_t"):
            with ambientd.Loader(server.address, batch_size=16, seed=3, fields=[name], steps=5) as loader:
                for batch in loader:
                    assert batch[name].tobytes() == whole[batch.step][name].tobytes()
        with ambientd.Loader(server.address, batch_size=16, seed=3, fields=["x_t:f16"], steps=5) as loader:
            for batch in loader:
                assert batch.x_t.tobytes() == whole[batch.step]["x_t"].astype(numpy.float16).tobytes()

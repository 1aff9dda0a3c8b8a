"""Python's side of annotations: jobs, columns, live progress, Parquet; and classifiers, from training to records."""

import dataclasses
import os
import subprocess
import sys

import numpy
import pytest

import ambientd
import datasets
from conftest import ROOT

N = 60


@pytest.fixture
def client(daemon, tmp_path):
    shards = datasets.tar_set(tmp_path / "tars", N, per_shard=30)
    one = daemon(shards, "--state-dir", tmp_path / "state", "--jobs-share")
    with ambientd.Client(one.socket) as client:
        yield client


def test_job_is_waited_for_and_columns_are_arrays(client):
    seen = []
    job = client.annotate("fake:edge").wait(60, progress=lambda facts: seen.append(facts["state"]))
    assert job.state == "done" and seen[-1] == "done" and [row.id for row in client.jobs()] == [job.id]
    table = client.annotations()
    assert len(table) == N and table.sigma_min.dtype == numpy.float32 and (table.state == 1).all()
    assert table.keys[7] == "000007" and table.sources == ["main"] and len(table.models) == 1
    assert (table.lo <= table.sigma_min).all() and table.evaluations.sum() == job.facts["evaluations"] - 1024
    older = client.annotations(generation=client.generations()["annotations"][0]["fingerprint"])
    assert (older.sigma_min == 0).all() and numpy.isinf(older.sigma_max).all()


def test_failed_job_raises_its_reason(client):
    with pytest.raises(ambientd.AmbientError, match="No such file"):
        client.annotate("/nonexistent.onnx").wait(60)


def test_progress_is_heard_live(client):
    events = client.subscribe(timeout=30)
    assert next(events)["jobs"] == []
    client.annotate("fake:slow=1")
    states = []
    for event in events:
        states += [job["state"] for job in event["jobs"]]
        if states and states[-1] == "done":
            break
    events.close()
    assert "running" in states


def test_job_is_estimated_paused_resumed_and_cancelled_by_its_handle(client):
    cost = client.estimate("fake:edge", mode="dense", grid=(0.01, 3, 64))
    assert cost["samples"] == N and cost["evaluations"] == N * 4 * 64 and client.jobs() == []
    job = client.annotate("fake:slow=20", where={"label": 1}, priority=2)
    assert client.job(job.id).facts["priority"] == 2
    job.pause()
    assert job.set_priority(3).facts["priority"] == 3 and job.resume().state in ("queued", "running")
    job.cancel()
    with pytest.raises(ambientd.JobError, match="was cancelled") as error:
        job.wait(60)
    assert error.value.detail["state"] == "cancelled" and job.wait(60, check=False).state == "cancelled"
    with pytest.raises(ambientd.AmbientError, match="cannot pause"):
        job.pause()
    with pytest.raises(ambientd.NotFoundError, match="no job 99"):
        client.job(99)


def test_wait_outlives_a_restart_of_the_daemon(daemon, tmp_path):
    """Killed while it works and waited for: another daemon at the same socket ends the job."""
    shards = datasets.tar_set(tmp_path / "tars", N, per_shard=30)
    arguments = shards, "--state-dir", tmp_path / "state", "--jobs-share", "--socket", tmp_path / "s"
    one = daemon(*arguments)
    job = ambientd.Client(tmp_path / "s").annotate("fake:slow=10")
    heard, restarted = [], []

    def restart(facts):
        heard.append(facts["done"])
        if facts["done"] > 3 and not restarted:
            one.process.kill()
            one.process.wait()
            restarted.append(daemon(*arguments))

    assert job.wait(120, progress=restart).facts["done"] == N and restarted and len(heard) > 2


def test_curves_pictures_and_statistics_come_as_arrays(client):
    client.annotate("fake:edge", mode="dense", grid=(0.01, 3, 64), curves=True).wait(60)
    table = client.annotations()
    answer = client.curve(table.keys[3])
    curve, threshold = answer["curve"], answer["threshold"]
    assert curve["sigmas"].shape == curve["p"].shape == (64,) and (numpy.diff(curve["sigmas"]) > 0).all()
    assert answer["annotation"]["sigma_min"] == pytest.approx(table.sigma_min[3]) and threshold == pytest.approx(0.55)
    assert client.curve(index=3)["key"] == table.keys[3]
    first, second = client.pictures([0, 59])
    assert first["u8"].shape == (3, 16, 16) and first["u8"].dtype == numpy.uint8 and second["key"] == table.keys[59]
    assert client.stats(by="label")["total"] == N and client.verify_annotations()["damaged"] == 0
    assert (table.usable(4.0)).all() and not table.usable(1e-9).any()
    assert client.annotations(start=50, count=30).keys == table.keys[50:]


def test_jsonl_goes_there_and_back(client, tmp_path):
    client.annotate("fake:edge", where={"label": 1}).wait(60)
    minted = client.mint()
    assert client.generations()["annotations"][-1]["fingerprint"] == minted["fingerprint"]
    before = client.annotations()
    assert client.export_annotations(tmp_path / "a.jsonl")["lines"] == N
    client.export_annotations(tmp_path / "toolbox.jsonl", toolbox=True)
    assert '"inf"' in (tmp_path / "a.jsonl").read_text() and "inf" not in (tmp_path / "toolbox.jsonl").read_text()
    assert client.import_annotations(tmp_path / "a.jsonl")["matched"] == N
    after = client.annotations()
    assert (after.sigma_min == before.sigma_min).all() and (after.sigma_max == before.sigma_max).all()


def test_parquet_sets_only_what_somebody_had_set(client, tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    client.annotate("fake:edge", where={"label": 1}).wait(60)
    before = client.annotations()
    mine = before.label == 1
    assert 0 < mine.sum() < N
    client.annotations_to_parquet(tmp_path / "a.parquet")
    assert client.annotations_from_parquet(tmp_path / "a.parquet")["lines"] == mine.sum()
    after = client.annotations()
    assert (after.origins()[mine] == "import").all() and (after.origins()[~mine] == "default").all()
    assert (after.origins("sigma_max") == "default").all()
    for side in ("sigma_min", "sigma_max"):
        assert (after[side] == before[side]).all()


def test_parquet_goes_there_and_back(client, tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    client.annotate("fake:edge").wait(60)
    before = client.annotations()
    assert client.annotations_to_parquet(tmp_path / "a.parquet") == N
    report = client.annotations_from_parquet(tmp_path / "a.parquet")
    after = client.annotations()
    assert report["matched"] == N and (after.sigma_min == before.sigma_min).all() and (after.min_origin == 4).all()
    import pyarrow.parquet

    with pytest.raises(ambientd.FormatError, match="needed: key"):
        pyarrow.parquet.write_table(pyarrow.table({"name": ["x"]}), tmp_path / "b.parquet")
        client.annotations_from_parquet(tmp_path / "b.parquet")


def test_parquet_has_no_name_for_a_model_that_was_lost(client, tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet

    from ambientd import parquet

    client.annotate("fake:edge").wait(60)
    parquet.write(dataclasses.replace(client.annotations(), models=[""]), tmp_path / "a.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet")["model"].null_count == N


def test_demo_classifier_tells_blurred_from_clean(daemon, tmp_path):
    """The model that the demo ships, through ONNX Runtime: clean pictures of the demo's kind get a lower sigma_min."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    subprocess.run([sys.executable, ROOT / "clients/demo/make_images.py", tmp_path / "shards", "--images", "80", "--seed", "3"],
                   check=True, stderr=subprocess.DEVNULL)
    one = daemon(str(tmp_path / "shards/demo-*.tar"), "--size", "64", "--state-dir", tmp_path / "state", "--jobs-share",
                 env={**os.environ, "VIRTUAL_ENV": sys.prefix})
    with ambientd.Client(one.socket) as client:
        client.annotate(ROOT / "clients/demo/classifier.onnx").wait(300)
        table = client.annotations()
    sys.path.insert(0, str(ROOT / "clients/demo"))
    import annotation_table

    flaws = annotation_table.flaws(tmp_path / "shards")
    median = {kind: numpy.median(table.sigma_min[[flaws[key][0] == kind for key in table.keys]]) for kind in ("clean", "blur", "noise")}
    assert (table.state == 1).all()
    assert median["blur"] > 20 * median["clean"] and median["noise"] > 10 * median["clean"]


def test_export_is_checked_against_torch(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed; run.sh --with-torch")
    pytest.importorskip("onnx", reason="onnx is not installed")

    class Edm(torch.nn.Module):
        """As EDM's networks are called: (x, sigma, class_labels)."""

        def __init__(self):
            super().__init__()
            self.conv, self.drop = torch.nn.Conv2d(3, 4, 3), torch.nn.Dropout(0.5)
            self.head = torch.nn.Linear(4 + 10 + 1, 2)

        def forward(self, x, sigma, labels):
            h = self.drop(self.conv(x / (0.25 + sigma**2).sqrt()[:, None, None, None]).mean((2, 3)))
            return self.head(torch.cat([h, labels, sigma.log()[:, None] / 4], 1))

    module = Edm().train()
    assert ambientd.export_classifier(module, tmp_path / "edm.onnx", image_shape=(3, 16, 16), labels=10) < 1e-4
    assert module.training
    with pytest.raises(ambientd.ConfigError, match="labels is"):
        ambientd.export_classifier(module, tmp_path / "x.onnx", image_shape=(3, 16, 16), labels=-1)

    class Picture(torch.nn.Module):
        def forward(self, x, sigma):
            return x * sigma[:, None, None, None]

    with pytest.raises(ambientd.ConfigError, match="logits"):
        ambientd.export_classifier(Picture(), tmp_path / "y.onnx", image_shape=(3, 16, 16))


def test_what_is_exported_runs_in_the_daemon(daemon, tmp_path):
    """Networks that are called as EDM's, return a softmax, or pass over sigma and return another dtype."""
    torch = pytest.importorskip("torch", reason="torch is not installed; run.sh --with-torch")
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

    class Network(torch.nn.Module):
        def __init__(self, answer):
            super().__init__()
            self.answer = answer

        def forward(self, x, *more):
            return self.answer(x.mean((2, 3)), *more)

    one = daemon(datasets.tar_set(tmp_path / "shards", 10), "--size", "16", "--state-dir", tmp_path / "state", "--jobs-share",
                 env={**os.environ, "VIRTUAL_ENV": sys.prefix})
    with ambientd.Client(one.socket) as client:
        for name, labels, answer in (("edm", 10, lambda h, sigma, labels: h[:, 0] + labels.sum(1) / sigma.flatten()),
                                     ("integer", "integer", lambda h, sigma, labels: h[:, :1] - labels[:, None]),
                                     ("softmax", None, lambda h, sigma: h / sigma[:, None]),
                                     ("double", None, lambda h, sigma: h[:, 0].double())):
            path = tmp_path / f"{name}.onnx"
            ambientd.export_classifier(Network(answer), path, image_shape=(3, 16, 16), labels=labels)
            job = client.annotate(path, mode="dense", grid=(0.01, 3, 4), trials=1, where={"annotated": "any"}).wait(60)
            assert (job.state, job.facts["done"]) == ("done", 10), name


@pytest.fixture
def train_classifier(tmp_path):
    """train_classifier(arguments): on 64 pictures of the demo, a few steps."""
    pytest.importorskip("torch", reason="torch is not installed; run.sh --with-torch")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    subprocess.run([sys.executable, ROOT / "clients/demo/make_images.py", tmp_path / "shards", "--images", "64", "--size", "32"],
                   check=True, stderr=subprocess.DEVNULL)

    def run(*more, data=(tmp_path / "shards/demo-*.tar",)):
        return subprocess.run([sys.executable, ROOT / "clients/python/examples/train_classifier.py", *data, "-o", tmp_path / "c.onnx",
                               "--size", "16", "--batch-size", "16", "--width", "4", "--steps", "12", *more],
                              capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "clients/python")})
    return run


def test_train_classifier_streams_trains_exports_and_checks(train_classifier, tmp_path):
    """A few steps: what is exported runs, and answers half where it has learnt nothing, though one in eight is of low
    quality; how well it tells is the demo's matter."""
    import onnxruntime

    done = train_classifier("--positive", "label=3", "--p-mean", "5", "--p-std", "0.1", "--rate", "2e-2", "--steps", "40")
    assert done.returncode == 0, done.stderr
    assert "held-out samples" in done.stdout and "logits differ from torch by" in done.stdout
    session = onnxruntime.InferenceSession(tmp_path / "c.onnx", providers=["CPUExecutionProvider"])
    x = 148 * numpy.random.default_rng(1).standard_normal((64, 3, 16, 16), dtype=numpy.float32)
    logits = session.run(None, {"x": x, "sigma": numpy.full(64, 148, numpy.float32)})[0]
    assert logits.shape == (64,) and abs(logits.mean()) < 0.7  # log odds of 1 in 8 are -1.9


@pytest.mark.parametrize("arguments,message", [
    (["--corruption-key", "nosuch"], "none of 192 samples is of low quality, both kinds are needed"),
    (["--positive", "label=0,1,2,3,4,5,6,7"], "each of 192 samples is of low quality"),
    (["--positive", "label=x"], "--positive is 'label=x', allowed: corruption"),
    (["-o", "/nosuch/c.onnx"], "/nosuch/c.onnx cannot be written: /nosuch is no folder"),
    (["--steps", "0"], "steps is 0; it must be")])
def test_train_classifier_says_what_is_wrong(train_classifier, tmp_path, arguments, message):
    done = train_classifier(*arguments)
    assert done.returncode != 0 and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "c.onnx").exists()


def test_train_classifier_wants_a_dataset_without_annotations(train_classifier, daemon, tmp_path):
    one = daemon(str(tmp_path / "shards/demo-*.tar"), "--size", "16", "--annotations", tmp_path / "shards/annotations.jsonl")
    done = train_classifier(data=("--address", one.socket))
    assert done.returncode != 0 and "samples of the dataset have annotations" in done.stderr
    assert not (tmp_path / "c.onnx").exists()

"""Python's side of annotations: jobs, columns, live progress, Parquet; and classifiers, from training to records."""

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
    one = daemon(shards, "--state-dir", tmp_path / "state")
    with ambientd.Client(one.socket) as client:
        yield client


def test_job_is_waited_for_and_columns_are_arrays(client):
    seen = []
    job = client.annotate("fake:edge").wait(60, progress=lambda facts: seen.append(facts["state"]))
    assert job.state == "done" and seen[-1] == "done" and [row.id for row in client.jobs()] == [job.id]
    table = client.annotations()
    assert len(table) == N and table.sigma_min.dtype == numpy.float32 and (table.state == 1).all()
    assert table.keys[7] == "000007" and table.sources == ["main"] and len(table.models) == 1
    assert (table.lo <= table.sigma_min).all() and table.evaluations.sum() == job.facts["evaluations"]
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


def test_demo_classifier_tells_blurred_from_clean(daemon, tmp_path):
    """The model that the demo ships, through ONNX Runtime: clean pictures of the demo's kind get a lower sigma_min."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    subprocess.run([sys.executable, ROOT / "clients/demo/make_images.py", tmp_path / "shards", "--images", "80", "--seed", "3"],
                   check=True, stderr=subprocess.DEVNULL)
    one = daemon(str(tmp_path / "shards/demo-*.tar"), "--size", "64", "--state-dir", tmp_path / "state",
                 env={**os.environ, "VIRTUAL_ENV": sys.prefix})
    with ambientd.Client(one.socket) as client:
        client.annotate(ROOT / "clients/demo/classifier.onnx").wait(300)
        table = client.annotations()
    sys.path.insert(0, str(ROOT / "clients/demo"))
    import annotation_table

    flaws = annotation_table.flaws(tmp_path / "shards")
    clean = numpy.array([flaws[key][0] == "clean" for key in table.keys])
    assert (table.state == 1).all()
    assert numpy.median(table.sigma_min[~clean]) > 2 * numpy.median(table.sigma_min[clean])


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

"""Streams and jobs on the same processors: what each keeps of its rate beside the other."""

import os
import statistics
import sys
import time

import pytest

import datasets
import wire
from conftest import ROOT

ROUNDS = int(os.environ.get("AMBIENTD_ROUNDS", "1"))
SECONDS = 3 if ROUNDS == 1 else 8  # of each measurement


class Sharing:
    """A stream of one client and the jobs of another, measured for a while each."""

    def __init__(self, client, owner):
        self.owner = owner
        self.stream = client.subscribe(batch_size=64, fields=["x_t", "x_tn"], slots=4, follow=False)
        self.id = owner.call(wire.ANNOTATE, {  # few evaluations a sample: acknowledged in small steps
            "model": str(ROOT / "clients/demo/classifier.onnx"), "mode": "dense", "grid": [0.01, 3, 256], "trials": 1})["job"]["id"]

    def job(self):
        return next(row for row in self.owner.call(wire.JOBS, {})["jobs"] if row["id"] == self.id)

    def act(self, action, state):
        self.owner.call(wire.JOB, {"id": self.id, "action": action})
        end, before = time.monotonic() + 60, self.job()["evaluations"]
        while self.job()["state"] != state or (state == "running" and self.job()["evaluations"] == before):
            assert time.monotonic() < end, self.job()
            time.sleep(0.02)

    def batches(self, seconds, pace=0):
        """Batches a second, as many as come or at most `pace`."""
        began, n = time.monotonic(), 0
        while (now := time.monotonic() - began) < seconds:
            if pace and n / pace > now:
                time.sleep(n / pace - now)
            self.stream.done(self.stream.next())
            n += 1
        return n / (time.monotonic() - began)

    def evaluations(self, meanwhile):
        """Of the job, a second, while something else goes on; counted where they are acknowledged."""
        first, began = self.job()["evaluations"], time.monotonic()
        meanwhile()
        return (self.job()["evaluations"] - first) / (time.monotonic() - began)


@pytest.mark.alone
def test_stream_keeps_its_rate_beside_a_job_and_a_job_its_share_beside_a_paced_stream(daemon, tmp_path):
    """By default a job has what streams leave. Floors are generous: what they would notice is a job at a stream's own
    priority, or one that starves; the figures are printed."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    shards = datasets.tar_set(tmp_path / "tars", 3000 * ROUNDS * max(1, (os.cpu_count() or 1) // 2), size=64, per_shard=500)
    one = daemon(shards, "--state-dir", tmp_path / "state", env={**os.environ, "VIRTUAL_ENV": sys.prefix})
    kept, shares, paces = [], [], []
    with one.client(timeout=60) as client, one.client(timeout=60) as owner:
        sharing = Sharing(client, owner)
        sharing.batches(1)
        for _ in range(ROUNDS):
            sharing.act("pause", "paused")
            alone = sharing.batches(SECONDS)
            sharing.act("resume", "running")
            solo = sharing.evaluations(lambda: time.sleep(SECONDS))
            if solo == 0:
                pytest.skip("other processes keep this machine busy")
            kept.append(sharing.batches(SECONDS) / alone)
            shares.append(sharing.evaluations(lambda: paces.append(sharing.batches(SECONDS, alone / 2) / alone)) / solo)
        assert sharing.job()["state"] == "running"  # else there was nothing beside
    print(f"\nstream: {statistics.median(kept):.2f} of {alone:.0f} batches/s beside a job; job: {statistics.median(shares):.2f} of {solo:.0f} "
          f"evaluations/s beside a stream at {statistics.median(paces):.2f} of its rate; {ROUNDS} rounds")
    assert statistics.median(kept) > 0.5 and statistics.median(shares) > 0.15

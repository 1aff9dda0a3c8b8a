#!/usr/bin/env python3
"""Both modes of annotating, as a user runs them: agreement with the published run, evaluations and wall time.

    modes.py [DATA] [--seeds 3]

DATA is a folder with annotate/ (images.tar, noise_classifier.onnx, sigmas.txt, expected.csv: two dense runs of the published
code). A daemon (AMBIENTD_BIN, or that of build/) annotates images.tar once densely, with noise of its own, and with each
seed adaptively. Seconds are those of the job, loading and measuring the model included (some 0.5). Needs numpy and onnxruntime; some minutes.
"""

import argparse
import csv
import os
import pathlib
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "clients/python"))
import ambientd  # noqa: E402


def spread(errors):
    return [np.median(errors), np.quantile(errors, 0.9), errors.max()]


def annotate(client, data, **options):
    """sigma_min by key, evaluations a sample, evaluations and seconds of the job."""
    job = client.annotate(data / "noise_classifier.onnx", grid=str(data / "sigmas.txt"), where={"annotated": "any"}, **options).wait(3600)
    if job.state != "done":
        sys.exit(f"modes.py: the job is {job.state}: {job.facts['reason']}")
    table = client.annotations()
    return dict(zip(table.keys, table.sigma_min)), table.evaluations.mean(), job.facts["evaluations"], job.facts["seconds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="?", type=pathlib.Path, default=os.environ.get("AMBIENTD_TEST_DATA", ROOT / "../shared/data"))
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()

    data = pathlib.Path(args.data).resolve() / "annotate"
    rows = list(csv.DictReader(open(data / "expected.csv")))
    dense = np.array([[float(row[f"sigma_min_seed{k}"]) for row in rows] for k in (1, 2)])
    crossing = (dense > np.loadtxt(data / "sigmas.txt").min() * 1.0001).all(0)
    runs = [("dense", {"mode": "dense", "seed": 0})] + [("adaptive", {"seed": seed}) for seed in range(args.seeds)]
    print(f"{len(rows)} pictures, {crossing.sum()} with a crossing above the first sigma; |log ratio| of sigma_min to the two "
          f"published runs, on the daemon's default threads of {os.cpu_count()} cores\n")
    print("| run | median | 90th percentile | largest | evaluations a sample | seconds | evaluations/s |")
    print("|---|---|---|---|---|---|---|")
    print("| published, one beside the other | {:.3f} | {:.3f} | {:.3f} | 8192 | | |".format(*spread(np.abs(np.log(dense[0] / dense[1]))[crossing])))
    with tempfile.TemporaryDirectory() as folder:
        with ambientd.start(data / "images.tar", size=32, state_dir=folder, jobs_share=True) as server:
            client = ambientd.Client(server.address)
            for name, options in runs:
                found, evaluations, total, seconds = annotate(client, data, **options)
                found = np.array([found[row["key"]] for row in rows])
                errors = np.abs(np.log(found / dense))[:, crossing]
                print("| {} {} | {:.3f} | {:.3f} | {:.3f} | {:.1f} | {:.1f} | {:,.0f} |".format(
                    name, options["seed"], *np.mean([spread(e) for e in errors], axis=0), evaluations, seconds, total / seconds), flush=True)


if __name__ == "__main__":
    main()

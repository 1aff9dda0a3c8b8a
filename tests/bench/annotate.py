#!/usr/bin/env python3
"""Evaluations a second: the daemon's examiner beside a Python onnxruntime loop at its best batch, in turns in one run.

    annotate.py build/tests/bench/bench-annotate MODEL.onnx [--threads 2] [--rounds 3]

Both run the same library (that of the Python package) with the same number of threads inside a run, spinning off. The
loop makes its noise with numpy for each batch, as the toolbox does on its way to the model; "model alone" leaves that
out. Needs numpy and onnxruntime.
"""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import time

import numpy
import onnxruntime

BATCHES = (8, 16, 32, 64, 128)


def loop(session, base, batch, seconds, noise):
    rng = numpy.random.default_rng(0)
    x, sigma = numpy.repeat(base[None], batch, 0), numpy.ones(batch, numpy.float32)
    n, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        fed = x + sigma[:, None, None, None] * rng.standard_normal(x.shape, dtype=numpy.float32) if noise else x
        session.run(None, {"x": fed, "sigma": sigma})
        n += batch
    return n / (time.monotonic() - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(args.model, options, providers=["CPUExecutionProvider"])
    base = numpy.random.default_rng(1).uniform(-1, 1, session.get_inputs()[0].shape[1:]).astype(numpy.float32)
    best = max(BATCHES, key=lambda batch: loop(session, base, batch, 0.7, True))
    library = sorted(pathlib.Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"))[-1]
    environment = {**os.environ, "AMBIENTD_ONNXRUNTIME": str(library)}
    rows = []
    for _ in range(args.rounds):
        python, alone = loop(session, base, best, 3, True), loop(session, base, best, 3, False)
        out = subprocess.run([args.program, "--model", args.model, "--threads", str(args.threads)], env=environment,
                             capture_output=True, text=True, check=True).stdout
        rows.append((float(re.search(r"examiner: (\d+)", out).group(1)), python, alone))
    print(f"onnxruntime {onnxruntime.__version__}, {args.threads} threads, {args.rounds} rounds in turns, evaluations/s (median)")
    ours, python, alone = (statistics.median(row[i] for row in rows) for i in range(3))
    print(f"  examiner (search, noise, model)            {ours:8.0f}")
    print(f"  Python loop, batch {best:3d} (numpy noise, model) {python:8.0f}   examiner is {ours / python:.2f} of it")
    print(f"  Python loop, model alone                   {alone:8.0f}   examiner is {ours / alone:.2f} of it")


if __name__ == "__main__":
    main()

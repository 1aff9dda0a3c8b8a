#!/usr/bin/env python3
"""Evaluations a second: the daemon's examiner beside a Python onnxruntime loop at its best batch, in turns in one run.

    annotate.py [build/tests/bench/bench-annotate [MODEL.onnx]] [--threads 2] [--rounds 3] [--seconds 3]

Without a model: the classifier of the test data, or where that is absent one made here (needs the package onnx).

Both run the same library (that of the Python package) on the same number of threads, spinning off: the loop has them
inside of its runs, the examiner runs beside each other. The loop makes its noise with numpy for each batch, as the toolbox
does on its way to the model; "model alone" leaves that out. Needs numpy and onnxruntime.
"""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

import numpy
import onnxruntime

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("AMBIENTD_TEST_DATA", ROOT / "../shared/data")) / "annotate/noise_classifier.onnx"
BATCHES = (1, 8, 16, 32, 64, 128, 256)


def make_model(path):
    """Convolutions as many as a small classifier has, with weights of no meaning."""
    import onnx
    from onnx import TensorProto as T, helper, numpy_helper

    rng, nodes, weights, width, name = numpy.random.default_rng(0), [], [], 3, "x"
    for i, (out, stride) in enumerate([(24, 1), (48, 2), (48, 1), (96, 2), (96, 1)]):
        w = rng.normal(0, (2 / (9 * width)) ** 0.5, (out, width, 3, 3)).astype(numpy.float32)
        weights.append(numpy_helper.from_array(w, f"w{i}"))
        nodes.append(helper.make_node("Conv", [name, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1], strides=[stride, stride]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        width, name = out, f"r{i}"
    nodes.append(helper.make_node("ReduceMean", [name], ["mean"], axes=[1, 2, 3], keepdims=0))
    nodes.append(helper.make_node("Sub", ["mean", "sigma"], ["logits"]))
    values = [helper.make_tensor_value_info(n, T.FLOAT, shape) for n, shape in (("x", ["N", 3, 32, 32]), ("sigma", ["N"]), ("logits", ["N"]))]
    graph = helper.make_graph(nodes, "made", values[:2], values[2:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


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
    parser.add_argument("program", nargs="?", default=ROOT / "build/tests/bench/bench-annotate")
    parser.add_argument("model", nargs="?", default=DATA if DATA.exists() else None)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    args = parser.parse_args()
    folder = tempfile.TemporaryDirectory()  # until the end of main
    if args.model is None:
        args.model = pathlib.Path(folder.name) / "made.onnx"
        make_model(args.model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(args.model), options, providers=["CPUExecutionProvider"])
    base = numpy.random.default_rng(1).uniform(-1, 1, session.get_inputs()[0].shape[1:]).astype(numpy.float32)
    best = max(BATCHES, key=lambda batch: loop(session, base, batch, 0.7, True))
    library = sorted(pathlib.Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"))[-1]
    environment = {**os.environ, "AMBIENTD_ONNXRUNTIME": str(library)}
    rows = []
    for _ in range(args.rounds):
        python, alone = (loop(session, base, best, args.seconds, noise) for noise in (True, False))
        command = [args.program, "--model", args.model, "--threads", str(args.threads), "--seconds", str(args.seconds)]
        out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        rows.append((float(re.search(r"examiner: (\d+)", out).group(1)), python, alone))
    for i, row in enumerate(rows):
        print(f"  turn {i + 1}: examiner {row[0]:.0f}, Python {row[1]:.0f}, model alone {row[2]:.0f}")
    print(f"onnxruntime {onnxruntime.__version__}, {args.threads} threads, {args.rounds} rounds in turns, evaluations/s (median)")
    ours, python, alone = (statistics.median(row[i] for row in rows) for i in range(3))
    ratios = [statistics.median(row[0] / row[i] for row in rows) for i in (1, 2)]  # of each turn: the machine drifts
    print(f"  examiner (search, noise, model)            {ours:8.0f}")
    print(f"  Python loop, batch {best:3d} (numpy noise, model) {python:8.0f}   examiner is {ratios[0]:.2f} of it")
    print(f"  Python loop, model alone                   {alone:8.0f}   examiner is {ratios[1]:.2f} of it")


if __name__ == "__main__":
    main()

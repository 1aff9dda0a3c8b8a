"""Models made here with the package onnx, run by ONNX Runtime in jobs of the daemon: their labels, their size, their end."""

import os
import sys
import time

import numpy
import pytest

import datasets
from test_annotate import act, annotate, columns, ctl, job, served, tars, wait  # noqa: F401

F32, I64 = 1, 7  # of ONNX
MEAN = {"axes": [1, 2, 3], "keepdims": 0}
ENV = {**os.environ, "VIRTUAL_ENV": sys.prefix}


def save_model(path, nodes, inputs, constants):
    """Rows as make_node and make_tensor_value_info take them; the output is logits [N]. Skips where a package lacks."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([onnx.helper.make_node(kind, taken, given, **options) for kind, taken, given, options in nodes], "made",
                                   [value(*row) for row in inputs], [value("logits", F32, ["N"])],
                                   [onnx.numpy_helper.from_array(data, name) for name, data in constants.items()])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8), path)
    return str(path)


def labelled_model(path, dtype, shape):
    """Answers by the label alone: the sum of its numbers is the logit."""
    nodes = [("Cast", ["labels"], ["l"], {"to": F32}), ("Reshape", ["l", "rows"], ["r"], {}), ("ReduceSum", ["r", "one"], ["logits"], {"keepdims": 0})]
    return save_model(path, nodes, [("x", F32, ["N", 3, "H", "W"]), ("sigma", F32, ["N"]), ("labels", dtype, ["N", *shape])],
                      {"rows": numpy.array([-1, *(shape or [1])]), "one": numpy.array([1])})


def test_label_vectors_of_the_dataset_reach_the_model(served, tmp_path):
    """Half of the samples are told by their label to be fine, half not; with no label at all each would be fine."""
    data = datasets.zip_set(tmp_path / "vectors.zip", 8, label=lambda i: [1.5, 2.5 if i % 2 else -5.5, 0.5])
    one = served(shards=data, env=ENV)
    row = wait(one, annotate(one, model=labelled_model(tmp_path / "f3.onnx", 1, [3])))
    assert row["state"] == "done", row
    sigma_min = columns(one)["sigma_min"]
    assert (sigma_min[1::2] > 100 * sigma_min[::2]).all()


@pytest.mark.parametrize("dtype,shape,taken", [(1, [4], "f32 [N,4]"), (7, [], "i64 [N]")], ids=["width", "kind"])
def test_labels_of_another_kind_are_refused_with_both_sides_named(served, tmp_path, dtype, shape, taken):
    data = datasets.zip_set(tmp_path / "vectors.zip", 8, label=lambda i: [1.5, 0.5, float(i)])
    one = served(shards=data, env=ENV)
    row = wait(one, annotate(one, model=labelled_model(tmp_path / "m.onnx", dtype, shape)))
    assert row["state"] == "failed" and f"takes labels as {taken}, the dataset's are f32 [N,3]" in row["reason"], row


def test_label_that_the_model_has_not_gives_the_sample_up(served, tmp_path):
    data = datasets.zip_set(tmp_path / "integers.zip", 10)
    one = served(shards=data, env=ENV)
    row = wait(one, annotate(one, model=labelled_model(tmp_path / "f4.onnx", 1, [4])))
    assert (row["state"], row["given_up"], row["unreadable"]) == ("done", 6, 0), row
    assert (columns(one)["state"] == [1] * 4 + [2] * 6).all()
    assert "the model has no such label" in ctl(one, "annotations", "show", "00000/img00000007").stdout


@pytest.mark.parametrize("filter", ["lanczos", "bicubic", "box"])
def test_samples_are_resized_to_the_models_own_size(served, tmp_path, filter):
    """The model looks for red in 8 x 4: a fine chequer is grey there, which a crop of it would not be."""
    chequer = numpy.indices((16, 16)).sum(0)[..., None] % 2 * numpy.full(3, 255, numpy.uint8)
    flat = [numpy.broadcast_to(numpy.array(colour, numpy.uint8), (16, 16, 3)) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    datasets.write_tar(tmp_path / "t.tar", [(f"{i}", {"png": datasets.encode(picture.astype(numpy.uint8), "png")})
                                            for i, picture in enumerate([chequer, *flat])])
    nodes = [("Mul", ["x", "red"], ["r"], {}), ("Relu", ["r"], ["p"], {}), ("ReduceMean", ["p"], ["m"], MEAN),
             ("Sub", ["m", "tenth"], ["d"], {}), ("Mul", ["d", "steep"], ["logits"], {})]
    model = save_model(tmp_path / "red.onnx", nodes, [("x", F32, ["N", 3, 8, 4]), ("sigma", F32, ["N"])],
                       {name: numpy.array(data, numpy.float32)
                        for name, data in (("red", [[[[1]], [[0]], [[0]]]]), ("tenth", 0.1), ("steep", 1000))})
    one = served(shards=str(tmp_path / "t.tar"), env=ENV)
    row = wait(one, annotate(one, model=model, mode="dense", grid=[0.0001, 0.001, 2], resize=filter))
    assert row["state"] == "done", row
    assert (columns(one)["sigma_min"] > 0.0005).tolist() == [False, True, False, False]


def endless_model(path):
    """A loop of 2^62 rounds before each answer."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    node, value, bool_ = onnx.helper.make_node, onnx.helper.make_tensor_value_info, onnx.TensorProto.BOOL
    body = onnx.helper.make_graph([node("Identity", ["go"], ["on"]), node("Add", ["a", "a"], ["b"])], "body",
                                  [value("i", I64, []), value("go", bool_, []), value("a", F32, ["N"])],
                                  [value("on", bool_, []), value("b", F32, ["N"])])
    nodes = [("ReduceMean", ["x"], ["m"], MEAN), ("Sub", ["m", "sigma"], ["l"], {}), ("Loop", ["n", "c", "l"], ["logits"], {"body": body})]
    return save_model(path, nodes, [("x", F32, ["N", 3, "H", "W"]), ("sigma", F32, ["N"])],
                      {"n": numpy.array(2**62), "c": numpy.array(True)})


def test_run_of_a_model_is_broken_off_by_a_cancel_and_by_a_stop(served, tmp_path):
    """With large models one run takes minutes, and so would a cancel; here it would take for ever."""
    model = endless_model(tmp_path / "endless.onnx")
    one = served(env=ENV)
    id = annotate(one, model=model)
    wait(one, id, ("running",))
    time.sleep(1)
    act(one, id, "cancel")
    assert wait(one, id, timeout=10)["state"] == "cancelled"
    id = annotate(one, model=model)
    wait(one, id, ("running",))
    assert one.stop() == 0 and "stop.forced" not in one.log()
    one = served(env=ENV)
    assert job(one, id)["state"] == "running"

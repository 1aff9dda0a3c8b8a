"""Classifier: a torch network as the ONNX file that the daemon annotates with, checked against torch.

What the daemon runs (DESIGN of `ambientctl annotate`, proto/README.md "Jobs"): inputs `x` [N,C,H,W] float32, the picture
in [-1, 1] plus sigma times noise, `sigma` [N] float32 and maybe `labels` ([N] int64, or [N,D] float32); output `logits`
[N]: sigmoid(logits) is the probability of low quality (arXiv 2506.10038).
"""
from __future__ import annotations

import os
from typing import Any, Sequence

import numpy

from .errors import ConfigError, UnsupportedError

TOLERANCE = 1e-3  # of a logit; float32 sums in another order differ by some 1e-5


def export_classifier(module: Any, path: str | os.PathLike[str], *, image_shape: Sequence[int],
                      labels: str | int | None = None, opset: int = 17, check: bool = True,
                      tolerance: float = TOLERANCE) -> float:
    """Write `module` as ONNX for `ambientctl annotate --model PATH`; returns the largest difference to torch.

    module       torch.nn.Module called as module(x, sigma) or module(x, sigma, labels), as EDM's networks are:
                 x [N,C,H,W] float32 noisy, sigma [N] float32, labels as below. It returns logits [N], [N,1], or [N,K]
                 (softmax; the daemon takes --column, 0 by default). Networks that want sigma as [N,1,1,1], or that
                 return more than logits, need a wrapper of three lines. Exported in eval mode; its mode is restored.
    image_shape  (C, H, W): what the network takes. H and W may differ from the dataset's: the daemon resizes.
    labels       None: no such input. "integer": int64 [N]. A number D: float32 [N, D], one-hot, zeros where unknown.
    check        run the file by onnxruntime and compare logits with torch at batches of 1 and 5 and sigmas from
                 0.002 to 80; a difference above `tolerance` is an error and removes the file.

    Raises UnsupportedError where torch, onnx or onnxruntime is missing, with what to install; ConfigError for a
    network that does not fit.
    """
    torch = _import("torch", "pip install torch")
    _import("onnx", "pip install onnx onnxscript")
    channels, height, width = (int(n) for n in image_shape)
    was_training = module.training
    wrapped = _wrap(torch, module, labels)  # in eval mode, and module with it
    try:
        inputs = _inputs(torch, 2, (channels, height, width), labels, 0)
        with torch.no_grad():
            logits = wrapped(*inputs)
        if logits.ndim not in (1, 2) or logits.shape[0] != 2:
            raise ConfigError(f"the network returns {list(logits.shape)} for a batch of 2, allowed: [2] or [2, K] logits")
        names = ["x", "sigma"] + (["labels"] if labels is not None else [])
        _export(torch, wrapped, inputs, os.fspath(path), names, opset)
        return _compare(torch, wrapped, os.fspath(path), (channels, height, width), labels, tolerance) if check else 0.0
    finally:
        module.train(was_training)


def _import(name: str, hint: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnsupportedError(f"{name} is needed to export a classifier and cannot be imported ({error}); {hint}") from error


def _wrap(torch: Any, module: Any, labels: str | int | None) -> Any:
    class Classifier(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: Any, sigma: Any, labels: Any = None) -> Any:
            logits = self.module(x, sigma) if labels is None else self.module(x, sigma, labels)
            return logits[:, 0] if logits.ndim == 2 and logits.shape[1] == 1 else logits

    if not (labels is None or labels == "integer" or (isinstance(labels, int) and labels > 0)):
        raise ConfigError(f"labels is {labels!r}, allowed: None, 'integer', or the width of one-hot vectors")
    return Classifier().eval()


def _inputs(torch: Any, n: int, shape: tuple[int, int, int], labels: str | int | None, seed: int) -> tuple[Any, ...]:
    rng = numpy.random.default_rng(seed)
    sigma = numpy.geomspace(0.002, 80, n).astype(numpy.float32)
    clean = rng.uniform(-1, 1, (n, *shape)).astype(numpy.float32)
    x = clean + sigma[:, None, None, None] * rng.standard_normal((n, *shape), dtype=numpy.float32)
    arrays = [x, sigma]
    if labels == "integer":
        arrays.append(rng.integers(0, 2, n))
    elif labels is not None:
        arrays.append(numpy.eye(int(labels), dtype=numpy.float32)[rng.integers(0, int(labels), n)])
    return tuple(torch.from_numpy(array) for array in arrays)


def _export(torch: Any, wrapped: Any, inputs: tuple[Any, ...], path: str, names: list[str], opset: int) -> None:
    """The tracing exporter: it needs onnx alone and writes one file; N stays open on every input and the output."""
    import warnings

    axes = {name: {0: "N"} for name in [*names, "logits"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(wrapped, inputs, path, input_names=names, output_names=["logits"], dynamic_axes=axes,
                          opset_version=opset, dynamo=False)


def _compare(torch: Any, wrapped: Any, path: str, shape: tuple[int, int, int], labels: str | int | None,
             tolerance: float) -> float:
    onnxruntime = _import("onnxruntime", "pip install onnxruntime, or check=False")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for n in (1, 5):
        inputs = _inputs(torch, n, shape, labels, n)
        feeds = {slot.name: tensor.numpy() for slot, tensor in zip(session.get_inputs(), inputs)}
        with torch.no_grad():
            expected = wrapped(*inputs).numpy()
        got = session.run(None, feeds)[0]
        if got.shape != expected.shape:
            raise ConfigError(f"the exported network returns {list(got.shape)}, torch {list(expected.shape)}")
        worst = max(worst, float(numpy.abs(got - expected).max()))
    if not worst <= tolerance:
        os.unlink(path)
        raise ConfigError(f"logits of the exported network differ from torch by {worst:.2g}, allowed: {tolerance:g}")
    return worst

"""Classifier: a torch network as the ONNX file that the daemon annotates with, checked against torch.

What the daemon runs (proto/README.md, Jobs): inputs `x` [N,C,H,W] float32, the picture in [-1, 1] plus sigma times
noise, `sigma` [N] float32 and maybe `labels` ([N] int64, or [N,D] float32); output `logits`: [N], whose sigmoid is the
probability of low quality, or [N,K], whose softmax has it in one column (arXiv 2506.10038).

The tracing exporter is used: it needs onnx alone and writes one file. What a trace gets wrong (a batch size that became
a constant, say) the check finds, at batch sizes other than the traced one. The file appears under its name only once it
has passed.

A trace drops inputs that the network does not look at, and the daemon wants `sigma`, which a classifier of patches
without noise may well pass over: so zero times sigma is added to the logits.
"""
from __future__ import annotations

import importlib
import operator
import os
import warnings
from typing import Any, Callable, Sequence

import numpy as np

from .errors import ConfigError, UnsupportedError

TOLERANCE = 1e-3  # of a logit; float32 sums in another order differ by some 1e-5
_TRACED = 2       # batch size
_CHECKED = (1, 2, 5, 16)
_NAMES = ("x", "sigma", "labels")


def export_classifier(module: Any, path: str | os.PathLike[str], *, image_shape: Sequence[int],
                      labels: str | int | None = None, output: int | str | Callable[[Any], Any] | None = None,
                      sigma_shape: str = "N", sigma_data: float | None = None,
                      example_sigma: tuple[float, float] = (0.002, 80.0), opset: int = 17, check: bool = True,
                      tolerance: float = TOLERANCE) -> float:
    """Write `module` as ONNX for `ambientctl annotate --model PATH`; returns the largest difference of a logit to torch.

    module        torch.nn.Module, float32, called as module(x, sigma) or module(x, sigma, labels), which is how EDM's
                  networks are called. It is exported in eval mode; the mode of each of its parts is restored. What
                  torch.compile made is exported as the network that it was made of.
    image_shape   (C, H, W) that it takes. H and W may differ from the dataset's: the daemon resizes.
    labels        None: no such input. "integer": int64 [N], -1 where unknown. A number D: float32 [N, D], one-hot, zeros where unknown.
    output        where the logits are in what it returns: None: all of it. A number or a name: an item of its tuple or
                  dict. A function of it. Logits are [N], [N,1], or [N,K] (the daemon takes --column, 0 by default).
    sigma_shape   "N", or "N111" for a network that wants sigma as [N,1,1,1].
    sigma_data    None: the network takes x and sigma as they are, as EDM's preconditioned networks do (EDMPrecond).
                  A number, EDM's 0.5: it is the bare network inside, and gets x / sqrt(sigma_data^2 + sigma^2) and
                  log(sigma) / 4 in place of x and sigma.
    example_sigma (least, largest) sigma that it is traced and checked with; above 0.
    check         run the file by onnxruntime at batch sizes 1, 2, 5, 16 over random pictures, labels and sigmas. A
                  difference above `tolerance`, or a logit that is not finite, is an error.

    Raises UnsupportedError where torch, onnx or onnxruntime is missing, with what to install; ConfigError for a network
    that does not fit. On any error a file that was at `path` before is still there.
    """
    torch = _import("torch", "pip install torch")
    _import("onnx", "pip install onnx")
    if check:
        _import("onnxruntime", "pip install onnxruntime, or check=False")
    module = getattr(module, "_orig_mod", module)
    shape = _shape(image_shape)
    _check_options(labels, sigma_shape, sigma_data, example_sigma)
    _check_module(torch, module)
    wrapped = _wrap(torch, module, output, sigma_shape, sigma_data)
    inputs = [_inputs(torch, n, shape, labels, example_sigma, _device(module)) for n in (_TRACED, *_CHECKED)]
    fresh = f"{os.fspath(path)}.{os.getpid()}.new"
    modes = [(part, part.training) for part in module.modules()]
    wrapped.eval()
    try:
        with torch.no_grad():
            _call(wrapped, inputs[0])
            _export(torch, wrapped, inputs[0], fresh, opset)
            worst = max(_difference(torch, wrapped, fresh, inputs[1:])) if check else 0.0
        if worst > tolerance:
            raise ConfigError(f"logits of the exported network differ from torch by {worst:.2g}, allowed: {tolerance:g}")
        os.replace(fresh, path)
        return worst
    finally:
        for part, training in modes:
            part.training = training
        if os.path.exists(fresh):
            os.unlink(fresh)


def _import(name: str, hint: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnsupportedError(f"{name} is needed to export a classifier and cannot be imported ({error}); "
                               f"{hint}") from error


# -- what may be asked ----------------------------------------------------------------------------------------


def _shape(image_shape: Sequence[int]) -> tuple[int, int, int]:
    try:
        channels, height, width = (operator.index(n) for n in image_shape)
        if min(channels, height, width) >= 1:
            return channels, height, width
    except (TypeError, ValueError):
        pass
    raise ConfigError(f"image_shape is {image_shape!r}, allowed: (channels, height, width), each at least 1")


def _check_options(labels: Any, sigma_shape: str, sigma_data: float | None, example_sigma: tuple[float, float]) -> None:
    is_width = isinstance(labels, int) and not isinstance(labels, bool) and labels > 0
    if not (labels is None or labels == "integer" or is_width):
        raise ConfigError(f"labels is {labels!r}, allowed: None, 'integer', or the width of one-hot vectors")
    if sigma_shape not in ("N", "N111"):
        raise ConfigError(f"sigma_shape is {sigma_shape!r}, allowed: 'N' or 'N111'")
    if sigma_data is not None and not sigma_data > 0:
        raise ConfigError(f"sigma_data is {sigma_data!r}, allowed: None, or a number above 0")
    if not 0 < example_sigma[0] <= example_sigma[1]:
        raise ConfigError(f"example_sigma is {example_sigma!r}, allowed: (least, largest), above 0")


def _check_module(torch: Any, module: Any) -> None:
    if not isinstance(module, torch.nn.Module):
        raise ConfigError(f"module is a {type(module).__name__}, allowed: a torch.nn.Module")
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ConfigError(f"{name} is {tensor.dtype}, allowed: torch.float32; copy.deepcopy(module).float() is that")


def _call(wrapped: Any, inputs: tuple[Any, ...]) -> Any:
    """The network's logits, once they have a shape that the daemon takes."""
    n = len(inputs[0])
    try:
        logits = wrapped(*inputs)
    except Exception as error:  # whatever the network raises
        given = ", ".join(f"{name} {list(value.shape)}" for name, value in zip(_NAMES, inputs))
        raise ConfigError(f"the network cannot be called with {given}: {type(error).__name__}: {error}; image_shape=, "
                          "labels=, sigma_shape= and output= say how it is called") from error
    found = list(logits.shape) if hasattr(logits, "shape") else type(logits).__name__
    if not hasattr(logits, "ndim") or logits.ndim not in (1, 2) or logits.shape[0] != n:
        raise ConfigError(f"the network returns {found} for a batch of {n}, allowed: [{n}] or [{n}, K] logits; output= "
                          "picks them out of more")
    return logits


# -- the network ----------------------------------------------------------------------------------------------


def _wrap(torch: Any, module: Any, output: Any, sigma_shape: str, sigma_data: float | None) -> Any:
    """The network as the daemon calls it."""

    class Classifier(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: Any, sigma: Any, *labels: Any) -> Any:
            level = sigma[:, None, None, None]
            if sigma_data is not None:
                x = x / (sigma_data**2 + level * level).sqrt()
                level = level.log() / 4
            logits = self.module(x, level if sigma_shape == "N111" else level.flatten(), *labels)
            if output is not None:
                logits = output(logits) if callable(output) else logits[output]
            if not hasattr(logits, "ndim") or logits.ndim not in (1, 2) or logits.shape[0] != sigma.shape[0]:
                return logits  # to be refused
            nothing = 0 * (sigma if logits.ndim == 1 else sigma[:, None])
            logits = logits.float() + nothing
            return logits[:, 0] if logits.ndim == 2 and logits.shape[1] == 1 else logits

    return Classifier()


def _device(module: Any) -> Any:
    return next((tensor.device for tensor in module.parameters()), "cpu")


def _inputs(torch: Any, n: int, shape: tuple[int, int, int], labels: Any, example_sigma: tuple[float, float],
            device: Any) -> tuple[Any, ...]:
    """Random pictures, noised at sigmas that span the range; the same for the same n."""
    rng = np.random.default_rng(n)
    least, largest = example_sigma
    sigma = np.geomspace(least if n > 1 else (least * largest) ** 0.5, largest, n).astype(np.float32)
    clean = rng.uniform(-1, 1, (n, *shape)).astype(np.float32)
    x = clean + sigma[:, None, None, None] * rng.standard_normal((n, *shape), dtype=np.float32)
    arrays: list[Any] = [x, sigma]
    if labels == "integer":
        arrays.append(rng.integers(0, 2, n))
    elif labels is not None:
        arrays.append(np.eye(labels, dtype=np.float32)[rng.integers(0, labels, n)])
    return tuple(torch.from_numpy(array).to(device) for array in arrays)


# -- the file -------------------------------------------------------------------------------------------------


def _export(torch: Any, wrapped: Any, inputs: tuple[Any, ...], path: str, opset: int) -> None:
    """N stays open on every input and the output."""
    names = list(_NAMES[:len(inputs)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is the older one, and what a trace may get wrong
        try:
            torch.onnx.export(wrapped, inputs, path, input_names=names, output_names=["logits"], opset_version=opset,
                              dynamic_axes={name: {0: "N"} for name in [*names, "logits"]}, dynamo=False)
        except RuntimeError as error:  # torch.onnx's own are RuntimeErrors too
            raise ConfigError(f"torch cannot export the network: {error}") from error


def _difference(torch: Any, wrapped: Any, path: str, batches: list[tuple[Any, ...]]) -> list[float]:
    """Largest difference of the file's logits to torch's in each batch."""
    onnxruntime = importlib.import_module("onnxruntime")
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no base of their own
        raise ConfigError(f"onnxruntime cannot load the exported network: {error}") from None
    taken = {slot.name for slot in session.get_inputs()}
    differences = []
    for inputs in batches:
        expected = _call(wrapped, inputs).cpu().numpy()
        feeds = {name: tensor.cpu().numpy() for name, tensor in zip(_NAMES, inputs) if name in taken}
        try:
            got = session.run(["logits"], feeds)[0]
        except Exception as error:
            raise ConfigError(f"the exported network does not run at batch size {len(expected)}, traced at {_TRACED}: "
                              f"{error}") from None
        if got.shape != expected.shape:
            raise ConfigError(f"the exported network returns {list(got.shape)} where torch returns {list(expected.shape)}"
                              ": a size was a constant while it was traced")
        if not (np.isfinite(got).all() and np.isfinite(expected).all()):
            sigmas = inputs[1].cpu().numpy()[~np.isfinite(expected + got).reshape(len(expected), -1).all(1)]
            raise ConfigError(f"logits that are not finite at sigma {', '.join(f'{s:.3g}' for s in sigmas)}")
        differences.append(float(np.abs(got - expected).max()))
    return differences

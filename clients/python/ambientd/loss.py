"""Loss: the ambient loss and what it is made of, for the processes ve, vp and flow.

A batch holds x_t and, for samples trusted only from a noise level on, a target x_tn at that trust level instead of a
clean image. The network still predicts the clean image (or the noise, or the velocity); the ambient loss carries that
prediction to the trust level and compares it there:

    loss = ambient_weight(s_t, s_tn) * (x_tn_pred(pred, x_t, s_t, s_tn) - x_tn)**2

Its minimiser is the same denoiser E[x0 | x_t] that clean data would give: Consistent Diffusion Meets Tweedie
(arXiv 2404.10177), as used by Ambient Diffusion Omni (arXiv 2506.10038). The weights are those of EDM
(arXiv 2206.00364), times what the step to the trust level shrinks errors by.

All noise levels here are on the VE scale: the batch's fields `s_t` and `s_tn`, whatever the process. Arrays may be
numpy arrays, torch tensors or jax arrays. Coefficients are computed in f64 (in jax without x64: in f32) and then take
the prediction's dtype. For s_tn close to s_t ask for the fields as "s_t:f64" and "s_tn:f64".

    process   native level t     alpha            x_t = alpha x0 + t n
    ve        s                  1
    vp        s / sqrt(1+s^2)    1 / sqrt(1+s^2)
    flow      s / (1+s)          1 / (1+s)
"""
from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np

from .errors import ConfigError

PREDICTIONS = ("x0", "noise", "velocity")
WEIGHTS = ("edm", "velocity", "none")


class Step(NamedTuple):
    """x_tn = alpha_n x0 + tn n_i, then x_t = a x_tn + b e."""

    t: Any
    tn: Any
    alpha_t: Any
    alpha_n: Any
    a: Any
    b: Any


def alpha(s: Any, process: str = "ve") -> Any:
    """Factor of the clean image at level s."""
    xp, s = _f64(s)
    return _alpha(xp, s, process)


def t_from_s(s: Any, process: str = "ve") -> Any:
    """Native level of the VE level s; s = inf is t = 1 for vp and flow."""
    xp, s = _f64(s)
    return _t(xp, s, process)


def s_from_t(t: Any, process: str = "ve") -> Any:
    """VE level of the native level t."""
    xp, t = _f64(t)
    if _process(process) == "ve":
        return t
    return t / (1 - t) if process == "flow" else t / xp.sqrt((1 - t) * (1 + t))


def step(s_t: Any, s_tn: Any, process: str = "ve") -> Step:
    """Coefficients of the two steps of noise, in f64."""
    xp, s = _f64(s_t)
    _, s_n = _f64(s_tn, xp, s)
    alpha_t, alpha_n = _alpha(xp, s, process), _alpha(xp, s_n, process)
    t = _t(xp, s, process)
    finite = xp.where(xp.isinf(s), s_n, s)
    b = xp.where(xp.isinf(s), t, alpha_t * xp.sqrt((finite - s_n) * (finite + s_n)))
    return Step(t, _t(xp, s_n, process), alpha_t, alpha_n, alpha_t / alpha_n, b)


def x0_pred(pred: Any, x_t: Any, s_t: Any, process: str = "ve", prediction: str = "x0") -> Any:
    """The clean image that a prediction stands for.

    prediction: "x0"; "noise", the n of x_t = alpha x0 + t n; "velocity": n - x0 for flow (rectified flow),
    alpha n - t x0 for vp (progressive distillation, arXiv 2202.00512), n for ve (dx/ds).
    """
    _one_of("prediction", prediction, PREDICTIONS)
    if prediction == "x0":
        return pred
    xp, s = _f64(s_t)
    alpha_t, t = _alpha(xp, s, process), _t(xp, s, process)
    if prediction == "noise" or process == "ve":
        return (x_t - _as(t, x_t) * pred) / _as(alpha_t, x_t)
    if process == "flow":
        return x_t - _as(t, x_t) * pred
    return _as(alpha_t, x_t) * x_t - _as(t, x_t) * pred


def x_tn_pred(pred: Any, x_t: Any, s_t: Any, s_tn: Any, process: str = "ve", prediction: str = "x0") -> Any:
    """The prediction carried to the trust level: E[x_tn | x_t], if pred is E[x0 | x_t].

    alpha_n x0 + (a tn^2/t^2) (x_t - alpha_t x0), for ve (1 - (tn/t)^2) x0 + (tn/t)^2 x_t (arXiv 2404.10177). Written as
    two coefficients, of pred and of x_t, so that no large numbers cancel.
    """
    _one_of("prediction", prediction, PREDICTIONS)
    xp, s = _f64(s_t)
    _, s_n = _f64(s_tn, xp, s)
    alpha_t, t = _alpha(xp, s, process), _t(xp, s, process)
    alpha_n = _alpha(xp, s_n, process)
    of_x0 = alpha_n * _kept(xp, s, s_n)
    of_x_t = alpha_n * _tail(xp, s, s_n, process)
    if prediction == "noise" or (prediction == "velocity" and process == "ve"):
        # x0 = (x_t - t n) / alpha_t, and t / alpha_t = s; the two terms of x_t sum to alpha_n / alpha_t
        of_pred, of_x_t = -of_x0 * s, alpha_n / alpha_t
    elif prediction == "velocity":
        of_pred = -of_x0 * t
        of_x_t = of_x_t + of_x0 * (alpha_t if process == "vp" else 1)
    else:
        of_pred = of_x0
    return _as(of_pred, pred) * pred + _as(of_x_t, pred) * x_t


def ambient_factor(s_t: Any, s_tn: Any, process: str = "ve") -> Any:
    """(1 / (alpha_n (1 - (s_n/s)^2)))^2: undoes what carrying a prediction to the trust level shrinks its error by.

    For ve t^4 / (t^2 - tn^2)^2. 1 where s_tn = 0, also at s_t = 0. f64.
    """
    xp, s = _f64(s_t)
    _, s_n = _f64(s_tn, xp, s)
    return (1 / (_alpha(xp, s_n, process) * _kept(xp, s, s_n))) ** 2


def x0_weight(s_t: Any, process: str = "ve", weight: str = "edm", sigma_data: float = 0.5) -> Any:
    """Weight of a squared error of x0: "edm", "velocity" or "none".

    edm is 1/s^2 + 1/sigma_data^2 (arXiv 2206.00364, table 1), velocity 1/t^2, none 1. Infinite at s = 0, but for none. f64.
    """
    _one_of("weight", weight, WEIGHTS)
    xp, s = _f64(s_t)
    if weight == "none":
        return xp.ones_like(s)
    if weight == "edm":
        return 1 / s**2 + 1 / sigma_data**2
    return 1 / _t(xp, s, process) ** 2


def ambient_weight(s_t: Any, s_tn: Any, process: str = "ve", weight: str = "edm", sigma_data: float = 0.5) -> Any:
    """x0_weight times ambient_factor, f64: what the field `weight` holds."""
    return x0_weight(s_t, process, weight, sigma_data) * ambient_factor(s_t, s_tn, process)


def ambient_loss(pred: Any, x_t: Any, x_tn: Any, s_t: Any, s_tn: Any, process: str = "ve", prediction: str = "x0",
                 weight: str = "edm", sigma_data: float = 0.5) -> Any:
    """Weighted squared error at the trust level, element by element, in the prediction's dtype; take its mean."""
    factor = ambient_weight(s_t, s_tn, process, weight, sigma_data)
    return _as(factor, pred) * (x_tn_pred(pred, x_t, s_t, s_tn, process, prediction) - x_tn) ** 2


# -- pieces -----------------------------------------------------------------------------------------------------


def _kept(xp: Any, s: Any, s_n: Any) -> Any:
    """1 - (s_n/s)^2, without cancellation of squares; 1 where s_n = 0, whatever s."""
    ratio = s_n / xp.where(s > 0, s, xp.ones_like(s))
    return (1 - ratio) * (1 + ratio)


def _tail(xp: Any, s: Any, s_n: Any, process: str) -> Any:
    """(s_n/s)^2 / alpha_t, 0 at s = inf and where s_n = 0."""
    positive = xp.where(s > 0, s, xp.ones_like(s))
    ratio = s_n / positive
    if _process(process) == "ve":
        return ratio**2
    if process == "flow":
        return ratio * (ratio + s_n)
    return ratio * s_n * xp.sqrt(1 + (1 / positive) ** 2)


def _alpha(xp: Any, s: Any, process: str) -> Any:
    if _process(process) == "ve":
        return xp.ones_like(s)
    return 1 / (1 + s) if process == "flow" else 1 / xp.sqrt(1 + s * s)


def _t(xp: Any, s: Any, process: str) -> Any:
    if _process(process) == "ve":
        return s
    finite = xp.where(xp.isinf(s), xp.zeros_like(s), s)
    t = finite / (1 + finite) if process == "flow" else finite / xp.sqrt(1 + finite * finite)
    return xp.where(xp.isinf(s), xp.ones_like(s), t)


def _process(process: str) -> str:
    _one_of("process", process, ("ve", "vp", "flow"))
    return process


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name} is {value!r}; allowed: {', '.join(known)}")


def _namespace(x: Any) -> Any:
    """The module whose sqrt and where this array takes."""
    package = type(x).__module__.partition(".")[0]
    if package == "torch":
        return sys.modules["torch"]
    if package in ("jax", "jaxlib"):
        import jax.numpy
        return jax.numpy
    return np


def _f64(x: Any, xp: Any = None, like: Any = None) -> tuple[Any, Any]:
    """(namespace, x in f64); where `like` is given, x may be a plain number."""
    xp = xp or _namespace(x)
    if xp is np:
        return xp, np.asarray(x, np.float64)
    if xp.__name__ == "torch":
        if not isinstance(x, xp.Tensor):
            x = xp.as_tensor(x, dtype=xp.float64, device=None if like is None else like.device)
        return xp, x.to(xp.float64)
    if isinstance(x, (int, float)) and like is not None:
        return xp, xp.full_like(like, x)
    return xp, xp.asarray(x, xp.promote_types(x.dtype, xp.float32) if not _x64() else xp.float64)


def _x64() -> bool:
    return bool(sys.modules["jax"].config.jax_enable_x64)


def _as(coefficient: Any, like: Any) -> Any:
    """A coefficient for each sample, shaped and typed to multiply `like`, [n, ...]."""
    xp = _namespace(like)
    if xp is np:
        like = np.asarray(like)
        coefficient = np.asarray(coefficient).astype(like.dtype if like.dtype.kind == "f" else np.float64)
    elif xp.__name__ == "torch":
        coefficient = coefficient.to(device=like.device, dtype=like.dtype)
    else:
        coefficient = xp.asarray(coefficient, like.dtype)
    if coefficient.ndim == 0:
        return coefficient
    return coefficient.reshape(tuple(coefficient.shape) + (1,) * (like.ndim - coefficient.ndim))

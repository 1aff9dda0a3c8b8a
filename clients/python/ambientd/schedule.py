"""Schedules: the distribution from which noise levels are drawn. The daemon draws; these only say which.

`scale` says in which units the numbers are: "s", the VE scale, on which annotations live, or "t", the native level of
the stream's process.
"""
from __future__ import annotations

import math
from typing import Any, Sequence

from .errors import ConfigError

TABLE_MAX = 64


class Schedule:
    """Base of all schedules. `to_json()` is what the protocol carries."""

    kind = ""

    def __init__(self, scale: str, **numbers: Any) -> None:
        if scale not in ("s", "t"):
            raise ConfigError(f'scale is {scale!r}; it is "s" (VE scale) or "t" (native level)')
        self.scale = scale
        self.numbers = numbers

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "scale": self.scale, **self.numbers}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        numbers = ", ".join(f"{key}={value!r}" for key, value in self.numbers.items())
        return f"{type(self).__name__}({numbers}, scale={self.scale!r})"


class LogNormal(Schedule):
    """ln s ~ N(mean, std^2): EDM (arXiv 2206.00364, table 1)."""

    kind = "lognormal"

    def __init__(self, mean: float = -1.2, std: float = 1.2, scale: str = "s") -> None:
        _positive("std", std)
        super().__init__(scale, mean=_finite("mean", mean), std=float(std))


class LogUniform(Schedule):
    """ln s ~ U(ln lo, ln hi)."""

    kind = "loguniform"

    def __init__(self, lo: float, hi: float, scale: str = "s") -> None:
        _positive("lo", lo)
        super().__init__(scale, **_ordered(lo, hi))


class Uniform(Schedule):
    """The level ~ U(lo, hi); for flow usually Uniform(0, 1, scale="t")."""

    kind = "uniform"

    def __init__(self, lo: float, hi: float, scale: str = "s") -> None:
        if not lo >= 0:
            raise ConfigError(f"lo is {lo!r}; it must be at least 0")
        super().__init__(scale, **_ordered(lo, hi))


class LogitNormal(Schedule):
    """logit t ~ N(mean, std^2): flow matching as in Stable Diffusion 3 (arXiv 2403.03206, section 3.1)."""

    kind = "logitnormal"

    def __init__(self, mean: float = 0.0, std: float = 1.0, scale: str = "t") -> None:
        _positive("std", std)
        if scale != "t":
            raise ConfigError(f'scale is {scale!r}; a logit-normal is of t, so it must be "t"')
        super().__init__(scale, mean=_finite("mean", mean), std=float(std))


class Table(Schedule):
    """Quantile function, piecewise linear through (probability, level): from probability 0 to 1, both ascending."""

    kind = "table"

    def __init__(self, probabilities: Sequence[float], levels: Sequence[float], scale: str = "s") -> None:
        p = [float(value) for value in probabilities]
        level = [float(value) for value in levels]
        if len(p) != len(level) or not 2 <= len(p) <= TABLE_MAX:
            raise ConfigError(f"a table of {len(p)} probabilities and {len(level)} levels; it needs as many of each, "
                              f"2 to {TABLE_MAX}")
        if p[0] != 0.0 or p[-1] != 1.0 or any(not a < b for a, b in zip(p, p[1:])):
            raise ConfigError("the probabilities of a table must rise from 0 to 1")
        if not level[0] >= 0 or not math.isfinite(level[-1]) or any(not a <= b for a, b in zip(level, level[1:])):
            raise ConfigError("the levels of a table must not fall, begin at 0 or more, and be finite")
        super().__init__(scale, points=[[a, b] for a, b in zip(p, level)])


class Constant(Schedule):
    """Always the same level; 0 for clean images."""

    kind = "constant"

    def __init__(self, level: float, scale: str = "s") -> None:
        if not level >= 0:
            raise ConfigError(f"level is {level!r}; it must be at least 0")
        super().__init__(scale, level=float(level))


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise ConfigError(f"{name} is {value!r}; it must be finite")
    return float(value)


def _positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"{name} is {value!r}; it must be positive and finite")


def _ordered(lo: float, hi: float) -> dict[str, float]:
    if not (lo < hi and math.isfinite(hi)):
        raise ConfigError(f"lo is {lo!r} and hi {hi!r}; lo must be below hi, and hi finite")
    return {"lo": float(lo), "hi": float(hi)}

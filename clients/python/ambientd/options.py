"""Options: what decides the draws of a stream, as the protocol carries it (proto/state.md)."""
from __future__ import annotations

import numbers
from typing import Any, TypeGuard

import numpy as np

from .errors import ConfigError
from .fields import nearest
from .schedule import Schedule

PROCESSES = ("ve", "vp", "flow")
POLICIES = ("pass", "uniform", "sequential")
GAPS = ("truncate", "error")


def stream_options(*, schedule: Schedule | None, process: str, policy: str, seed: int, s_max: float | None,
                   gaps: str, xflip: bool) -> dict[str, Any]:
    """Checked as far as a client can. All are sent, so that a state with another value of any is refused; without a
    schedule the state's holds, or the daemon's default.
    """
    _one_of("process", process, PROCESSES)
    _one_of("policy", policy, POLICIES)
    _one_of("gaps", gaps, GAPS)
    if not is_number(seed) or seed != seed or not 0 <= seed < 2**64 or int(seed) != seed:
        raise ConfigError(f"seed is {seed!r}; it must be a whole number from 0 to 2^64 - 1")
    if s_max is not None and not (is_number(s_max) and s_max > 1):
        raise ConfigError(f"s_max is {s_max!r}; it must be above 1, or None")
    if schedule is not None and not isinstance(schedule, Schedule):
        raise ConfigError(f"schedule is {schedule!r}; it must be one of ambientd.LogNormal, LogUniform, Uniform, "
                          "LogitNormal, Table, Constant")
    return {"seed": int(seed), "process": process, "policy": policy, "gaps": gaps, "xflip": bool(xflip),
            "s_max": None if s_max is None else float(s_max),
            **({} if schedule is None else {"schedule": schedule.to_json()})}


def is_number(value: Any) -> TypeGuard[float]:
    """An int or a float, numpy's too; True is none."""
    return isinstance(value, (numbers.Real, np.number)) and not isinstance(value, (bool, np.bool_))


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name} is {value!r}{nearest(str(value), known)}; allowed: {', '.join(known)}")

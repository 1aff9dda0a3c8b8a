"""Fields: how the daemon describes a slot, and views of it: arrays, keys, members.

A field is `batch_size` rows at an offset. Ragged and stacked fields begin with i64 lengths, -1 where the sample has no
such member (proto/README.md, section 2).
"""
from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from .errors import ConfigError, ProtocolError

FIELDS = ("x_t", "x_tn", "x0", "u8", "noise", "sigma_t", "sigma_tn", "s_t", "s_tn", "sigma_min", "sigma_max", "weight",
          "label", "index", "uid", "key", "corruption_label", "replaced", "seeds")

_DTYPES = {"u8": np.uint8, "i8": np.int8, "u16": np.uint16, "i16": np.int16, "u32": np.uint32, "i32": np.int32,
           "u64": np.uint64, "i64": np.int64, "f16": np.float16, "f32": np.float32, "f64": np.float64,
           "bf16": np.uint16, "bool": np.bool_}


@dataclass(frozen=True)
class Field:
    """One field of a slot, as SUBSCRIBED describes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]  # begins with the batch size
    offset: int
    n_bytes: int
    row_bytes: int
    ragged: bool
    stacked: bool

    @staticmethod
    def from_json(value: dict[str, Any], batch_size: int, slot_bytes: int) -> Field:
        """Prove that the field lies in its slot; the views below rely on it."""
        try:
            field = Field(str(value["name"]), str(value["dtype"]), tuple(int(n) for n in value["shape"]),
                          int(value["offset"]), int(value["bytes"]), int(value["row_bytes"]),
                          bool(value.get("ragged", False)), bool(value.get("stacked", False)))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ProtocolError(f"the daemon described a field as {value!r}: {error}") from None
        if field.dtype not in _DTYPES:
            raise ProtocolError(f"the daemon described {field.name} as {field.dtype}; known: {' '.join(_DTYPES)}")
        rows = batch_size * field.row_bytes + (8 * batch_size if field.has_lengths else 0)
        elements = math.prod(field.shape) * field.numpy_dtype.itemsize  # of any size: numpy's wraps, or raises
        if (field.shape[:1] != (batch_size,) or elements != batch_size * field.row_bytes or field.offset < 0
                or field.offset + rows > slot_bytes):
            raise ProtocolError(f"field {field.name}, shape {field.shape}, offset {field.offset}, does not fit a slot "
                                f"of {slot_bytes} bytes and batch size {batch_size}")
        return field

    @property
    def has_lengths(self) -> bool:
        return self.ragged or self.stacked

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """As numpy holds it; bf16 are the bits as u16 (see bfloat16())."""
        return np.dtype(_DTYPES[self.dtype])

    def array(self, slot: np.ndarray, count: int) -> np.ndarray:
        """The first count rows, as a view of the slot."""
        begin = self.offset + (8 * self.shape[0] if self.has_lengths else 0)
        return np.ndarray((count, *self.shape[1:]), self.numpy_dtype, slot, begin)

    def lengths(self, slot: np.ndarray, count: int) -> np.ndarray:
        return np.ndarray((count,), np.int64, slot, self.offset)


def bfloat16() -> np.dtype[Any] | None:
    """numpy's bfloat16 by the package ml_dtypes, if that is installed."""
    try:
        import ml_dtypes
    except ImportError:
        return None
    return np.dtype(ml_dtypes.bfloat16)


class Members(Sequence["bytes | None"]):
    """Members kept as bytes: a list of bytes, None where a sample has none.

    `lengths` are the true lengths, -1 for None. A member longer than `max_bytes` is cut: `truncated` says which.
    """

    def __init__(self, cells: np.ndarray, lengths: np.ndarray) -> None:
        self._cells = cells
        self.lengths = lengths

    @property
    def missing(self) -> np.ndarray:
        return self.lengths < 0

    @property
    def truncated(self) -> np.ndarray:
        return self.lengths > self._cells.shape[1]

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, i: int) -> bytes | None: ...
    @overload
    def __getitem__(self, i: slice) -> list[bytes | None]: ...

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self._cell(j) for j in range(*i.indices(len(self)))]
        return self._cell(range(len(self))[i])

    def _cell(self, i: int) -> Any:
        length = int(self.lengths[i])
        return None if length < 0 else self._cells[i, :length].tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, (str, bytes)) and list(self) == list(other)

    def __repr__(self) -> str:
        return repr(list(self))


class Keys(Members):
    """The samples' keys: a list of str. Bytes that are not UTF-8 become lone surrogates, as in file names."""

    def _cell(self, i: int) -> Any:
        cell = super()._cell(i)
        return None if cell is None else cell.decode("utf-8", "surrogateescape")


def field_request(field: str | dict[str, Any]) -> str | dict[str, Any]:
    """Check one entry of `fields` as far as a client can: its name, with the nearest known one."""
    name = field.get("name") if isinstance(field, dict) else field
    if not isinstance(name, str):
        raise ConfigError(f'a field is a name, "name:dtype", or {{"name", "dtype", "max_bytes", "overflow"}}; '
                          f"found {field!r}")
    base = name.split(":", 1)[0]
    if base == "member":
        if len(name) <= len("member:"):
            raise ConfigError('a member is asked for by its extension, as "member:txt"')
    elif base not in FIELDS:
        raise ConfigError(f"there is no field {base!r}{nearest(base, FIELDS)}; known: {' '.join(FIELDS)} member:EXT")
    return field


def nearest(word: str, known: Sequence[str]) -> str:
    """', did you mean ...?' or nothing."""
    import difflib
    close = difflib.get_close_matches(word, known, 1)
    return f", did you mean {close[0]!r}?" if close else ""


def framework_name(framework: str) -> str:
    """Resolve "auto": torch, then jax, if the program has imported them already; else numpy."""
    if framework == "auto":
        return next((name for name in ("torch", "jax") if name in sys.modules), "numpy")
    if framework not in ("numpy", "torch", "jax"):
        raise ConfigError(f"framework is {framework!r}; it is numpy, torch, jax or auto")
    return framework

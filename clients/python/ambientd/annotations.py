"""Annotations: what the daemon knows of each sample, as numpy columns.

A sample may be used at noise level s of the VE scale if s > sigma_min or s < sigma_max (sigma_min times the stream's
buffer, where it has one). A row holds the values that count now, where each side came from, and what the annotator
found: proto/README.md, ANNOTATIONS.

Not here: the questions themselves (client.py), Parquet (parquet.py).
"""
from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, fields
from typing import Any, Callable, Iterator, Sequence

import numpy as np

from .errors import BusyError, ProtocolError

ORIGINS = ("default", "score", "crops", "classifier", "import", "fixed")  # who set a side; index = origin's number
STATES = ("unknown", "annotated", "given up", "quarantined")  # index = state's number
PAGE = 65536  # rows that one answer carries at most

_WIRE_DTYPES = {"f32": "<f4", "u8": "u1", "u16": "<u2", "u32": "<u4", "i64": "<i8"}
_TRIES = 5  # to read pages that all belong to one state of the dataset; not tuned

Query = Callable[[int, int], "dict[str, Any]"]  # (start, count) -> an answer to ANNOTATIONS


@dataclass(frozen=True, eq=False)
class Annotations:
    """n samples, in the order of the dataset; every column has one entry a sample and belongs to you.

    keys         list of str, without their source; U+FFFD stands for each byte that is no UTF-8
    index        i64[n]: the sample's number in the dataset
    sigma_min    f32[n]: usable above it; inf: not from this side. VE scale, in units of pictures in [-1, 1]
    sigma_max    f32[n]: usable below it; 0: not from this side, inf: everywhere
    lo, hi       f32[n]: interval of the side that was searched, NaN where nobody searched
    evaluations  u32[n]: what the annotator spent on it
    min_origin, max_origin   u8[n]: who set the side, a number of ORIGINS; see origins()
    state        u8[n]: a number of STATES
    source       u16[n]: a number of `sources`
    model        u16[n]: 0 for none, else one more than a number of `models`
    label        i64[n], -1 if none

    sources      names of the dataset's sources
    models       SHA-256 of the models, hex; "" where the store has lost it to damage
    generation   {"number", "fingerprint"} of the annotations
    total        samples of the whole dataset

    `a["sigma_min"]` is `a.sigma_min`; `a[mask]`, `a[3:9]` and `a[indices]` are the Annotations of those rows.
    """

    keys: list[str]
    index: np.ndarray
    sigma_min: np.ndarray
    sigma_max: np.ndarray
    lo: np.ndarray
    hi: np.ndarray
    evaluations: np.ndarray
    min_origin: np.ndarray
    max_origin: np.ndarray
    state: np.ndarray
    source: np.ndarray
    model: np.ndarray
    label: np.ndarray
    sources: list[str]
    models: list[str]
    generation: dict[str, Any]
    total: int

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, str):
            if which != "keys" and which not in COLUMNS:
                raise KeyError(f"there is no column {which!r}; known: keys {' '.join(COLUMNS)}")
            return getattr(self, which)
        rows = np.arange(len(self))[which]
        if rows.ndim != 1:
            raise IndexError("Annotations take a column's name, a mask, a slice, or an array of row numbers")
        return Annotations(keys=[self.keys[i] for i in rows], **{name: self[name][rows] for name in COLUMNS},
                           sources=self.sources, models=self.models, generation=self.generation, total=self.total)

    def columns(self) -> dict[str, Any]:
        """Every column by its name, `keys` first: what pandas.DataFrame takes."""
        return {"keys": self.keys, **{name: self[name] for name in COLUMNS}}

    def origins(self, side: str = "sigma_min") -> np.ndarray:
        """Who set the side, as str[n] out of ORIGINS."""
        if side not in ("sigma_min", "sigma_max"):
            raise ValueError(f"side is {side!r}; it is sigma_min or sigma_max")
        return _names(ORIGINS, self.min_origin if side == "sigma_min" else self.max_origin)

    def states(self) -> np.ndarray:
        """STATES of the samples, as str[n]."""
        return _names(STATES, self.state)

    def source_names(self) -> np.ndarray:
        """Names of the samples' sources, as str[n]."""
        return _names(self.sources, self.source)

    def usable(self, sigma: float, buffer: float = 1.0) -> np.ndarray:
        """Which samples admit this noise level of the VE scale, as bool[n]."""
        return (sigma > self.sigma_min.astype(np.float64) * buffer) | (sigma < self.sigma_max)

    def __repr__(self) -> str:
        n_set = int(((self.min_origin > 0) | (self.max_origin > 0)).sum())
        return f"<Annotations of {len(self)} samples, {n_set} set, generation {self.generation.get('number')}>"


_DTYPES: dict[str, Any] = {
    "index": np.int64, "sigma_min": np.float32, "sigma_max": np.float32, "lo": np.float32, "hi": np.float32,
    "evaluations": np.uint32, "min_origin": np.uint8, "max_origin": np.uint8, "state": np.uint8, "source": np.uint16,
    "model": np.uint16, "label": np.int64,
}
COLUMNS = tuple(_DTYPES)  # those that are arrays
assert {*COLUMNS} < {field.name for field in fields(Annotations)}


def _names(names: Sequence[str], numbers: np.ndarray) -> np.ndarray:
    """names[number], and the number itself where a newer daemon has one that we do not know."""
    if len(numbers) == 0:
        return np.array([], str)
    known = [*names, *(str(i) for i in range(len(names), int(numbers.max()) + 1))]
    return np.array(known)[numbers]


def read(query: Query, start: int = 0, count: int | None = None) -> Annotations:
    """Samples [start, start + count), None: to the end; page by page.

    A reload between two pages renumbers samples: then all is read anew. BusyError where that goes on and on.
    """
    for _ in range(_TRIES):
        pages = list(_pages(query, start, count))
        if all(_dataset(page) == _dataset(pages[0]) for page in pages):
            return _join(pages)
    raise BusyError(f"the dataset changed under each of {_TRIES} readings; read again when reloads are over")


def _dataset(page: dict[str, Any]) -> Any:
    return page["total"], page["sources"], page["dataset"]


def _pages(query: Query, start: int, count: int | None) -> Iterator[dict[str, Any]]:
    end = None if count is None else start + count
    while True:
        wanted = PAGE if end is None else min(PAGE, end - start)
        page = _decode(query(start, wanted))
        n_rows, n_left = len(page["keys"]), max(0, page["total"] - start)
        if page["start"] != start or n_rows != min(wanted, n_left):
            raise ProtocolError(f"the daemon's ANNOTATIONS has {n_rows} samples from {page['start']} on of {page['total']}; "
                                f"{min(wanted, n_left)} from {start} on were asked for")
        yield page
        start += n_rows
        if n_rows == n_left or start == end:
            return


def _decode(answer: dict[str, Any]) -> dict[str, Any]:
    """One answer, with its columns as arrays; proves that all have one entry a sample."""
    try:
        page = {name: answer[name] for name in ("keys", "sources", "models", "generation", "total", "start")}
        page["dataset"] = answer.get("dataset")  # whose samples they are; daemons before 0.2 do not say
        page["columns"] = {name: _column(name, column) for name, column in answer["columns"].items()}
        missing = [name for name in COLUMNS if name != "index" and name not in page["columns"]]
    except (AttributeError, KeyError, TypeError) as error:
        raise ProtocolError(f"the daemon's ANNOTATIONS lacks {error}") from None
    if missing:
        raise ProtocolError(f"the daemon's ANNOTATIONS has no column {' '.join(missing)}")
    for name, column in page["columns"].items():
        if len(column) != len(page["keys"]):
            raise ProtocolError(f"column {name} has {len(column)} entries for {len(page['keys'])} keys")
    page["columns"]["index"] = page["start"] + np.arange(len(page["keys"]))
    return page


def _column(name: str, column: dict[str, Any]) -> np.ndarray:
    dtype = _WIRE_DTYPES.get(column["dtype"])
    if dtype is None:
        raise ProtocolError(f"column {name} has dtype {column['dtype']!r}; known: {' '.join(_WIRE_DTYPES)}")
    try:
        return np.frombuffer(base64.b64decode(column["data"], validate=True), dtype)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError(f"column {name} is no base64 of {column['dtype']}: {error}") from None


def _join(pages: list[dict[str, Any]]) -> Annotations:
    last = pages[-1]  # models are only ever appended, so its list names those of all pages
    columns = {name: np.concatenate([page["columns"][name] for page in pages]).astype(dtype, copy=False)
               for name, dtype in _DTYPES.items()}
    return Annotations(keys=[key for page in pages for key in page["keys"]], **columns, sources=list(last["sources"]),
                       models=list(last["models"]), generation=dict(last["generation"]), total=int(last["total"]))

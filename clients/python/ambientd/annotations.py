"""Annotations: what the daemon knows of its samples, as numpy arrays, Parquet and live progress of its jobs.

Everything here asks; nothing is cached. Values are on the VE scale, in units of pictures in [-1, 1]: a sample may be used
at sigma if sigma > sigma_min or sigma < sigma_max.
"""
from __future__ import annotations

import base64
import dataclasses
import json
import os
import tempfile
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping

import numpy

from . import wire
from .connection import Connection
from .errors import AmbientError, FormatError, ProtocolError, UnsupportedError

if TYPE_CHECKING:
    from .client import Client

ORIGINS = ("default", "score", "crops", "classifier", "import", "fixed")  # by the numbers of min_origin and max_origin
STATES = ("unknown", "annotated", "given up", "quarantined")  # by the numbers of state
_DTYPES = {"f32": "<f4", "u32": "<u4", "u8": "u1", "u16": "<u2", "i64": "<i8"}
_OVER = ("done", "failed", "cancelled")


@dataclasses.dataclass(frozen=True)
class Annotations:
    """Columns of N samples, in the order of their numbers in the dataset.

    keys         list of N str, without their source
    sigma_min    f32 [N], effective; inf: closed
    sigma_max    f32 [N], effective; 0: closed
    lo, hi       f32 [N], interval of the side that was searched; NaN where there is none
    evaluations  u32 [N], runs of the model that the sample took
    min_origin   u8 [N], who set sigma_min: index into ORIGINS; max_origin alike
    state        u8 [N], index into STATES
    source       u16 [N], index into `sources`
    model        u16 [N], 0: none, else models[model - 1] is the sha256
    label        i64 [N], -1: none
    generation   {"number", "fingerprint"} of the newest generation that was minted
    """

    keys: list[str]
    sigma_min: numpy.ndarray
    sigma_max: numpy.ndarray
    lo: numpy.ndarray
    hi: numpy.ndarray
    evaluations: numpy.ndarray
    min_origin: numpy.ndarray
    max_origin: numpy.ndarray
    state: numpy.ndarray
    source: numpy.ndarray
    model: numpy.ndarray
    label: numpy.ndarray
    sources: list[str]
    models: list[str]
    generation: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.keys)


COLUMNS = ("sigma_min", "sigma_max", "lo", "hi", "evaluations", "min_origin", "max_origin", "state", "source", "model", "label")


def load(query: Callable[..., dict[str, Any]], dataset: str | None, generation: str | None) -> Annotations:
    """All columns, page by page."""
    pages: list[dict[str, Any]] = []
    start, total = 0, 1
    while start < total:
        page = query(wire.ANNOTATIONS, dataset=dataset, start=start, generation=generation)
        total = page["total"]
        pages.append(page)
        if page["count"] == 0:
            break
        start += page["count"]
    columns = {name: numpy.concatenate([_column(page, name) for page in pages]) for name in COLUMNS}
    last = pages[-1]
    return Annotations(keys=[key for page in pages for key in page["keys"]], sources=last["sources"],
                       models=last["models"], generation=last["generation"], **columns)


def _column(page: Mapping[str, Any], name: str) -> numpy.ndarray:
    try:
        row = page["columns"][name]
        array = numpy.frombuffer(base64.b64decode(row["data"], validate=True), _DTYPES[row["dtype"]])
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"column {name!r} of ANNOTATIONS is malformed: {error!r}") from None
    if len(array) != page["count"]:
        raise ProtocolError(f"column {name!r} has {len(array)} values for {page['count']} samples")
    return array


class Job:
    """An annotation job of the daemon; it goes on whether this object lives or not.

    `facts` is what the daemon said of it last: state, done, total, evaluations, samples_per_s, eta_s, reason, ...
    (proto/README.md "Jobs"); refresh() asks again.
    """

    def __init__(self, client: Client, facts: dict[str, Any]) -> None:
        self.client = client
        self.facts = facts

    @property
    def id(self) -> int:
        return int(self.facts["id"])

    @property
    def state(self) -> str:
        """"queued", "running", "paused", "waiting", "done", "failed" or "cancelled", as of the last refresh."""
        return str(self.facts["state"])

    def refresh(self) -> Job:
        for facts in self.client._query(wire.JOBS)["jobs"]:
            if facts["id"] == self.id:
                self.facts = facts
        return self

    def wait(self, timeout: float | None = None, progress: Callable[[dict[str, Any]], None] | None = None) -> Job:
        """Until the job has ended; `progress` is called with its facts some four times a second.

        Raises AmbientError with the daemon's reason where it failed, TimeoutError after `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.refresh().state not in _OVER:
            if progress is not None:
                progress(self.facts)
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"job {self.id} is {self.state} after {timeout} s, {self.facts['done']} of "
                                   f"{self.facts['total']} samples done")
            time.sleep(0.25)
        if progress is not None:
            progress(self.facts)
        if self.state == "failed":
            raise AmbientError(f"job {self.id} failed: {self.facts['reason']}")
        return self

    def pause(self) -> Job:
        return self._act("pause")

    def resume(self) -> Job:
        return self._act("resume")

    def cancel(self) -> Job:
        return self._act("cancel")

    def set_priority(self, priority: int) -> Job:
        """The job of the highest priority of a dataset runs."""
        return self._act("priority", priority=priority)

    def _act(self, action: str, **keys: Any) -> Job:
        self.facts = self.client._query(wire.JOB, id=self.id, action=action, **keys)
        return self

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.state}, {self.facts['done']} of {self.facts['total']}>"


class _Watch(Connection):
    """A connection that collects EVENTs."""

    def __init__(self, address: str, timeout: float | None) -> None:
        self.events: deque[bytes] = deque()
        super().__init__(address, timeout)

    def on_frame(self, type: int, flags: int, request_id: int, payload: bytes) -> bool:
        if type == wire.EVENT:
            self.events.append(payload)
        return type == wire.EVENT


def watch(address: str, dataset: str | None, timeout: float | None) -> Iterator[dict[str, Any]]:
    """EVENTs of one WATCH, on a connection of its own, closed with the generator."""
    connection = _Watch(address, timeout)
    try:
        connection.query(wire.WATCH, dataset=dataset)
        while True:
            connection.pump(lambda: bool(connection.events), timeout)
            while connection.events:
                yield wire.loads(connection.events.popleft())
    finally:
        connection.close()


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UnsupportedError(f"pyarrow is needed for Parquet and cannot be imported ({error}); pip install pyarrow") from error
    return pyarrow


def to_parquet(annotations: Annotations, path: str | os.PathLike[str]) -> int:
    """Write one row a sample; returns the number of rows. Names become text: source, state and origins."""
    pyarrow = _pyarrow()
    table = pyarrow.table({
        "key": annotations.keys,
        "source": [annotations.sources[i] for i in annotations.source],
        "label": annotations.label,
        "sigma_min": annotations.sigma_min,
        "sigma_max": annotations.sigma_max,
        "lo": annotations.lo,
        "hi": annotations.hi,
        "evaluations": annotations.evaluations,
        "sigma_min_origin": [ORIGINS[i] for i in annotations.min_origin],
        "sigma_max_origin": [ORIGINS[i] for i in annotations.max_origin],
        "state": [STATES[i] for i in annotations.state],
        "model": [annotations.models[i - 1] if i else None for i in annotations.model],
    })
    pyarrow.parquet.write_table(table, os.fspath(path))
    return int(table.num_rows)


def from_parquet(path: str | os.PathLike[str]) -> str:
    """Rows of a Parquet file as a temporary annotations.jsonl, whose path is returned; the caller removes it.

    Read are `key`, `source` (optional), `sigma_min` and `sigma_max` (null: not set); with a column `state` only rows
    that say "annotated".
    """
    pyarrow = _pyarrow()
    table = pyarrow.parquet.read_table(os.fspath(path))
    names = set(table.column_names)
    if "key" not in names or not names & {"sigma_min", "sigma_max"}:
        raise FormatError(f"{path} has the columns {', '.join(table.column_names)}; needed: key and sigma_min or sigma_max")
    handle, out = tempfile.mkstemp(suffix=".jsonl")
    with open(handle, "w") as file:
        for row in table.to_pylist():
            if row.get("state", "annotated") != "annotated":
                continue
            line: dict[str, Any] = {"key": f"{row['source']}/{row['key']}" if row.get("source") else row["key"]}
            for side in ("sigma_min", "sigma_max"):
                if row.get(side) is not None:
                    line[side] = "inf" if row[side] == float("inf") else row[side]
            file.write(json.dumps(line) + "\n")
    return out

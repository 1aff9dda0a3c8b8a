"""Parquet: annotations as a table for pandas, polars, DuckDB and the like; the daemon itself reads and writes JSON Lines.

Columns that are written, one row a sample:

    index        int64                the sample's number in the dataset
    source       dictionary<string>
    key          string               without its source
    label        int64                null if it has none
    sigma_min    float                VE scale; infinity is IEEE infinity
    sigma_max    float
    sigma_min_origin, sigma_max_origin   dictionary<string>   default, score, crops, classifier, import, fixed
    state        dictionary<string>   unknown, annotated, given up, quarantined
    lo, hi       float                null where nobody searched
    evaluations  uint32
    model        dictionary<string>   SHA-256, null if none

The file's metadata has ambientd.format ("1"), ambientd.generation and ambientd.fingerprint. A file to be read needs
`key` (with `source`, or the source's name and a slash before it, or neither) or `index`, and `sigma_min` or `sigma_max`;
the rest may be missing and other columns are passed over. A side is set where its value is no null and no NaN and its
origin, if the file has that column, is not "default": so what nobody set is set by nobody.

pyarrow is imported when first needed. Not here: who asks the daemon (client.py).
"""
from __future__ import annotations

import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any, Iterator

import numpy as np

from .annotations import Annotations
from .errors import FormatError, UnsupportedError, VersionError

FORMAT = "1"


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UnsupportedError(f"Parquet needs pyarrow ({error}): pip install pyarrow, or use a .jsonl file") from None
    return pyarrow, pyarrow.parquet


def write(annotations: Annotations, path: str | os.PathLike[str]) -> None:
    """At once: a crash leaves the old file or the new one."""
    pa, pq = _pyarrow()
    table = _table(pa, annotations)
    fresh = Path(f"{os.fspath(path)}.{os.getpid()}.new")
    try:
        pq.write_table(table, fresh, compression="zstd")
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _table(pa: Any, annotations: Annotations) -> Any:
    def words(values: np.ndarray, mask: np.ndarray | None = None) -> Any:
        return pa.array(values, pa.string(), mask=mask).dictionary_encode()

    def searched(values: np.ndarray) -> Any:
        return pa.array(values, mask=np.isnan(values))

    models = np.array(["", *annotations.models])[annotations.model]
    metadata = {"ambientd.format": FORMAT, "ambientd.generation": str(annotations.generation.get("number", "")),
                "ambientd.fingerprint": str(annotations.generation.get("fingerprint", ""))}
    return pa.table({
        "index": pa.array(annotations.index),
        "source": words(annotations.source_names()),
        "key": _keys(pa, annotations.keys),
        "label": pa.array(annotations.label, mask=annotations.label == -1),
        "sigma_min": pa.array(annotations.sigma_min),
        "sigma_max": pa.array(annotations.sigma_max),
        "sigma_min_origin": words(annotations.origins("sigma_min")),
        "sigma_max_origin": words(annotations.origins("sigma_max")),
        "state": words(annotations.states()),
        "lo": searched(annotations.lo),
        "hi": searched(annotations.hi),
        "evaluations": pa.array(annotations.evaluations),
        "model": words(models, models == ""),
    }).replace_schema_metadata(metadata)


def _keys(pa: Any, keys: list[str]) -> Any:
    bad = next((key for key in keys if "\ufffd" in key), None)
    if bad is not None:
        raise FormatError(f"key {bad!r} is no UTF-8, so its row would match no sample when it is read again; export to a "
                          ".jsonl file")
    return pa.array(keys, pa.string())


def to_jsonl(path: str | os.PathLike[str]) -> str:
    """A Parquet file as an annotations.jsonl for the daemon to read: a new file, the caller's to remove.

    It lies beside the Parquet file if that folder can be written to, since a daemon may have a /tmp of its own.
    """
    folder = os.path.dirname(os.path.abspath(path))
    prefix = f".{os.path.basename(os.fspath(path))}."
    lines = _lines(path)
    try:
        fd, made = tempfile.mkstemp(".jsonl", prefix, folder)
    except OSError:
        fd, made = tempfile.mkstemp(".jsonl", prefix)
    try:
        with open(fd, "w", encoding="utf-8") as file:
            os.fchmod(fd, 0o644)  # the daemon may be another user's, and root asks
            file.writelines(lines)
    except BaseException:
        os.unlink(made)
        raise
    return made


def _lines(path: str | os.PathLike[str]) -> Iterator[str]:
    pa, pq = _pyarrow()
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise FormatError(f"{os.fspath(path)} is no Parquet file: {error}") from None
    found = set(file.schema_arrow.names)
    version = (file.schema_arrow.metadata or {}).get(b"ambientd.format", FORMAT.encode()).decode()
    if version != FORMAT:
        raise VersionError(f"{os.fspath(path)} has ambientd.format {version}; this package reads {FORMAT}")
    if not found & {"key", "index"} or not found & {"sigma_min", "sigma_max"}:
        raise FormatError(f"{os.fspath(path)} has the columns {' '.join(file.schema_arrow.names)}; needed: key or index, "
                          "and sigma_min or sigma_max")
    wanted = [name for name in ("key", "source", "index", "sigma_min", "sigma_max", "sigma_min_origin",
                          "sigma_max_origin")
              if name in found]
    rows = (row for batch in file.iter_batches(columns=wanted) for row in batch.to_pylist())
    return (line for number, row in enumerate(rows) for line in _line(number, row))


def _line(number: int, row: dict[str, Any]) -> list[str]:
    """One line, or none where the row sets nothing."""
    sides = {side: row[side] for side, origin in (("sigma_min", "sigma_min_origin"), ("sigma_max", "sigma_max_origin"))
             if row.get(side) is not None and not math.isnan(row[side]) and row.get(origin) != "default"}
    if not sides:
        return []
    who: dict[str, Any]
    if row.get("key") is not None:
        who = {"key": f"{row['source']}/{row['key']}" if row.get("source") else row["key"]}
    elif row.get("index") is not None:
        who = {"index": row["index"]}
    else:
        raise FormatError(f"row {number} names no sample: its key and its index are null")
    values = {side: "inf" if math.isinf(value) and value > 0 else value for side, value in sides.items()}
    return [json.dumps({**who, **values}) + "\n"]

"""Client: questions to a daemon. One connection, opened when first needed, for any thread."""
from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import Any, Iterator, Sequence

from . import annotations as annotated, wire
from .address import default_address
from .connection import Connection, CutError


class Client:
    """Ask a daemon; answers are dicts as proto/README.md, section 3, describes them."""

    def __init__(self, address: str | os.PathLike[str] | None = None, *, timeout: float | None = 60.0) -> None:
        """address: the daemon's socket; None: AMBIENTD_SOCKET, else this user's default."""
        self.address = default_address(address)
        self.timeout = timeout
        self._connection: Connection | None = None
        self._lock = threading.RLock()

    def status(self) -> dict[str, Any]:
        """Datasets, sessions, cache and counters."""
        return self._query(wire.STATUS)

    def sample(self, key: str | None = None, *, index: int | None = None, dataset: str | None = None) -> dict[str, Any]:
        """Where a sample lies, its annotation and where that came from. NotFoundError where there is none."""
        if (key is None) == (index is None):
            raise TypeError("sample() takes a key or an index=")
        return self._query(wire.SAMPLE, key=key, index=index, dataset=dataset)

    def coverage(self, sigmas: Sequence[float] | None = None, *, points: int | None = None,
                 buffer: float | None = None, dataset: str | None = None) -> dict[str, Any]:
        """How many samples admit each sigma of the VE scale."""
        given = None if sigmas is None else [float(sigma) for sigma in sigmas]
        return self._query(wire.COVERAGE, sigmas=given, points=points, buffer=buffer, dataset=dataset)

    def ls(self, what: str = "samples", *, start: int | None = None, count: int | None = None,
           dataset: str | None = None) -> dict[str, Any]:
        """A page of the samples, shards or sources."""
        return self._query(wire.LIST, what=what, start=start, count=count, dataset=dataset)

    def quarantine(self, *, start: int | None = None, count: int | None = None,
                   dataset: str | None = None) -> dict[str, Any]:
        """Samples found bad, with the reason."""
        return self._query(wire.QUARANTINE, start=start, count=count, dataset=dataset)

    def generations(self, *, dataset: str | None = None) -> dict[str, Any]:
        """Generations of the dataset and of its annotations, oldest first."""
        return self._query(wire.GENERATIONS, dataset=dataset)

    def import_annotations(self, path: str | os.PathLike[str], *, dataset: str | None = None) -> dict[str, Any]:
        """Let the daemon read an annotations file; its report. Only for the daemon's user."""
        return self._query(wire.IMPORT, path=os.path.abspath(path), dataset=dataset)

    def annotations(self, *, dataset: str | None = None, generation: str | None = None) -> annotated.Annotations:
        """What is known of every sample, as numpy arrays; with `generation`, a fingerprint that generations() lists,
        sigma_min and sigma_max are that generation's."""
        return annotated.load(self._query, dataset, generation)

    def curve(self, key: str | None = None, *, index: int | None = None, dataset: str | None = None) -> dict[str, Any]:
        """One sample's records and, where a job kept it, its curve {"sigmas", "p"}: lists of floats, rising sigmas."""
        if (key is None) == (index is None):
            raise TypeError("curve() takes a key or an index=")
        return self._query(wire.CURVE, key=key, index=index, dataset=dataset)

    def stats(self, *, by: str = "source", bins: int | None = None, dataset: str | None = None) -> dict[str, Any]:
        """Histograms and quartiles of sigma_min and sigma_max, by "source" or "label"."""
        return self._query(wire.STATS, by=by, bins=bins, dataset=dataset)

    def annotate(self, model: str | os.PathLike[str], *, dataset: str | None = None, **options: Any) -> annotated.Job:
        """Start an annotation job; it runs in the daemon. Only for the daemon's user.

        model    an ONNX classifier that the daemon can read (see export_classifier)
        options  mode="adaptive"|"dense", where={"source", "key", "label", "annotated"}, part=[k, n], grid=PATH or
                 [lo, hi, n], trials, span, epsilon, column, curves=True, seed, batch, priority, providers, resize
        """
        path = os.fspath(model)
        path = path if path.startswith("fake:") else os.path.abspath(path)
        return annotated.Job(self, self._query(wire.ANNOTATE, model=path, dataset=dataset, **options)["job"])

    def jobs(self, *, dataset: str | None = None) -> list[annotated.Job]:
        """Annotation jobs, oldest first."""
        return [annotated.Job(self, facts) for facts in self._query(wire.JOBS, dataset=dataset)["jobs"]]

    def subscribe(self, *, dataset: str | None = None, timeout: float | None = None) -> Iterator[dict[str, Any]]:
        """Live progress: {"jobs": [...], "generation": {dataset: number}} at once and as things change, at most four a
        second. An endless generator, on a connection of its own; AmbientTimeoutError after `timeout` silent seconds."""
        return annotated.watch(self.address, dataset, timeout)

    def mint(self, *, dataset: str | None = None) -> dict[str, Any]:
        """Make the annotations as they stand the next generation, now: {"number", "fingerprint", "changed"}."""
        answer: dict[str, Any] = self._query(wire.MINT, dataset=dataset)["generation"]
        return answer

    def export_annotations(self, path: str | os.PathLike[str], *, toolbox: bool = False,
                           dataset: str | None = None) -> dict[str, Any]:
        """Let the daemon write the present generation as annotations.jsonl; `toolbox`: infinite sigmas as 300.0, as the
        Python toolbox reads them."""
        return self._query(wire.EXPORT, path=os.path.abspath(path), toolbox=toolbox, dataset=dataset)

    def annotations_to_parquet(self, path: str | os.PathLike[str], *, dataset: str | None = None) -> int:
        """Write what annotations() gives as Parquet (pyarrow), one row a sample; the number of rows. Columns: key,
        source, label, sigma_min, sigma_max, lo, hi, evaluations, sigma_min_origin, sigma_max_origin, state, model."""
        return annotated.to_parquet(self.annotations(dataset=dataset), path)

    def annotations_from_parquet(self, path: str | os.PathLike[str], *, dataset: str | None = None) -> dict[str, Any]:
        """Import key (and source), sigma_min and sigma_max from Parquet; the report of import_annotations()."""
        lines = annotated.from_parquet(path)
        try:
            return self.import_annotations(lines, dataset=dataset)
        finally:
            os.unlink(lines)

    def ping(self) -> None:
        """Return if the daemon answers."""
        self._query(wire.PING)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _query(self, type: int, **keys: Any) -> dict[str, Any]:
        """Every question may be asked again, so one that an interruption cut is."""
        payload = wire.dumps({key: value for key, value in keys.items() if value is not None})
        with self._lock:
            while True:
                try:
                    answer: dict[str, Any] = self._connected().call(type, b"" if type == wire.PING else payload)
                    return answer
                except CutError:
                    continue

    def _connected(self) -> Connection:
        """A connection that works: one that the daemon closed, or an interruption cut, is replaced."""
        if self._connection is not None:
            self._connection.check_process()
            self._connection.drain()
            if not self._connection.usable:
                self._connection.close()
                self._connection = None
        if self._connection is None:
            self._connection = Connection(self.address, self.timeout)
        return self._connection

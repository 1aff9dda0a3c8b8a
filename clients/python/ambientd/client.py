"""Client: questions to a daemon, and orders to annotate. One connection, opened when first needed, for any thread.

Questions may be asked again and are, where an interruption cut one. Orders are sent once.
"""
from __future__ import annotations

import base64
import contextlib
import os
import threading
from types import TracebackType
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from . import annotations as _annotations
from . import parquet, wire
from .address import default_address
from .annotations import Annotations
from .connection import Connection, CutError
from .errors import AmbientError, ConfigError, ProtocolError
from .job import Job
from .watch import Watch


class Client:
    """Ask a daemon; answers are dicts as proto/README.md, section 3, describes them."""

    def __init__(self, address: Any = None, *, timeout: float | None = 60.0) -> None:
        """address: the daemon's socket (None: AMBIENTD_SOCKET, else this user's default), or a Server."""
        self.address = default_address(address)
        self.timeout = timeout
        self._server = address  # a private daemon lives as long as whoever needs it
        self._connection: Connection | None = None
        self._lock, self._pid = threading.RLock(), os.getpid()

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

    def reload(self, *, check: bool = False) -> dict[str, Any]:
        """Let the daemon read its configuration, shards and annotations anew; what came of it. For the daemon's user.

        {"check", "changed", "seconds", "needs_restart": [text..], "datasets": {NAME: {"changed", "number", "fingerprint",
        "samples", "shards", "kept", "opened", "gone", "new_subscription", "annotations": {"changed", "number",
        "fingerprint"}}}}

        All of it is adopted, or nothing: where anything is wrong the error's `detail["problems"]` names every reason, and
        the old generation keeps serving. check: say what would be, and change nothing.
        """
        return self._order(wire.RELOAD, check=check or None)

    # -- annotations ------------------------------------------------------------------------------------------

    def annotations(self, *, start: int = 0, count: int | None = None, generation: str | None = None,
                    dataset: str | None = None) -> Annotations:
        """What is known of samples [start, start + count), as numpy columns; count None: to the end.

        generation   fingerprint, 32 hex digits, of the annotations whose sigmas are asked for (`generations()` lists
                     them); None: as they stand now, also those that no generation holds yet
        """
        if start < 0 or count is not None and count < 1:
            raise ConfigError(f"start is {start} and count {count}; start is at least 0, count at least 1 or None")
        with _reading("ANNOTATIONS"):
            return _annotations.read(lambda first, n: self._query(wire.ANNOTATIONS, start=first, count=n,
                                                                  generation=generation, dataset=dataset), start, count)

    def curve(self, key: str | None = None, *, index: int | None = None,
              dataset: str | None = None) -> dict[str, Any]:
        """A sample's records, and what the model said of it at each noise level.

        `records` are what each source of annotations set; `curve` is None where the job kept no curves (curves=True
        keeps them), else {"sigmas": f64[n] of the VE scale, rising, "p": f64[n], the mean probability of low quality}.
        sigma_min lies where the smoothed curve first falls below `threshold`.
        """
        if (key is None) == (index is None):
            raise TypeError("curve() takes a key or an index=")
        answer = self._query(wire.CURVE, key=key, index=index, dataset=dataset)
        with _reading("CURVE"):
            if answer["curve"] is not None:
                answer["curve"] = {name: np.array(answer["curve"][name], np.float64) for name in ("sigmas", "p")}
        return answer

    def stats(self, *, bins: int | None = None, by: str | None = None, dataset: str | None = None) -> dict[str, Any]:
        """Counts, histograms and quantiles of sigma_min and sigma_max, in groups by "source" or "label"."""
        return self._query(wire.STATS, bins=bins, by=by, dataset=dataset)

    def pictures(self, index: Sequence[int] | np.ndarray, *, dataset: str | None = None) -> list[dict[str, Any]]:
        """Up to 256 samples as the dataset transforms them.

        Each is {"index", "key", "source", "u8", "reason"}; u8 is uint8[C,H,W] and yours, or None with the reason.
        """
        answer = self._query(wire.PICTURES, index=[int(i) for i in index], dataset=dataset)
        with _reading("PICTURES"):
            shape = answer["channels"], answer["height"], answer["width"]
            for row in answer["rows"]:
                if row["u8"] is not None:
                    row["u8"] = _picture(row["u8"], shape)
            rows: list[dict[str, Any]] = answer["rows"]
        return rows

    def mint(self, *, dataset: str | None = None) -> dict[str, Any]:
        """Make a generation of the annotations as they stand: {"number", "fingerprint", "changed"}.

        Streams that follow take it. A job does the same when it ends, and every `publish_s`. For the daemon's user.
        """
        answer = self._order(wire.MINT, dataset=dataset)
        with _reading("MINT"):
            generation: dict[str, Any] = answer["generation"]
        return generation

    def import_annotations(self, path: str | os.PathLike[str], *, dataset: str | None = None) -> dict[str, Any]:
        """Let the daemon read an annotations.jsonl (proto/annotations.md); its report. Only for the daemon's user."""
        return self._order(wire.IMPORT, path=os.path.abspath(path), dataset=dataset)

    def export_annotations(self, path: str | os.PathLike[str], *, toolbox: bool = False,
                           dataset: str | None = None) -> dict[str, Any]:
        """Let the daemon write its current generation as an annotations.jsonl: {"path", "lines"}. For its user only.

        Values are the effective ones, also of samples that nobody set. `toolbox` is the form that the Python toolbox
        of Ambient Diffusion reads: with `filename`, the picture's path inside its shard, and 300.0 for infinity.
        """
        return self._order(wire.EXPORT, path=os.path.abspath(path), toolbox=toolbox or None, dataset=dataset)

    def annotations_to_parquet(self, path: str | os.PathLike[str], *, generation: str | None = None,
                               dataset: str | None = None) -> int:
        """Write what annotations() gives as Parquet (needs pyarrow), one row a sample; the number of rows.

        The file is written here, by this process, and says of each side where it came from; columns: `ambientd.parquet`.
        """
        found = self.annotations(generation=generation, dataset=dataset)
        parquet.write(found, path)
        return len(found)

    def annotations_from_parquet(self, path: str | os.PathLike[str], *, dataset: str | None = None) -> dict[str, Any]:
        """Import a Parquet file (needs pyarrow), one of ours or any with key or index and a sigma; the daemon's report.

        The file is read here; what it says goes to the daemon as lines. Sides that nobody had set stay as they are.
        """
        lines = parquet.to_jsonl(path)
        try:
            return self.import_annotations(lines, dataset=dataset)
        finally:
            os.unlink(lines)

    def merge_annotations(self, path: str | os.PathLike[str], *, dataset: str | None = None) -> dict[str, Any]:
        """Take over what another daemon's store, a directory, knows and this one does not; that daemon may go on.

        `damaged`: so many places there cannot be read, `first_damage` the first; the rest is taken. For the daemon's user.
        """
        return self._order(wire.MERGE, path=os.path.abspath(path), dataset=dataset)

    def verify_annotations(self, *, dataset: str | None = None) -> dict[str, Any]:
        """Read the whole store and check every record; what was found."""
        return self._query(wire.VERIFY, dataset=dataset)

    # -- jobs -------------------------------------------------------------------------------------------------

    def annotate(self, model: str | os.PathLike[str] | None = None, *,
                 models: Mapping[int | str, str | os.PathLike[str]] | None = None, kind: str | None = None,
                 mode: str | None = None, where: Mapping[str, Any] | None = None, part: Sequence[int] | None = None,
                 grid: Any = None, trials: int | None = None, span: int | None = None, epsilon: float | None = None,
                 column: int | None = None, curves: bool | None = None, seed: int | None = None,
                 batch: int | None = None, priority: int | None = None, providers: Sequence[str] | str | None = None,
                 resize: str | None = None, crop_threshold: float | None = None,
                 crop_table: Mapping[int | str, float] | None = None, dataset: str | None = None) -> Job:
        """Start a job that finds each sample's sigma_min with a classifier, or its sigma_max with crops.

        What is None is left to the daemon, whose defaults stand in proto/README.md, Jobs.

        model      ONNX file of a noise-dependent classifier (`ambientd.export_classifier` makes them), which the daemon
                   reads; a relative path means one of this process
        models     instead, for crops: {tile size N: model}; kind is "crops" then
        mode       "adaptive" (few evaluations), or "dense" (the published rule: every sigma of the grid)
        where      only these samples: {"source": NAME, "key": GLOB, "label": N, "annotated": "no" | "any"}; "no" is the
                   default and passes over those with a record of the same kind
        part       (k, n), 1 <= k <= n: the k-th of n equal parts, for several daemons
        grid       file of sigmas, or (lo, hi, n): n sigmas evenly in log; VE scale
        trials, span, epsilon   of the rule: noises at each sigma, span of the moving average, threshold 0.5 + epsilon
        column     of a softmax model, which class is "low quality"
        curves     keep each sample's probabilities; see curve()
        batch      evaluations at once, 0: measured
        priority   -1000 to 1000
        providers  of ONNX Runtime: "CPU", "CUDA", ..., in the order of preference
        resize     filter, where the model's pictures have another size than the dataset's
        crop_threshold, crop_table   of crops: {N: sigma_max}

        Only for the daemon's user. BusyError while another job of the kind works on some of these samples.
        """
        request = _request(model, models, grid, providers, kind=kind, mode=mode, where=where, part=part, trials=trials,
                           span=span, epsilon=epsilon, column=column, curves=curves, seed=seed, batch=batch,
                           priority=priority, resize=resize, crop_threshold=crop_threshold, crop_table=crop_table,
                           dataset=dataset)
        answer = self._order(wire.ANNOTATE, **request)
        with _reading("ANNOTATE"):
            job = Job(self, answer["job"])
        job._warn()
        return job

    def estimate(self, model: str | os.PathLike[str] | None = None, **options: Any) -> dict[str, Any]:
        """What annotate() with these arguments would cost, after a measurement; starts nothing.

        {"samples", "skipped", "evaluations", "batch", "evaluations_per_s", "eta_s", "model": {..}}
        """
        request = _request(model, options.pop("models", None), options.pop("grid", None),
                           options.pop("providers", None), **options)
        return self._order(wire.ANNOTATE, **request, dry_run=True)

    def jobs(self, *, dataset: str | None = None) -> list[Job]:
        """Every job that the daemon remembers, of one dataset or of all."""
        answer = self._query(wire.JOBS, dataset=dataset)
        with _reading("JOBS"):
            return [Job(self, info) for info in answer["jobs"]]

    def job(self, id: int) -> Job:
        """The job of this number; NotFoundError where there is none."""
        return Job(self, {"id": id, "state": "unknown"}).refresh()

    def subscribe(self, *, dataset: str | None = None, timeout: float | None = None) -> Watch:
        """Live progress: iterate over it for events {"jobs": [job..], "generation": {DATASET: number}}.

        The first comes at once, the others as things change, at most four a second, until you stop: it has a
        connection of its own, which `close()` or a `with` block ends. timeout: seconds of silence until
        AmbientTimeoutError, None for ever.
        """
        return Watch(self.address, dataset, timeout, self.timeout)

    # -- the connection ---------------------------------------------------------------------------------------

    def ping(self) -> None:
        """Return if the daemon answers."""
        self._query(wire.PING)

    def close(self) -> None:
        with self._locked():
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
        with self._locked():
            while True:
                try:
                    answer: dict[str, Any] = self._connected().call(type, b"" if type == wire.PING else payload)
                    return answer
                except CutError:
                    continue

    def _order(self, type: int, **keys: Any) -> dict[str, Any]:
        """What changes something is sent once: where an interruption cuts it, DisconnectedError, and it may be done."""
        payload = wire.dumps({key: value for key, value in keys.items() if value is not None})
        with self._locked():
            answer: dict[str, Any] = self._connected().call(type, payload)
            return answer

    def _locked(self) -> threading.RLock:
        """The lock; in a forked child a new one, since a thread that the child does not have may hold the parent's."""
        if self._pid != os.getpid():
            self._lock, self._pid = threading.RLock(), os.getpid()
        return self._lock

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


@contextlib.contextmanager
def _reading(what: str) -> Iterator[None]:
    """An answer that is not what the protocol says is a ProtocolError, wherever that is found out."""
    try:
        yield
    except AmbientError:
        raise
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        raise ProtocolError(f"the daemon's answer to {what} is not as the protocol has it: {error!r}") from None


def _picture(text: str, shape: tuple[int, int, int]) -> np.ndarray:
    try:
        return np.frombuffer(bytearray(base64.b64decode(text, validate=True)), np.uint8).reshape(shape)
    except ValueError as error:
        raise ProtocolError(f"a picture of the daemon is no base64 of {shape}: {error}") from None


def _model_path(model: str | os.PathLike[str]) -> str:
    """Absolute, for the daemon has another working directory; "fake:..." are the daemon's stand-ins for tests."""
    path = os.fspath(model)
    return path if path.startswith("fake:") else os.path.abspath(path)


def _request(model: Any, models: Any, grid: Any, providers: Any, **keys: Any) -> dict[str, Any]:
    """The object of ANNOTATE."""
    if (model is None) == (models is None):
        raise ConfigError("annotate() takes a model, or models= of crops")
    if models is not None:
        keys["models"] = {str(size): _model_path(path) for size, path in models.items()}
        keys["kind"] = keys.get("kind") or "crops"
    else:
        keys["model"] = _model_path(model)
    if grid is not None:
        keys["grid"] = os.path.abspath(grid) if isinstance(grid, (str, os.PathLike)) else [float(x) for x in grid]
    if providers is not None:
        keys["providers"] = [providers] if isinstance(providers, str) else list(providers)
    if keys.get("crop_table") is not None:
        keys["crop_table"] = {str(size): float(sigma) for size, sigma in keys["crop_table"].items()}
    return {key: value for key, value in keys.items() if value is not None}

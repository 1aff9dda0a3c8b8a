"""ambientd: sigma-matched, already noised batches for diffusion trainers, through shared memory.

    import ambientd
    with ambientd.start("shards/*.tar", annotations="a.jsonl", size=32) as server:
        loader = ambientd.Loader(server.address, batch_size=256, fields=["x_t", "x_tn", "s_t", "s_tn"])
        for batch in loader:
            ...  # batch.x_t, batch["x_t"], batch.state
"""
from ._version import __version__
from .annotations import Annotations
from .batch import Batch
from .classifier import export_classifier
from .client import Client
from .errors import (AmbientError, AmbientTimeoutError, AmbientWarning, BusyError, ChangedError, ChecksumError,
                     ConfigError, DaemonOSError, DeniedError, DisconnectedError, DuplicateError, ExhaustedError,
                     ForkError, FormatError, GapError, HoardError, JobError, LimitError, NotFoundError, ProtocolError,
                     QuotaError, ServerError, StateError, UnsupportedError, VersionError)
from .fields import Keys, Members
from .job import Job
from .loader import Loader
from .schedule import Constant, LogitNormal, LogNormal, LogUniform, Schedule, Table, Uniform
from .server import Server, start
from .watch import Watch
from . import loss

__all__ = [
    "AmbientError", "AmbientTimeoutError", "AmbientWarning", "Annotations", "Batch", "BusyError", "ChangedError",
    "ChecksumError", "Client", "ConfigError", "Constant", "DaemonOSError", "DeniedError", "DisconnectedError",
    "DuplicateError", "ExhaustedError", "ForkError", "FormatError", "GapError", "HoardError", "Job", "JobError", "Keys",
    "LimitError", "Loader", "LogNormal", "LogUniform", "LogitNormal", "Members", "NotFoundError", "ProtocolError",
    "QuotaError", "Schedule", "Server", "ServerError", "StateError", "Table", "Uniform", "UnsupportedError",
    "VersionError", "Watch", "__version__", "export_classifier", "loss", "start",
]

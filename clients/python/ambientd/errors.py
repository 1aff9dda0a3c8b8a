"""Errors: one class for each code of the protocol, and those that only a client can have.

The class follows `code`, the stable name that the daemon sends; the message is the daemon's own and says what was
found, what is allowed and what to do.
"""
from __future__ import annotations

import errno as _errno
from typing import Any


class AmbientError(Exception):
    """Base of all errors of this package. `code` is stable, `detail` depends on it."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None, errno: int = 0,
                 detail: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.errno: int | None = errno
        self.detail = detail or {}


class FormatError(AmbientError):
    """Bytes of a file do not follow its format."""
    code = "format"


class VersionError(AmbientError):
    """The other side, or a file, speaks a version that this one does not."""
    code = "version"


class ChecksumError(AmbientError):
    """A file follows its format, but its contents are damaged."""
    code = "checksum"


class LimitError(AmbientError):
    """A limit of the daemon bites."""
    code = "limit"


class ChangedError(AmbientError):
    """A file is no longer the one that was indexed."""
    code = "changed"


class UnsupportedError(AmbientError):
    """Well-formed, but a feature that the daemon does not have."""
    code = "unsupported"


class ConfigError(AmbientError, ValueError):
    """An option has a value that is not allowed."""
    code = "config"


class GapError(AmbientError):
    """Noise levels that no sample admits: `gap` and `mass` of a schedule, or the `sigmas` of a request."""
    code = "gap"

    @property
    def gap(self) -> tuple[float, float] | None:
        """The interval of the VE scale that no sample admits, or None where single sigmas were refused."""
        gap = self.detail.get("gap")
        return None if gap is None else (float(gap[0]), float(gap[1]))

    @property
    def mass(self) -> float | None:
        """The schedule's probability of the gap."""
        mass = self.detail.get("mass")
        return None if mass is None else float(mass)

    @property
    def sigmas(self) -> list[float]:
        """The sigmas of a request that nothing admits."""
        return [float(sigma) for sigma in self.detail.get("sigmas", [])]


class StateError(AmbientError):
    """A state does not fit this stream; the message names the option that differs."""
    code = "state"


class DuplicateError(AmbientError):
    """A key comes twice in a source."""
    code = "duplicate"


class ExhaustedError(AmbientError):
    """Every replacement of a bad sample was bad too."""
    code = "exhausted"


class ProtocolError(AmbientError):
    """One side broke the protocol; the connection is closed."""
    code = "protocol"


class DeniedError(AmbientError, PermissionError):
    """Only the daemon's user may ask for this."""
    code = "denied"


class QuotaError(AmbientError):
    """A quota of memory, slots or connections is used up."""
    code = "quota"


class NotFoundError(AmbientError, LookupError):
    """No such key, dataset, generation or field."""
    code = "not-found"


class BusyError(AmbientError):
    """Another daemon or step holds what is asked for."""
    code = "busy"


class DaemonOSError(AmbientError, OSError):
    """A system call of the daemon failed; `code` is the errno name, as ENOSPC, and `errno` its number, as of any OSError."""
    code = "system"

    def __init__(self, message: str, *, code: str | None = None, errno: int = 0,
                 detail: dict[str, Any] | None = None) -> None:
        super().__init__(message, code=code, errno=abs(errno), detail=detail)

    def __str__(self) -> str:
        return self.message


class DisconnectedError(AmbientError, ConnectionError):
    """There is no daemon at the address, it stops, or it went away. The stream can be resumed from the loader's state."""
    code = "disconnected"

    def __str__(self) -> str:
        return self.message


class AmbientTimeoutError(AmbientError, TimeoutError):
    """Nothing came within the loader's or client's timeout."""
    code = "timeout"

    def __str__(self) -> str:
        return self.message


class HoardError(AmbientError):
    """Arrays of earlier batches hold every slot, so that the daemon has none to fill."""
    code = "hoard"


class ForkError(AmbientError):
    """A connection was used in a process forked after it was opened."""
    code = "fork"


class ServerError(AmbientError):
    """A private daemon did not start; `stderr` is the end of what it wrote."""
    code = "server"

    def __init__(self, message: str, *, stderr: str = "") -> None:
        super().__init__(message + (f"\n--- the daemon wrote:\n{stderr.rstrip()}" if stderr.strip() else ""))
        self.stderr = stderr


class JobError(AmbientError):
    """A job that was waited for failed or was cancelled; `detail` is the job as it ended."""
    code = "job"


class AmbientWarning(UserWarning):
    """What the daemon warns of when a stream starts or moves."""


_BY_CODE: dict[str, type[AmbientError]] = {
    cls.code: cls
    for cls in (FormatError, VersionError, ChecksumError, LimitError, ChangedError, UnsupportedError, ConfigError,
                GapError, StateError, DuplicateError, ExhaustedError, ProtocolError, DeniedError, QuotaError,
                NotFoundError, BusyError)
}
_BY_CODE["ESHUTDOWN"] = DisconnectedError  # the last word of a daemon that stops


def from_json(error: Any) -> AmbientError:
    """The exception for an ERROR message's object. An unknown code becomes AmbientError or an OSError."""
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        return ProtocolError(f"the daemon sent an error without a code: {error!r}")
    code = error["code"]
    number = error.get("errno", 0)
    number = number if isinstance(number, int) else 0
    detail = error.get("detail")
    cls = _BY_CODE.get(code)
    if cls is None:
        cls = DaemonOSError if hasattr(_errno, code) else AmbientError
    return cls(str(error.get("message", code)), code=code, errno=number,
               detail=detail if isinstance(detail, dict) else None)

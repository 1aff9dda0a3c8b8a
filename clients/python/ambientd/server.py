"""Server: a private daemon, stopped with the block, the object or the process.

The socket lies in a directory of mode 0700 below the temporary directory; the daemon's messages go to a file there, and
their end stands in the exception where it does not start.
"""
from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Iterable, Mapping

from .client import Client
from .connection import PATH_MAX
from .errors import ConfigError, ServerError

_SOCKET = "ambientd.sock"
_STOP_S = 10.0
_TAIL_BYTES = 4096


def start(*patterns: str | os.PathLike[str], annotations: str | os.PathLike[str] | None = None, size: Any = None,
          config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
          binary: str | os.PathLike[str] | None = None, timeout: float = 600.0, env: dict[str, str] | None = None,
          **options: Any) -> Server:
    """Start `ambientd serve` on shards and wait until it answers.

    patterns     tar, zip or folder; globs and brace lists
    annotations  annotations.jsonl
    size         side of the square image, or "HxW", as the daemon's --size
    config       instead of all these: a configuration file, or what would stand in one; its socket is replaced
    options      any other option of `ambientd serve`, with _ for -: transform="center-crop", label=True for a bare
                 --label, a list for an option that is repeated
    binary       the daemon; else AMBIENTD_BIN, `ambientd` in PATH, build/daemon/ambientd of the repository
    timeout      seconds for the first start, in which shards are indexed
    env          variables for the daemon beside this process's own; VIRTUAL_ENV is this Python's environment, where it
                 looks for ONNX Runtime
    """
    return Server(patterns, {"annotations": annotations, "size": size, **options}, config=config, binary=binary,
                  timeout=timeout, env=env)


class Server:
    """A running private daemon: `address` for Loader and Client. A context manager."""

    def __init__(self, patterns: Iterable[str | os.PathLike[str]], options: dict[str, Any], *,
                 config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
                 binary: str | os.PathLike[str] | None = None, timeout: float = 600.0,
                 env: dict[str, str] | None = None) -> None:
        words = [*(os.fspath(pattern) for pattern in patterns), *_flags(options)]
        if config is not None and words:
            raise ConfigError(f"config= stands alone; {' '.join(words)} belongs into the configuration")
        command = [find_binary(binary), "serve"]
        self._folder = _private_folder()
        self.address = os.path.join(self._folder, _SOCKET)
        self.log_path = os.path.join(self._folder, "stderr.log")
        try:
            if config is not None:
                words = ["--config", _config_file(config, self._folder, self.address)]
            else:
                words += ["--socket", self.address]
            self._command = [*command, *words, "--parent-death"]
            self._process, ready = _spawn_lasting(self._command, self.log_path, env)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        _servers[self.address] = self
        self._finalizer = weakref.finalize(self, _stop, self._process, self._folder, os.getpid())
        try:
            self._wait_ready(ready, timeout)
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(ready)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        """All that the daemon wrote."""
        try:
            return Path(self.log_path).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def client(self) -> Client:
        return Client(self)

    def stop(self) -> None:
        """Stop the daemon and remove its directory. May be called twice."""
        self._finalizer()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Server {self.address} pid {self.pid}{'' if self.running else ', stopped'}>"

    def _wait_ready(self, ready: int, timeout: float) -> None:
        """The daemon writes a line to `ready` when it listens, or dies, which closes it."""
        deadline = time.monotonic() + timeout
        poll = select.poll()
        poll.register(ready, select.POLLIN)
        while not poll.poll(min(1000.0, max(0.0, (deadline - time.monotonic()) * 1000))):
            if time.monotonic() >= deadline:
                raise ServerError(f"the daemon was not ready after {timeout:g} s; timeout= allows it more",
                                  stderr=self._tail())
        if os.read(ready, 64):
            return
        status = self._process.wait()
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        raise ServerError(f"the daemon did not start: {how}; the command was {' '.join(self._command)}",
                          stderr=self._tail())

    def _tail(self) -> str:
        return self.log()[-_TAIL_BYTES:]


_servers: weakref.WeakValueDictionary[str, Server] = weakref.WeakValueDictionary()


def has_ended(address: str) -> bool:
    """True if a private daemon of this process was at the address and runs no more: nobody will start it again."""
    server = _servers.get(address)
    return server is not None and not server.running


def find_binary(binary: str | os.PathLike[str] | None = None) -> str:
    """The daemon's executable, or ConfigError that says where it was looked for."""
    here = Path(__file__).resolve()
    built = [parent / "build" / "daemon" / "ambientd" for parent in here.parents[2:5]]
    given = binary or os.environ.get("AMBIENTD_BIN")
    if given:
        if os.access(given, os.X_OK):
            return os.fspath(given)
        name = "binary" if binary else "AMBIENTD_BIN"
        raise ConfigError(f"{name} is {os.fspath(given)!r}, which is no executable file")
    found = shutil.which("ambientd") or next((str(path) for path in built if os.access(path, os.X_OK)), None)
    if found is None:
        raise ConfigError("the daemon `ambientd` was not found: neither AMBIENTD_BIN, nor PATH, nor "
                          "build/daemon/ambientd of the repository; build it (README.md) or give binary=")
    return found


def _private_folder() -> str:
    """A new directory of mode 0700, short enough for a socket's path."""
    for parent in (None, os.environ.get("XDG_RUNTIME_DIR"), "/tmp"):
        try:
            folder = tempfile.mkdtemp(prefix="ambientd-", dir=parent)
        except OSError:
            continue
        if len(os.fsencode(os.path.join(folder, _SOCKET))) <= PATH_MAX:
            return folder
        os.rmdir(folder)
    raise ConfigError(f"no temporary directory whose sockets' paths have at most {PATH_MAX} bytes; set TMPDIR")


def _config_file(config: str | os.PathLike[str] | Mapping[str, Any], folder: str, address: str) -> str:
    """A copy with our socket. What is no JSON object goes to the daemon as it is, whose error has line and column."""
    if isinstance(config, Mapping):
        tree = dict(config)
    else:
        try:
            tree = json.loads(Path(config).read_text())
        except (OSError, ValueError):
            return os.fspath(config)
        if not isinstance(tree, dict):
            return os.fspath(config)
    path = os.path.join(folder, "config.json")
    Path(path).write_text(json.dumps({**tree, "socket": address}))
    return path


def _flags(options: dict[str, Any]) -> list[str]:
    flags: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            flags.append(flag)
            continue
        for item in value if isinstance(value, (list, tuple)) else (value,):
            flags += [flag, os.fspath(item) if isinstance(item, os.PathLike) else str(item)]
    return flags


def _spawn_lasting(command: list[str], log_path: str,
                   env: dict[str, str] | None) -> tuple[subprocess.Popen[bytes], int]:
    """Linux tells a child that its parent died when the *thread* that made it ends, so that one must last."""
    global _keeper
    if threading.current_thread() is threading.main_thread():
        return _spawn(command, log_path, env)
    if _keeper is None or _keeper[0] != os.getpid():
        _keeper = (os.getpid(), ThreadPoolExecutor(1, "ambientd-keeper"))
    return _keeper[1].submit(_spawn, command, log_path, env).result()


_keeper: tuple[int, ThreadPoolExecutor] | None = None


def _environment(env: dict[str, str] | None) -> dict[str, str]:
    """Where `onnxruntime` lies beside this Python, though nobody has activated its environment, the daemon finds it."""
    here = {"VIRTUAL_ENV": sys.prefix} if sys.prefix != sys.base_prefix or os.path.isdir(os.path.join(sys.prefix, "conda-meta")) else {}
    return {**os.environ, **here, **(env or {})}


def _spawn(command: list[str], log_path: str, env: dict[str, str] | None) -> tuple[subprocess.Popen[bytes], int]:
    ready, ready_daemon = os.pipe()
    try:
        with open(log_path, "wb") as log:
            process = subprocess.Popen(
                [*command, "--ready-fd", str(ready_daemon)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=(ready_daemon,), env=_environment(env),
                start_new_session=True)  # Ctrl-C in the terminal is the trainer's, not the daemon's
    except BaseException as error:
        os.close(ready)
        if isinstance(error, OSError):
            raise ServerError(f"cannot run {command[0]}: {error.strerror}") from None
        raise
    finally:
        os.close(ready_daemon)
    return process, ready


def _stop(process: subprocess.Popen[bytes], folder: str, pid: int) -> None:
    if os.getpid() != pid:  # a forked child leaves its parent's daemon alone
        return
    try:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)

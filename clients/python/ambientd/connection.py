"""Connection: one Unix socket to the daemon, frames in both directions, answers matched to requests.

The socket is non-blocking; waiting happens in poll() alone. Frames to send stand in one deque, to which a dying array
may append from any bytecode, thread or garbage collection: appending is one C call, and whoever gets the send lock
without waiting sends what stands there. Nobody ever waits for that lock.

Interruption (KeyboardInterrupt may come between any two bytecodes): the short stretches in which bytes have left the
socket but are not yet accounted for are marked by `_torn`. It is cleared on the normal way out only, never in a
`finally`: a connection found torn is closed, and its owner opens another.

Not here: what the frames of a stream mean (session.py).
"""
from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections import deque
from typing import Any, Callable

from . import wire
from ._version import __version__
from .errors import (AmbientError, AmbientTimeoutError, DisconnectedError, ForkError, ProtocolError, VersionError,
                     from_json)

PATH_MAX = 107  # sun_path of Linux, less the terminator
_RECEIVE_BYTES = 2 * (wire.HEADER_BYTES + wire.PAYLOAD_MAX)
_CMSG_BYTES = socket.CMSG_SPACE(struct.calcsize("i"))
_STUCK_S = 2.0  # an unsent frame older than this means that the send lock was orphaned by an interruption


class CutError(DisconnectedError):
    """An interruption left the connection between two frames; its owner opens another and nobody hears of it."""


class Answer:
    """What a request waits for: filled by the pump."""

    __slots__ = ("parts", "value", "done")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.value: Any = None  # a parsed answer, a Frame, or an exception
        self.done = False


class Connection:
    """HELLO is said by the constructor. Use from one thread at a time; returning slots may happen in any."""

    def __init__(self, address: str | os.PathLike[str], timeout: float | None = 60.0) -> None:
        self.address = os.fspath(address)
        self.timeout = timeout
        self._pid = os.getpid()
        self._torn = False
        self._closed = False
        self._failure: BaseException | None = None  # why the connection ended, raised once nothing is left to take
        self._send: deque[Any] = deque()
        self._send_lock = threading.Lock()
        self._send_torn = False
        self._rest = b""  # of a frame that the socket took in part; guarded by the send lock
        self._in = bytearray(_RECEIVE_BYTES)
        self._in_view = memoryview(self._in)
        self._start = self._end = 0  # unparsed bytes of _in
        self._fds: list[int] = []
        self._answers: dict[int, Answer] = {}
        self._next_id = 0
        self.peer: dict[str, Any] = {}
        self._socket = _connect(self.address, timeout)
        self._poll = select.poll()
        try:
            self._hello()
        except BaseException:
            self.close()
            raise

    # -- life -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the socket; the daemon takes back every slot. May be called twice, and in a forked child."""
        self._closed = True
        self._socket.close()
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    def __del__(self) -> None:
        if hasattr(self, "_socket"):
            self.close()

    @property
    def usable(self) -> bool:
        """False once closed, or cut short by an interruption."""
        return not (self._closed or self._torn or self._send_cut())

    @property
    def failed(self) -> bool:
        """True if the daemon ended this connection, and check() says why."""
        return self._failure is not None

    def _send_cut(self) -> bool:
        """True if an interruption left a frame sent in part. While another thread sends, it is no interruption."""
        if not self._send_lock.acquire(False):
            return False
        try:
            return self._send_torn
        finally:
            self._send_lock.release()

    def check(self) -> None:
        """Raise where this connection cannot be used: after fork, after close, after an interruption."""
        self.check_process()
        if not self._closed and (self._torn or self._send_cut()):
            self._failure = CutError(f"the connection to {self.address} was cut by an interruption")
            self.close()
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise DisconnectedError(f"the connection to {self.address} is closed")

    def check_process(self) -> None:
        if os.getpid() != self._pid:
            raise ForkError(
                f"this connection was opened by process {self._pid} and is used in its child {os.getpid()}; "
                "a socket and its slots cannot be shared: make the loader or client after the fork")

    def _hello(self) -> None:
        hello = {"min": wire.VERSION, "max": wire.VERSION, "client": f"python/{__version__}", "features": ["fd"]}
        answer = self.call(wire.HELLO, wire.dumps(hello), raw=True)
        if answer.type != wire.WELCOME:
            raise ProtocolError(f"HELLO was answered by a frame of type {answer.type}")
        self.peer = wire.loads_object(answer.payload, "WELCOME")
        if self.peer.get("version") != wire.VERSION:
            raise VersionError(f"the daemon chose protocol version {self.peer.get('version')!r}; "
                               f"this client speaks {wire.VERSION}")

    # -- requests ---------------------------------------------------------------------------------------------

    def call(self, type: int, payload: bytes = b"", *, raw: bool = False, timeout: float | None = None) -> Any:
        """Send a request and wait for its answer: parsed JSON, or with `raw` the answering Frame.

        Raises the typed error that the daemon answers with.
        """
        self.check()
        self._next_id += 1
        request_id = self._next_id
        answer = self._answers[request_id] = Answer()
        try:
            self.push(wire.encode_frame(type, request_id, payload))
            self.pump(lambda: answer.done, self.timeout if timeout is None else timeout)
        finally:
            self._answers.pop(request_id, None)
        if isinstance(answer.value, BaseException):
            raise answer.value
        if raw:
            return answer.value
        if answer.value.type not in (wire.REPLY, wire.DATA):
            raise ProtocolError(f"request {type} was answered by a frame of type {answer.value.type}")
        return wire.loads(answer.value.payload)

    def query(self, type: int, **keys: Any) -> Any:
        """A request with a JSON object; keys that are None stay away."""
        return self.call(type, wire.dumps({key: value for key, value in keys.items() if value is not None}))

    # -- sending ----------------------------------------------------------------------------------------------

    def push(self, frame: bytes) -> None:
        """Queue one whole frame and send what the socket takes now."""
        self._send.append(frame)
        self.flush()

    def flush(self) -> None:
        """Send what stands in the queue, without waiting. Safe in a finalizer, in any thread."""
        if os.getpid() != self._pid:
            return
        while (self._send or self._rest) and self._send_lock.acquire(False):
            try:
                if not self._flush_locked():
                    return
            finally:
                self._send_lock.release()

    def _flush_locked(self) -> bool:
        """False if the socket takes no more."""
        while True:
            if self._closed:
                self._rest = b""
                self._send.clear()
                return True
            self._send_torn = True
            if not self._rest:
                try:
                    self._rest = self.encode(self._send.popleft())
                except IndexError:
                    self._send_torn = False
                    return True
            try:
                n_sent = self._socket.send(self._rest, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._send_torn = False
                return False
            except OSError:  # the peer is gone: the reader finds out and says so
                self._send_torn = False
                self._rest = b""
                self._send.clear()
                return True
            self._rest = self._rest[n_sent:]
            self._send_torn = False

    def encode(self, item: Any) -> bytes:
        """Bytes of what stood in the send queue. The session adds slots to return."""
        frame: bytes = item
        return frame

    # -- receiving --------------------------------------------------------------------------------------------

    def on_frame(self, type: int, flags: int, request_id: int, payload: bytes) -> bool:
        """For the session: True if the frame was taken. Called while torn: must not wait."""
        return False

    def pump(self, ready: Callable[[], bool], timeout: float | None) -> None:
        """Take in frames until ready(). Raises AmbientTimeoutError, DisconnectedError, or a fatal error."""
        deadline = None if timeout is None else time.monotonic() + timeout
        stuck_since: float | None = None
        while True:
            self.drain()
            if ready():
                return
            self.flush()
            unsent = bool(self._send or self._rest)
            stuck_since = (stuck_since or time.monotonic()) if unsent and self._send_lock.locked() else None
            if stuck_since is not None and time.monotonic() - stuck_since > _STUCK_S:
                self._failure = CutError(f"the connection to {self.address} was cut by an interruption")
                self.close()
            self.check()
            self._wait(deadline, unsent)

    def drain(self) -> None:
        """Take in what has arrived, without waiting."""
        if self._closed:
            return
        self._torn = True
        try:
            self._receive()
        except AmbientError as error:
            self._failure = error
            self.close()
        self._torn = False

    def _wait(self, deadline: float | None, unsent: bool) -> None:
        events = select.POLLIN | (select.POLLOUT if unsent and not self._send_lock.locked() else 0)
        left = 1.0 if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise AmbientTimeoutError(
                f"nothing from {self.address} within the timeout; `ambientctl status` shows what the daemon does, "
                "and the timeout is an argument")
        self._poll.register(self._socket, events)
        self._poll.poll(min(left, 1.0) * 1000)

    def _receive(self) -> None:
        """Read until the socket is empty and dispatch whole frames. No waiting; `_torn` is set."""
        while True:
            if self._start == self._end:
                self._start = self._end = 0
            elif self._end == len(self._in):
                rest = self._in[self._start:self._end]
                self._in[:len(rest)] = rest
                self._start, self._end = 0, len(rest)
            try:
                n_bytes = self._read(self._in_view[self._end:])
            except BlockingIOError:
                return
            except OSError as error:
                raise DisconnectedError(self._lost(str(error.strerror))) from None
            if n_bytes == 0:
                raise DisconnectedError(self._lost("end of file"))
            self._end += n_bytes
            self._parse()
            if n_bytes < 4096:
                return

    def _lost(self, how: str) -> str:
        return f"the daemon at {self.address} closed the connection or died ({how})"

    def _read(self, into: memoryview) -> int:
        n_bytes, ancillary, flags, _ = self._socket.recvmsg_into(
            [into], _CMSG_BYTES, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                usable = len(data) - len(data) % 4
                self._fds.extend(struct.unpack(f"{usable // 4}i", data[:usable]))
        if flags & socket.MSG_CTRUNC:
            raise ProtocolError("the daemon sent more than one file descriptor at once")
        return n_bytes

    def _parse(self) -> None:
        while self._end - self._start >= wire.HEADER_BYTES:
            type_, flags, length, request_id = wire.decode_header(self._in, self._start)
            begin = self._start + wire.HEADER_BYTES
            if self._end - begin < length:
                return
            payload = bytes(self._in_view[begin:begin + length])
            self._start = begin + length
            self._dispatch(type_, flags, request_id, payload)

    def _dispatch(self, type_: int, flags: int, request_id: int, payload: bytes) -> None:
        if self.on_frame(type_, flags, request_id, payload):
            return
        answer = self._answers.get(request_id) if request_id else None
        if type_ == wire.ERROR:
            error = wire.loads(payload)
            made = from_json(error)
            if answer is not None:
                answer.value, answer.done = made, True
            if isinstance(error, dict) and error.get("fatal") or not request_id:
                raise made
            return
        if answer is None:
            if not request_id:
                raise ProtocolError(f"the daemon sent a frame of type {type_} that nobody asked for")
            return  # the answer of a request that was interrupted
        if type_ == wire.DATA:
            answer.parts.append(payload)
            if flags & wire.FLAG_MORE:
                return
            payload = b"".join(answer.parts)
        answer.value, answer.done = wire.Frame(type_, flags, request_id, payload), True

    def take_fd(self) -> int:
        """The file descriptor that came last; the caller owns it."""
        if not self._fds:
            raise ProtocolError("the daemon sent no file descriptor beside its answer")
        return self._fds.pop()


def _connect(address: str, timeout: float | None) -> socket.socket:
    """Within the timeout: where the daemon's queue is full, connect() waits for room in it."""
    if len(os.fsencode(address)) > PATH_MAX:
        raise DisconnectedError(f"the socket path has {len(os.fsencode(address))} bytes, at most {PATH_MAX} are "
                                f"possible: {address}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        if timeout is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(timeout), int(timeout % 1 * 1e6) or 1))
        sock.connect(address)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise DisconnectedError(f"no daemon answers at {address}: {error.strerror}; start it with "
                                "`ambientd serve` or ambientd.start()") from None
    return sock

"""Wire: frames and packed payloads of the protocol (proto/README.md), as bytes in and bytes out.

No sockets here. Every decoder proves lengths and reserved bytes and raises ProtocolError.
"""
from __future__ import annotations

import json
import math
import struct
from typing import Any, NamedTuple, Sequence

from .errors import ProtocolError

MAGIC = b"AMBP"
VERSION = 1
HEADER = struct.Struct("<4sBBHII")
HEADER_BYTES = HEADER.size
PAYLOAD_MAX = 65536
FLAG_MORE = 1

HELLO, WELCOME, ERROR, REPLY, DATA, EVENT = 1, 2, 3, 4, 5, 6
PING, STATUS, LIST, SAMPLE, COVERAGE, QUARANTINE, GENERATIONS = 16, 17, 18, 19, 20, 21, 22
SUBSCRIBE, SUBSCRIBED, LEND, DONE, END, REQUEST, ADVANCE, CANCEL_ADVANCE = 32, 33, 34, 35, 36, 37, 38, 39
ANNOTATIONS, CURVE, STATS, PICTURES, JOBS, WATCH, VERIFY = 23, 24, 25, 26, 27, 28, 29
IMPORT, ANNOTATE, JOB, MINT, EXPORT, MERGE, RELOAD = 48, 49, 50, 51, 52, 53, 54

LEND_MOVED = 1
LEND_LAST = 2

_LEND = struct.Struct("<IIQQIIQII")
_DONE = struct.Struct("<II")
_REQUEST = struct.Struct("<IIQ16s16s")
_DONE_FRAME = struct.Struct("<4sBBHIIII")
INT_MAX = 2**53  # JSON integers from here on travel as decimal strings


class Frame(NamedTuple):
    type: int
    flags: int
    request_id: int
    payload: bytes


class Lend(NamedTuple):
    slot: int
    count: int  # type: ignore[assignment]  # hides tuple.count
    step: int
    k: int
    flags: int
    n_replaced: int
    fill_ns: int
    state: bytes


def encode_frame(type: int, request_id: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """One frame; a payload over the limit is the caller's mistake and raises ProtocolError."""
    if len(payload) > PAYLOAD_MAX:
        raise ProtocolError(f"a request of {len(payload)} bytes; at most {PAYLOAD_MAX} fit one frame")
    return HEADER.pack(MAGIC, VERSION, type, flags, len(payload), request_id) + payload


def decode_header(data: bytes | bytearray | memoryview, offset: int = 0) -> tuple[int, int, int, int]:
    """(type, flags, length, request id) of the 16 bytes at offset."""
    magic, version, type_, flags, length, request_id = HEADER.unpack_from(data, offset)
    if magic != MAGIC:
        raise ProtocolError(f"a frame begins with {magic.hex()}, not {MAGIC.hex()}; is this an ambientd socket?")
    if version != VERSION:
        raise ProtocolError(f"a frame of protocol version {version}; this client speaks {VERSION}")
    if length > PAYLOAD_MAX:
        raise ProtocolError(f"a frame of {length} bytes; at most {PAYLOAD_MAX} are allowed")
    return type_, flags, length, request_id


def encode_done(slot: int) -> bytes:
    """A whole DONE frame: it asks for no answer, so it has no request id."""
    return _DONE_FRAME.pack(MAGIC, VERSION, DONE, 0, _DONE.size, 0, slot, 0)


def decode_lend(payload: bytes) -> Lend:
    if len(payload) < _LEND.size:
        raise ProtocolError(f"a LEND of {len(payload)} bytes; at least {_LEND.size} are needed")
    slot, count, step, k, flags, n_replaced, fill_ns, state_bytes, reserved = _LEND.unpack_from(payload)
    if reserved != 0 or state_bytes != len(payload) - _LEND.size:
        raise ProtocolError(f"a LEND of {len(payload)} bytes says its state has {state_bytes}, reserved {reserved}")
    return Lend(slot, count, step, k, flags, n_replaced, fill_ns, payload[_LEND.size:])


def encode_request(sigmas: Sequence[float], scale: int, q: int, dataset: str, annotations: str) -> bytes:
    """Payload of REQUEST; fingerprints are 32 hex digits."""
    head = _REQUEST.pack(len(sigmas), scale, q, _fingerprint(dataset), _fingerprint(annotations))
    return head + struct.pack(f"<{len(sigmas)}d", *sigmas)


def _fingerprint(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except (ValueError, TypeError):
        raw = b""
    if len(raw) != 16:
        raise ProtocolError(f"the fingerprint {text!r} is not 32 hex digits")
    return raw


def dumps(value: Any) -> bytes:
    """JSON as the protocol wants it: infinity as "inf", integers from 2^53 on as decimal strings, no NaN."""
    return json.dumps(_plain(value), separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= INT_MAX:
        return str(value)
    return value


_SIGMA_KEYS = frozenset(("sigma_min", "sigma_max", "sigmas", "gap", "sigma", "lo", "hi"))


def loads(payload: bytes | bytearray) -> Any:
    """JSON of an answer; "inf" becomes infinity where sigmas stand, and nowhere else."""
    try:
        return json.loads(payload.decode(), object_pairs_hook=_object)
    except (UnicodeDecodeError, ValueError) as error:
        raise ProtocolError(f"the daemon's answer is no JSON: {error}") from None
    except RecursionError:
        raise ProtocolError("the daemon's answer is JSON nested deeper than Python follows") from None


def loads_object(payload: bytes | bytearray, what: str) -> dict[str, Any]:
    """As loads, of a frame that carries an object; `what` names the frame."""
    value = loads(payload)
    if not isinstance(value, dict):
        raise ProtocolError(f"the daemon's {what} is {type(value).__name__}, not an object")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: _infinite(value) if key in _SIGMA_KEYS else value for key, value in pairs}


def _infinite(value: Any) -> Any:
    if isinstance(value, list):
        return [_infinite(item) for item in value]
    return math.inf if value == "inf" else value

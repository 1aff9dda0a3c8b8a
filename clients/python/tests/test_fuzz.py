"""What a client makes of bytes that no daemon should send: a typed error, never another exception, never a hang.

A session (WELCOME, SUBSCRIBED with its memfd, LEND, END, answers) is changed in bytes or in its JSON and comes out of a
socket pair, as far as each request asks for it; where the client waits for more, the other end is closed. Changes follow
from the seed printed with a failure: AMBIENTD_FUZZ_SEED repeats it, AMBIENTD_FUZZ_ITERATIONS makes it longer.
"""
import base64
import copy
import json
import math
import os
import random
import signal
import socket
import types

import pytest

from ambientd import client as client_module
from ambientd import connection, errors, wire
from ambientd.session import Session

ITERATIONS = int(os.environ.get("AMBIENTD_FUZZ_ITERATIONS", "1500"))
SEED = int(os.environ.get("AMBIENTD_FUZZ_SEED", "1"))
HANG_S = 20

FP = "00" * 16
WELCOME = {"version": 1, "server": "fuzz/0", "features": ["fd"], "pid": 1}
SUBSCRIBED = {
    "slots": 3, "slot_bytes": 8192, "total_bytes": 24576, "batch_size": 2, "rank": 0, "world_size": 1, "keys": {"fixed": "0" * 16},
    "state": {"format": 1, "k": 0, "step": 0, "q": 0, "dataset": FP, "annotations": FP, "options": {}}, "steps": 2, "entries_per_pass": 1000, "gap": None, "warnings": [],
    "fields": [{"name": "x_t", "dtype": "f32", "shape": [2, 1, 2, 2], "offset": 0, "row_bytes": 16, "bytes": 32, "ragged": False, "stacked": False},
               {"name": "key", "dtype": "u8", "shape": [2, 16], "offset": 4096, "row_bytes": 16, "bytes": 48, "ragged": True, "stacked": False}]}
END = {"reason": "steps", "state": SUBSCRIBED["state"]}
STATUS = {"datasets": {"main": {"sigma_min": "inf", "sigmas": [1, "inf"]}}}
JUNK = [None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 0.5, math.inf, -math.inf, math.nan, "", "inf", "x" * 300, "\ud800", [], [[]], {}, {"code": "config"}, [1, "2", None], "0" * 5000]


def deep(n, text=b"["):
    return text * n


def lend(slot, step, state):
    data = json.dumps(state).encode()
    return wire._LEND.pack(slot, 2, step, 2 * step, 0, 0, 5, len(data), 0) + data


def changed(rng, value):
    """A copy of a JSON value with one node replaced, taken out, or named anew."""
    value = copy.deepcopy(value)
    spots = []

    def walk(node):
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
        for key in keys:
            spots.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    walk(value)
    if not spots or rng.random() < 0.1:
        return rng.choice(JUNK)
    node, key = rng.choice(spots)
    if rng.random() < 0.25:
        del node[key]
    else:
        node[key] = rng.choice(JUNK)
    return value


def encode(rng, value, spoil):
    """JSON as bytes; with `spoil`, now and then no JSON, or deeper than anybody needs."""
    if spoil and rng.random() < 0.05:
        return rng.choice([b"", b"nul", b"{", b'"\xff"', deep(60000), deep(30000, b'{"sigma":'), b'{"sigmas":' + deep(900) + b"1" + b"]" * 900 + b"}", b"1" * 5000, b'{"a":' + b"9" * 5000 + b"}"])
    return json.dumps(value).encode("utf-8", "surrogatepass")


def transcript(rng):
    """[(bytes, sends the memfd)]: frames of a session, up to three JSON values in them changed."""
    values = {"welcome": WELCOME, "subscribed": SUBSCRIBED, "end": END, "status": STATUS, "error": {"code": "config", "message": "m", "fatal": False}}
    spoilt = set()
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        name = rng.choice(list(values))
        values[name] = changed(rng, values[name])
        spoilt.add(name)

    def text(name):
        return encode(rng, values[name], name in spoilt)

    status = text("status")
    frames = [(wire.encode_frame(wire.WELCOME, 1, text("welcome")), False)]
    if rng.random() < 0.1:
        frames.append((wire.encode_frame(wire.LEND, 0, lend(2, 0, {})), False))
    frames.append((wire.encode_frame(wire.SUBSCRIBED, 2, text("subscribed")), rng.random() < 0.97))
    for step in range(2):
        frames.append((wire.encode_frame(wire.LEND, 0, lend(step, step, SUBSCRIBED["state"])), False))
    half = len(status) // 2
    frames.append((wire.encode_frame(wire.DATA, 3, status[:half], wire.FLAG_MORE), False))
    frames.append((wire.encode_frame(wire.DATA, 3, status[half:]), False))
    if rng.random() < 0.3:
        frames.append((wire.encode_frame(wire.ERROR, rng.choice([0, 3]), text("error")), False))
    frames.append((wire.encode_frame(wire.END, 0, text("end")), False))
    if rng.random() < 0.15:
        at = rng.randrange(len(frames))
        frames.insert(rng.randrange(len(frames)), frames[at])
    if rng.random() < 0.15:
        del frames[rng.randrange(len(frames))]
    return frames


def mangled(rng, data):
    """Bytes changed, cut, doubled or put in."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if not data:
            break
        at, what = rng.randrange(min(len(data), 4096)), rng.random()
        if what < 0.5:
            data[at] ^= 1 << rng.randrange(8)
        elif what < 0.7:
            data[at] = rng.choice([0, 1, 0xFF, 0x7F, ord("["), ord('"')])
        elif what < 0.8:
            del data[at:at + rng.choice([1, 4, 16, 100])]
        elif what < 0.9:
            data[at:at] = rng.choice([b"\0", b"AMBP\x01", rng.randbytes(16), bytes(data[:50])])
        else:
            del data[at:]
    return bytes(data)


class Fed(Session):
    """A session whose peer answers each request with what stands in `stages`, and dies rather than let it wait."""

    def __init__(self, peer, stages):
        self.fed_peer, self.fed_stages = peer, stages
        super().__init__("fuzz", {"options": {}}, timeout=HANG_S)

    def push(self, frame):
        super().push(frame)
        for data, fds in self.fed_stages.pop(0) if self.fed_stages else []:
            try:
                if fds:
                    socket.send_fds(self.fed_peer, [data], fds)
                else:
                    self.fed_peer.send(data)
            except BlockingIOError:
                return

    def _wait(self, deadline, unsent):
        self.fed_peer.shutdown(socket.SHUT_WR)
        super()._wait(deadline, unsent)


def play(monkeypatch, rng):
    """One session of a client against such bytes."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    theirs.setblocking(False)
    fd = os.memfd_create("fuzz", os.MFD_CLOEXEC)
    os.ftruncate(fd, 24576)
    mangle = rng.random() < 0.6
    stages = [[], [], []]
    for i, (data, with_fd) in enumerate(transcript(rng)):
        data = mangled(rng, data) if mangle and rng.random() < 0.4 else data
        if data:
            stages[0 if i == 0 else 1 if i < 4 else 2].append((data, [fd] * rng.choice([1] * 19 + [2]) if with_fd else []))
    try:
        monkeypatch.setattr(connection, "_connect", lambda *_: ours)
        session = Fed(theirs, stages)
        try:
            read(session)
        finally:
            session.close()
    finally:
        ours.close()
        theirs.close()
        os.close(fd)


def read(session):
    session.query(wire.STATUS)
    for _ in range(5):
        taken = session.take(HANG_S)
        if taken is None:
            return
        lent, lease = taken
        slot = lease.bytes()
        for field in session.fields.values():
            float(field.array(slot, lent.count).astype("f8").sum())
            if field.has_lengths:
                field.lengths(slot, lent.count).sum()


def test_only_typed_errors(monkeypatch):
    """Every change of a session ends in its batches or in an AmbientError; nothing waits for what cannot come."""
    n_typed = n_good = 0

    def hang(*_):
        raise AssertionError("hangs")

    before = signal.signal(signal.SIGALRM, hang)
    try:
        for i in range(ITERATIONS):
            signal.alarm(HANG_S)
            try:
                play(monkeypatch, random.Random(f"{SEED}/{i}"))
                n_good += 1
            except errors.AmbientTimeoutError as error:
                pytest.fail(f"AMBIENTD_FUZZ_SEED={SEED}, iteration {i}: waits for a daemon that is gone: {error}")
            except errors.AmbientError:
                n_typed += 1
            except Exception as error:
                raise AssertionError(f"AMBIENTD_FUZZ_SEED={SEED}, iteration {i}: {type(error).__name__}: {error}") from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    print(f"seed {SEED}: {ITERATIONS} sessions, {n_good} read to their end, {n_typed} ended by a typed error")
    assert n_typed > ITERATIONS // 4 and n_good > ITERATIONS // 20


COLUMN_DTYPES = {"sigma_min": "f32", "sigma_max": "f32", "lo": "f32", "hi": "f32", "evaluations": "u32", "min_origin": "u8", "max_origin": "u8", "state": "u8", "source": "u16", "model": "u16", "label": "i64"}
SIZES = {"f32": 4, "u32": 4, "u8": 1, "u16": 2, "i64": 8}
JOB = {"id": 1, "dataset": "main", "kind": "classifier", "state": "running", "reason": None, "done": 3, "total": 9}
ANSWERS = {
    "status": (lambda client: client.status(), STATUS),
    "annotations": (lambda client: client.annotations().usable(1.0).sum(), {
        "total": 2, "start": 0, "count": 2, "generation": {"number": 1, "fingerprint": FP}, "keys": ["a", "b"], "sources": ["main"], "models": [],
        "columns": {name: {"dtype": dtype, "data": base64.b64encode(bytes(2 * SIZES[dtype])).decode()} for name, dtype in COLUMN_DTYPES.items()}}),
    "curve": (lambda client: client.curve(index=0), {"index": 0, "records": [], "threshold": 0.55, "curve": {"sigmas": [0.1, 1], "p": [0.9, 0.1]}}),
    "pictures": (lambda client: client.pictures([0]), {"channels": 3, "height": 2, "width": 2, "rows": [{"index": 0, "key": "a", "source": "main", "u8": base64.b64encode(bytes(12)).decode(), "reason": None}]}),
    "jobs": (lambda client: [repr(job) for job in client.jobs()], {"jobs": [JOB, {**JOB, "id": 2, "state": "done"}]}),
    "annotate": (lambda client: repr(client.annotate("fake:edge")), {"job": JOB}),
    "mint": (lambda client: client.mint(), {"generation": {"number": 2, "fingerprint": FP, "changed": True}}),
}


def test_answers_of_any_shape_are_read_or_refused(monkeypatch):
    """One JSON value of an answer is changed; what Client makes of it is a result or a typed error."""
    rng = random.Random(SEED)
    n_typed = n_good = 0
    for i in range(ITERATIONS * 4):
        name = rng.choice(list(ANSWERS))
        ask, answer = ANSWERS[name]
        for _ in range(rng.choice([0, 1, 1, 2])):
            answer = changed(rng, answer)
        try:
            answer = wire.loads_object(json.dumps(answer).encode("utf-8", "surrogatepass"), name)
            client = client_module.Client("nowhere")
            monkeypatch.setattr(client, "_connected", lambda: types.SimpleNamespace(call=lambda *_: copy.deepcopy(answer)))
            ask(client)
            n_good += 1
        except errors.AmbientError:
            n_typed += 1
        except Exception as error:
            raise AssertionError(f"AMBIENTD_FUZZ_SEED={SEED}, iteration {i}, {name}: {type(error).__name__}: {error}; {json.dumps(answer)[:500]}") from error
    print(f"seed {SEED}: {ITERATIONS * 4} answers, {n_good} read, {n_typed} refused")
    assert n_good > ITERATIONS and n_typed > ITERATIONS


def test_decoders_take_any_bytes():
    """Header, LEND and JSON by themselves, on golden frames with changed bytes."""
    golden = [wire.encode_frame(wire.STATUS, 7, json.dumps(STATUS).encode()), wire.encode_frame(wire.LEND, 0, lend(1, 2, END))]
    rng = random.Random(SEED)
    n_typed = 0
    for i in range(ITERATIONS * 20):
        data = mangled(rng, rng.choice(golden))
        for decode in (lambda: wire.decode_header(data.ljust(16, b"\0")), lambda: wire.decode_lend(data[16:]), lambda: wire.loads(data[16:])):
            try:
                decode()
            except errors.AmbientError:
                n_typed += 1
            except Exception as error:
                raise AssertionError(f"AMBIENTD_FUZZ_SEED={SEED}, iteration {i}: {type(error).__name__}: {error}; {data.hex()}") from error
    print(f"seed {SEED}: {ITERATIONS * 20 * 3} decodings, {n_typed} refused")
    assert n_typed > ITERATIONS


@pytest.mark.parametrize("text", [deep(60000), deep(30000, b'{"sigma":'), b'{"sigmas":' + deep(20000) + b"]" * 20000 + b"}", b"1" * 5000, b'"\xff"', b""])
def test_json_that_is_deep_or_long_is_a_protocol_error(text):
    with pytest.raises(errors.ProtocolError):
        wire.loads(text)


@pytest.mark.parametrize("text", [b"[]", b"3", b"null", b'"x"'])
def test_frames_that_carry_an_object_carry_one(text):
    with pytest.raises(errors.ProtocolError, match="not an object"):
        wire.loads_object(text, "WELCOME")

"""A client of the bare protocol (proto/README.md): frames, the slab, nothing else. For tests of the daemon alone."""

import collections
import json
import mmap
import os
import socket
import struct

import numpy

HEADER = struct.Struct("<4sBBHII")
LEND = struct.Struct("<IIQQIIQII")
PAYLOAD_MAX = 65536

(HELLO, WELCOME, ERROR, REPLY, DATA, EVENT) = range(1, 7)
(PING, STATUS, LIST, SAMPLE, COVERAGE, QUARANTINE, GENERATIONS) = range(16, 23)
(ANNOTATIONS, CURVE, STATS, PICTURES, JOBS, WATCH, VERIFY) = range(23, 30)
(SUBSCRIBE, SUBSCRIBED, LENT, DONE, END, REQUEST, ADVANCE, CANCEL_ADVANCE) = range(32, 40)
(IMPORT, ANNOTATE, JOB, MINT, EXPORT, MERGE, RELOAD) = range(48, 55)

DTYPES = {"u8": "u1", "f16": "f2", "f32": "f4", "f64": "f8", "i64": "i8", "u64": "u8", "i32": "i4", "u32": "u4", "bf16": "u2"}

Frame = collections.namedtuple("Frame", "type flags id payload fds")
Lend = collections.namedtuple("Lend", "slot count step k flags n_replaced fill_ns state id")


class Closed(Exception):
    """The daemon closed the connection."""


class Refused(Exception):
    """ERROR: `code`, `message`, `fatal`, `detail`."""

    def __init__(self, error):
        super().__init__(f"{error['code']}: {error['message']}")
        self.code, self.fatal = error["code"], error["fatal"]
        self.detail = error.get("detail")
        self.error = error


def frame(type, payload=b"", id=1, flags=0, version=1, magic=b"AMBP", length=None):
    return HEADER.pack(magic, version, type, flags, len(payload) if length is None else length, id) + payload


class Client:
    def __init__(self, path, hello=True, timeout=20.0):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))  # blocking: with a time limit a full queue would be EAGAIN
        self.socket.settimeout(timeout)
        self.buffer, self.fds, self.next_id = b"", [], 0
        self.pending = collections.deque()  # LEND and END that came while an answer was awaited
        if hello:
            self.welcome = self.call(HELLO, {"min": 1, "max": 1, "client": "wire/1", "features": ["fd"]})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def send(self, data):
        self.socket.sendall(data)

    def read(self):
        """The next frame."""
        while len(self.buffer) < 16 or len(self.buffer) < 16 + HEADER.unpack(self.buffer[:16])[4]:
            try:
                data, fds, _, _ = socket.recv_fds(self.socket, 1 << 17, 4)
            except ConnectionResetError:
                raise Closed from None
            self.fds += fds
            if not data:
                raise Closed
            self.buffer += data
        magic, version, type, flags, length, id = HEADER.unpack(self.buffer[:16])
        assert magic == b"AMBP" and version == 1
        payload, self.buffer = self.buffer[16:16 + length], self.buffer[16 + length:]
        return Frame(type, flags, id, payload, self.fds)

    def new_id(self):
        self.next_id += 1
        return self.next_id

    def answer(self, id):
        """The answer to a request: its frame with a whole payload; ERROR raises."""
        parts = []
        while True:
            got = self.read()
            if got.type in (LENT, END) and got.id != id:
                self.pending.append(got)
                continue
            if got.type == ERROR:
                raise Refused(json.loads(got.payload))
            assert got.id == id, (got.type, got.id, id)
            parts.append(got.payload)
            if got.type != DATA or not got.flags & 1:
                return got._replace(payload=b"".join(parts))

    def call(self, type, body=None):
        id = self.new_id()
        self.send(frame(type, b"" if body is None else json.dumps(body).encode(), id))
        return json.loads(self.answer(id).payload)

    def event(self):
        """The next LEND or END."""
        while True:
            got = self.pending.popleft() if self.pending else self.read()
            if got.type == ERROR:
                raise Refused(json.loads(got.payload))
            if got.type in (LENT, END):
                return got

    def subscribe(self, **body):
        id = self.new_id()
        self.send(frame(SUBSCRIBE, json.dumps(body).encode(), id))
        answer = self.answer(id)
        assert answer.type == SUBSCRIBED
        return Stream(self, json.loads(answer.payload))


def decode_lend(got):
    *fields, state_bytes, reserved = LEND.unpack(got.payload[:48])
    assert reserved == 0 and len(got.payload) == 48 + state_bytes
    return Lend(*fields, json.loads(got.payload[48:]) if state_bytes else None, got.id)


class Stream:
    """A subscribed session: its slab, mapped, and the batches in it."""

    def __init__(self, client, reply):
        self.client, self.reply = client, reply
        fd = client.fds.pop()
        self.map = mmap.mmap(fd, reply["total_bytes"])
        os.close(fd)
        self.end = None

    def next(self):
        """The next LEND, or None at the end (`end` is then END's body)."""
        got = self.client.event()
        if got.type == END:
            self.end = json.loads(got.payload)
            return None
        return decode_lend(got)

    def batch(self, lend):
        """{field: array} copied out of the slot. Ragged fields are lists of bytes, None where missing."""
        out, base = {}, lend.slot * self.reply["slot_bytes"]
        for field in self.reply["fields"]:
            offset, n = base + field["offset"], self.reply["batch_size"]
            if field["ragged"] or field["stacked"]:
                lengths = numpy.frombuffer(self.map, "<i8", n, offset)
                rows = numpy.frombuffer(self.map, "u1", n * field["row_bytes"], offset + 8 * n).reshape(n, -1)
                out[field["name"]] = [None if lengths[i] < 0 else rows[i, :lengths[i]].tobytes() for i in range(lend.count)]
                continue
            dtype = numpy.dtype("<" + DTYPES[field["dtype"]])
            shape = field["shape"]
            array = numpy.frombuffer(self.map, dtype, int(numpy.prod(shape)), offset).reshape(shape)
            out[field["name"]] = array[:lend.count].copy()
        return out

    def done(self, lend):
        self.client.send(frame(DONE, struct.pack("<II", lend.slot, 0), 0))

    def take(self, n=None):
        """n batches (or all until the end) as (lend, batch), each slot given back."""
        rows = []
        while n is None or len(rows) < n:
            lend = self.next()
            if lend is None:
                break
            rows.append((lend, self.batch(lend)))
            self.done(lend)
        return rows

    def request_frame(self, sigmas, q, dataset, annotations, scale=0):
        """(id, frame), not sent."""
        id = self.client.new_id()
        head = struct.pack("<IIQ", len(sigmas), scale, q) + bytes.fromhex(dataset) + bytes.fromhex(annotations)
        return id, frame(REQUEST, head + struct.pack(f"<{len(sigmas)}d", *sigmas), id)

    def request(self, sigmas, q, dataset, annotations, scale=0):
        id, data = self.request_frame(sigmas, q, dataset, annotations, scale)
        self.client.send(data)
        return decode_lend(self.client.answer(id))

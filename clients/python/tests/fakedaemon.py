"""A small daemon for the tests: a thread that speaks proto/README.md with a sealed memfd.

Batches are a function of (step, rank, world size) alone, so that tests know every byte:
row i of step n has the number g = n * G + rank * B + i; index = g, s_t = g + 0.5, x_t = g everywhere.
"""
from __future__ import annotations

import array
import base64
import fcntl
import json
import os
import socket
import struct
import threading
from collections import deque

import numpy as np

from ambientd import wire

FP0, FP1 = "00" * 16, "11" * 16
ORDERS = {getattr(wire, name): name for name in ("IMPORT", "ANNOTATE", "JOB", "MINT", "EXPORT", "MERGE")}
COLUMNS = {"sigma_min": ("f32", "<f4"), "sigma_max": ("f32", "<f4"), "lo": ("f32", "<f4"), "hi": ("f32", "<f4"),
           "evaluations": ("u32", "<u4"), "min_origin": ("u8", "u1"), "max_origin": ("u8", "u1"), "state": ("u8", "u1"),
           "source": ("u16", "<u2"), "model": ("u16", "<u2"), "label": ("i64", "<i8")}
DTYPES = {"f32": 4, "f64": 8, "i64": 8, "u8": 1, "u64": 8, "f16": 2, "bf16": 2}


class FakeDaemon:
    """`with FakeDaemon(path) as daemon`: knobs are attributes, to be set before a client connects."""

    def __init__(self, path, **knobs):
        self.path = path
        self.welcome = {"version": 1, "server": "fake/0", "features": ["fd"], "pid": os.getpid()}
        self.total = None           # samples of `sequential`
        self.die_at = None          # close the connection instead of lending this step, once
        self.hold_at = None         # lend nothing from this step on
        self.error_at = None        # END reason error instead of this step
        self.error = {"code": "exhausted", "errno": -7011, "message": "all 64 bad"}
        self.move_at = None         # this step is the first under FP1
        self.instead = None         # annotations that a resumed stream stands on instead of those of its state
        self.settle_at = None       # the same, as a daemon that died would have it: no flag
        self.dribble = False        # send byte by byte
        self.refuse = None          # ERROR object that answers SUBSCRIBE
        self.warnings = []
        self.table = {}             # total, and functions of an index for columns: what ANNOTATIONS answers from
        self.jobs = []              # rows of JOBS
        self.events = []            # what follows a WATCH, each a list of jobs, to the end or to "die"; then silence
        self.broken = {}            # keys of an answer to ANNOTATIONS, to be replaced
        self.orders = []            # (name, object) of each request that changes something
        self.__dict__.update(knobs)
        self.subscribes = []        # SUBSCRIBE objects seen
        self.done = []              # slots given back
        self.requests = []
        self.bad = []               # protocol errors that clients made
        self.sessions = 0
        self._open = set()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self._listener.close()
        self.drop_all()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass

    def drop_all(self):
        for sock in list(self._open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _take_events(self):
        """Those of one WATCH: what a test sets while they are sent is the next one's."""
        taken = self.events.index("die") + 1 if "die" in self.events else len(self.events)
        events, self.events = self.events[:taken], self.events[taken:]
        return events

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.sessions += 1
            self._open.add(sock)
            threading.Thread(target=_Session(self, sock).run, daemon=True).start()


class _Session:
    def __init__(self, daemon, sock):
        self.daemon, self.sock = daemon, sock
        self.stream = None
        self.advances = {}

    def run(self):
        try:
            while True:
                type_, _, length, request_id = wire.decode_header(self._exactly(wire.HEADER_BYTES))
                payload = self._exactly(length)
                self._handle(type_, request_id, payload)
                if self.stream is not None and self.stream["mode"] == "stream":
                    self._fill()
        except (EOFError, OSError):
            pass
        except Exception as error:  # a client's mistake: the test looks here
            self.daemon.bad.append(repr(error))
            self._error(0, "protocol", repr(error), fatal=True)
        finally:
            self.daemon._open.discard(self.sock)
            self.sock.close()
            if self.stream is not None:
                os.close(self.stream["fd"])

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            part = self.sock.recv(n - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def _send(self, type_, request_id, payload=b"", flags=0, fd=None):
        frame = wire.encode_frame(type_, request_id, payload, flags)
        if fd is not None:
            self.sock.sendmsg([frame[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
            frame = frame[1:]
        if self.daemon.dribble:
            for i in range(len(frame)):
                self.sock.sendall(frame[i:i + 1])
        else:
            self.sock.sendall(frame)

    def _reply(self, request_id, value, part=1000):
        data = json.dumps(value).encode()
        if len(data) <= part:
            self._send(wire.REPLY, request_id, data)
            return
        parts = [data[i:i + part] for i in range(0, len(data), part)]
        for i, part in enumerate(parts):
            self._send(wire.DATA, request_id, part, wire.FLAG_MORE if i + 1 < len(parts) else 0)

    def _error(self, request_id, code, message, fatal=False, **detail):
        error = {"code": code, "errno": -7000, "message": message, "fatal": fatal, "detail": detail}
        try:
            self._send(wire.ERROR, request_id, json.dumps(error).encode())
        except OSError:
            pass

    def _handle(self, type_, request_id, payload):
        if type_ == wire.HELLO:
            assert json.loads(payload)["min"] == 1
            self._send(wire.WELCOME, request_id, json.dumps(self.daemon.welcome).encode())
        elif type_ == wire.PING:
            self._reply(request_id, {})
        elif type_ == wire.STATUS:
            self._reply(request_id, {"filler": "x" * 200_000, "datasets": {}})
        elif type_ == wire.SAMPLE:
            if json.loads(payload).get("key") == "nobody":
                self._error(request_id, "not-found", "no sample 'nobody'")
            else:
                self._reply(request_id, {"matches": 1, "key": "inf",
                                         "annotation": {"sigma_min": 0.5, "sigma_max": "inf"}})
        elif type_ == wire.GENERATIONS:
            self._reply(request_id, {"dataset": [{"number": 1, "fingerprint": FP0}], "annotations": []})
        elif type_ == wire.ANNOTATIONS:
            self._annotations(request_id, json.loads(payload))
        elif type_ == wire.CURVE:
            key = json.loads(payload).get("key")
            self._reply(request_id, {"index": 3, "key": key, "threshold": 0.55,
                                     "records": [{"origin": "classifier", "sigma_min": "inf", "lo": 0.1, "hi": "inf"}],
                                     "curve": {"sigmas": [0.1, 1], "p": [0.9, 0.5]} if key == "kept" else None})
        elif type_ == wire.PICTURES:
            index = json.loads(payload)["index"]
            rows = [{"index": i, "key": str(i), "source": "main", "u8": base64.b64encode(bytes(range(i, i + 6))).decode(),
                     "reason": None} if i != 9 else {"index": 9, "key": "9", "source": "main", "u8": None, "reason": "torn"}
                    for i in index]
            self._reply(request_id, {"channels": 1, "height": 2, "width": 3, "rows": rows})
        elif type_ == wire.JOBS:
            self._reply(request_id, {"jobs": self.daemon.jobs})
        elif type_ == wire.WATCH:
            self._reply(request_id, {})
            for jobs in self.daemon._take_events():
                if jobs == "die":
                    raise EOFError
                self._send(wire.EVENT, request_id, json.dumps({"jobs": jobs, "generation": {"main": 1}}).encode())
        elif type_ in ORDERS:
            asked = json.loads(payload)
            self.daemon.orders.append((ORDERS[type_], asked))
            if type_ == wire.IMPORT and os.path.exists(asked["path"]):
                with open(asked["path"], encoding="utf-8") as file:
                    self._reply(request_id, {"asked": asked, "lines": file.read()})
                return
            job = {"id": 7, "dataset": "main", "state": "paused" if asked.get("action") else "queued", "done": 0, "total": 9}
            self._reply(request_id, job if type_ == wire.JOB else {
                "job": job, "asked": asked, "generation": {"number": 2, "fingerprint": FP1, "changed": True}})
        elif type_ in (wire.COVERAGE, wire.LIST, wire.QUARANTINE, wire.STATS, wire.VERIFY):
            self._reply(request_id, {"asked": json.loads(payload)})
        elif type_ == wire.SUBSCRIBE:
            self._subscribe(request_id, json.loads(payload))
        elif type_ == wire.DONE:
            slot, reserved = struct.unpack("<II", payload)
            assert request_id == 0 and reserved == 0 and slot in self.stream["lent"], f"DONE of slot {slot}"
            self.stream["lent"].remove(slot)
            self.stream["free"].append(slot)
            self.daemon.done.append(slot)
        elif type_ == wire.REQUEST:
            self._request(request_id, payload)
        elif type_ == wire.ADVANCE:
            self._advance(request_id, json.loads(payload))
        elif type_ == wire.CANCEL_ADVANCE:
            for moves in (self.advances, self.stream["moves"]):
                moves.pop(json.loads(payload)["step"], None)
            self._reply(request_id, {})
        else:
            raise AssertionError(f"type {type_}")

    def _annotations(self, request_id, asked):
        """Row i has the key k<i> and in column c the value table[c](i), 0 where c is not in the table."""
        table = self.daemon.table
        n = max(0, min(asked["count"], table["total"] - asked["start"]))
        rows = range(asked["start"], asked["start"] + n)
        columns = {name: {"dtype": wire_, "data": base64.b64encode(np.array(
            [table[name](i) if name in table else 0 for i in rows], numpy_).tobytes()).decode()}
                   for name, (wire_, numpy_) in COLUMNS.items()}
        self._reply(request_id, {"total": table["total"], "dataset": table.get("dataset", FP0), "start": asked["start"], "count": n, "columns": columns,
                                 "generation": {"number": 1, "fingerprint": asked.get("generation", FP0)},
                                 "keys": [f"k{i}" for i in rows], "sources": ["main", "web"], "models": ["ab" * 32],
                                 **self.daemon.broken}, part=60_000)
        if "then" in table:  # a reload
            self.daemon.table = table["then"]

    def _advance(self, request_id, asked):
        assert not self.stream["follow"], "ADVANCE of a stream with follow"
        if asked["annotations"] not in (None, FP0, FP1):
            self._error(request_id, "not-found", f"no generation {asked['annotations']}")
            return
        self.advances[asked["step"]] = asked["annotations"]
        self._reply(request_id, {**asked, "dataset": FP0})

    def _subscribe(self, request_id, asked):
        daemon = self.daemon
        daemon.subscribes.append(asked)
        if daemon.refuse is not None:
            self._error(request_id, **daemon.refuse)
            return
        world = asked.get("world_size", 1)
        batch = asked["batch_size"] if "batch_size" in asked else asked["global_batch_size"] // world
        state = asked.get("state") or {"format": 1, "k": 0, "step": 0, "q": 0, "dataset": FP0, "annotations": FP0,
                                       "options": asked["options"]}
        instead = asked.get("state") and daemon.instead not in (None, state["annotations"]) and daemon.instead
        if instead:
            state = {**state, "annotations": instead}
        fields, offset = [], 0
        for name in asked["fields"]:
            name = name if isinstance(name, str) else name["name"]
            fields.append(self._field(name, batch, offset))
            offset += -(-fields[-1]["bytes"] // 4096) * 4096
        steps = asked.get("steps")
        if asked["options"]["policy"] == "sequential" and daemon.total is not None:
            steps = -(-(daemon.total - state["k"]) // (batch * world))
        slots = asked["slots"]
        fd = os.memfd_create("fake", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, slots * offset)
        memory = np.memmap(os.fdopen(os.dup(fd), "r+b"), np.uint8, "r+")
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        reply = {"slots": slots, "slot_bytes": offset, "total_bytes": slots * offset, "batch_size": batch,
                 "rank": asked.get("rank", 0), "world_size": world, "fields": fields, "keys": {"fixed": "0" * 16},
                 "state": state, "steps": steps, "entries_per_pass": 1000, "gap": None, "warnings": daemon.warnings}
        self.stream = {"fd": fd, "memory": memory, "free": deque(range(slots)), "lent": set(), "fields": fields,
                       "batch": batch, "world": world, "rank": asked.get("rank", 0), "state": state, "left": steps,
                       "slot_bytes": offset, "mode": asked.get("mode", "stream"), "id": request_id,
                       "follow": asked.get("follow", True), "first": state["step"] if instead else None,
                       "moves": {move["step"]: move["annotations"] for move in asked.get("moves") or []}}
        self._send(wire.SUBSCRIBED, request_id, json.dumps(reply).encode(), fd=fd)

    def _field(self, name, batch, offset):
        base, _, dtype = name.partition(":")
        ragged = stacked = False
        row = ()
        if base == "member":
            stacked, ragged = name.endswith("npy"), not name.endswith("npy")
            dtype, row = ("f32", (2,)) if stacked else ("u8", (8,))
        elif base == "key":
            ragged, dtype, row = True, "u8", (16,)
        else:
            name = base
            dtype = dtype or {"index": "i64", "label": "i64", "u8": "u8", "seeds": "u64"}.get(base, "f32")
            row = {"x_t": (1, 2, 2), "x_tn": (1, 2, 2), "u8": (1, 2, 2), "seeds": (4,)}.get(base, ())
        row_bytes = int(np.prod(row, dtype=int)) * DTYPES[dtype]
        return {"name": name, "dtype": dtype, "shape": [batch, *row], "offset": offset, "row_bytes": row_bytes,
                "bytes": batch * row_bytes + (8 * batch if ragged or stacked else 0), "ragged": ragged,
                "stacked": stacked}

    def _fill(self):
        stream, daemon = self.stream, self.daemon
        while stream["free"] and stream["left"] != 0:
            step, state = stream["state"]["step"], dict(stream["state"])
            if daemon.hold_at is not None and step >= daemon.hold_at:
                return
            if daemon.die_at == step:
                daemon.die_at = None
                raise EOFError
            if daemon.error_at == step:
                self._end("error", error=daemon.error)
                return
            flags = 0
            moves = {**stream["moves"], **self.advances}
            if step + 1 in moves or step + 1 in (daemon.move_at, daemon.settle_at):
                state["annotations"] = moves.get(step + 1) or FP1
            if step in (daemon.move_at, stream["first"]) or step in moves:
                flags = wire.LEND_MOVED
            count, total = stream["batch"], stream["batch"] * stream["world"]
            if daemon.total is not None and stream["left"] is not None:
                count = max(0, min(count, daemon.total - state["k"] - stream["rank"] * count))
            state["k"], state["step"] = state["k"] + total, step + 1
            slot = stream["free"].popleft()
            first = step * total + stream["rank"] * stream["batch"]
            self._write(slot, first + np.arange(stream["batch"]))
            if stream["left"] is not None:
                stream["left"] -= 1
                flags |= wire.LEND_LAST if stream["left"] == 0 else 0
            self._lend(0, slot, count, step, flags, json.dumps(state).encode())
            stream["state"] = state
            if stream["left"] == 0:
                self._end("steps")

    def _end(self, reason, **more):
        self.stream["left"] = 0
        self._send(wire.END, self.stream["id"], json.dumps({"reason": reason, "message": "over", **more}).encode())

    def _lend(self, request_id, slot, count, step, flags, state):
        self.stream["lent"].add(slot)
        head = struct.pack("<IIQQIIQII", slot, count, step, 0, flags, 0, 1000, len(state), 0)
        self._send(wire.LEND, request_id, head + state)

    def _write(self, slot, numbers):
        batch = len(numbers)
        for field in self.stream["fields"]:
            begin = slot * self.stream["slot_bytes"] + field["offset"]
            data = self.stream["memory"][begin:begin + field["bytes"]]
            if field["ragged"] or field["stacked"]:
                self._write_member(data, field, numbers)
                continue
            kind = {"f32": np.float32, "f64": np.float64, "i64": np.int64, "u8": np.uint8, "u64": np.uint64,
                    "f16": np.float16}.get(field["dtype"])
            values = numbers + 0.5 if field["name"] == "s_t" else numbers
            if field["dtype"] == "bf16":
                bits = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
                rows = bits.view(np.uint8).reshape(batch, 1, 2)
            else:
                rows = values.astype(kind).view(np.uint8).reshape(batch, 1, -1)
            data.reshape(batch, -1, rows.shape[2])[:] = rows

    @staticmethod
    def _write_member(data, field, numbers):
        batch = len(numbers)
        lengths, cells = data[:8 * batch].view(np.int64), data[8 * batch:].reshape(batch, -1)
        cells[:] = 0
        for i, number in enumerate(numbers):
            if field["stacked"]:
                lengths[i] = -1 if number % 3 == 2 else 8
                cells[i].view(np.float32)[:] = 0 if number % 3 == 2 else number
                continue
            if field["name"] == "key":
                text = f"key-{number}".encode()
            else:
                text = None if number % 3 == 2 else b"member " + str(number).encode() * 2
            lengths[i] = -1 if text is None else len(text)
            cut = (text or b"")[:cells.shape[1]]
            cells[i, :len(cut)] = np.frombuffer(cut, np.uint8)

    def _request(self, request_id, payload):
        n, scale, q, dataset, annotations = struct.unpack_from("<IIQ16s16s", payload)
        sigmas = struct.unpack_from(f"<{n}d", payload, 48)
        self.daemon.requests.append((scale, q, dataset.hex(), annotations.hex(), sigmas))
        bad = [sigma for sigma in sigmas if sigma < 0.001]
        if bad:
            self._error(request_id, "gap", f"nothing admits {bad}", sigmas=bad)
            return
        slot = self.stream["free"].popleft()
        self._write(slot, 1000 * (q + 1) + np.arange(self.stream["batch"]))
        self._lend(request_id, slot, n, q, 0, b"")

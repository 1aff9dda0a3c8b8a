"""Transcripts: a whole conversation of protocol 1, recorded once, replayed against every later daemon.

    python tests/transcript.py        # record what is missing of proto/golden/*-v1.jsonl; another one needs a new protocol version

Each line is an object. `send` has the client's frame byte for byte. `expect` has the daemon's: its type, id and flags, and
what its payload says. Answers may grow: a recorded key must be there with its recorded value, others may stand beside it.
Values that belong to a build or a moment (`ANY`) are only looked at for their kind; so is all of STATUS. A LEND carries the
SHA-256 of each field of its batch.

The shards are made here, down to the bits of the PNGs (stored, not compressed), so that no library's version shows.
"""

import binascii
import hashlib
import io
import json
import os
import pathlib
import struct
import sys
import tarfile

import wire

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "proto" / "golden"
ANY = {"server", "pid", "codecs", "message", "reason", "shard", "warnings", "seconds"}
NAMES = {value: name for name, value in vars(wire).items() if name.isupper() and isinstance(value, int) and name != "PAYLOAD_MAX"}
BAD = 7  # the sample whose picture is cut


def png(pixels):
    """RGB rows of bytes, in one stored block."""
    height, width = len(pixels), len(pixels[0]) // 3
    raw = b"".join(b"\0" + row for row in pixels)
    a, b = 1, 0  # Adler-32, by hand: no zlib anywhere
    for byte in raw:
        a = (a + byte) % 65521
        b = (b + a) % 65521
    data = b"\x78\x01\x01" + struct.pack("<HH", len(raw), len(raw) ^ 0xffff) + raw + struct.pack(">I", b << 16 | a)

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", binascii.crc32(kind + body))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT", data)
            + chunk(b"IEND", b""))


def shards(folder):
    """24 pictures of 8 x 8 with labels and captions; arguments of the daemon that serves them."""
    with tarfile.open(folder / "a.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for i in range(24):
            picture = png([bytes((i * 11 + y * 29 + x * 3 + c * 71) % 256 for x in range(8) for c in range(3)) for y in range(8)])
            members = {"png": picture[:60] if i == BAD else picture, "cls": str(i % 5).encode(), "txt": f"caption {i}".encode()}
            for extension, data in members.items():
                info = tarfile.TarInfo(f"{i:04d}.{extension}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    os.utime(folder / "a.tar", (1_700_000_000, 1_700_000_000))  # a reload keeps it
    lines = [{"filename": f"{i:04d}.png", "sigma_min": i / 8, "sigma_max": i / 80} for i in range(0, 24, 2)]
    (folder / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "a.tar", "--annotations", folder / "a.jsonl", "--size", "8"


def frame_fields(got):
    return {"type": NAMES[got.type], "id": got.id, "flags": got.flags}


def describe(stream, got):
    """What a frame of the daemon says, in the words of a transcript."""
    said = frame_fields(got)
    if got.type == wire.LENT:
        lend = wire.decode_lend(got)
        said |= {"slot": lend.slot, "count": lend.count, "step": lend.step, "k": lend.k, "lend_flags": lend.flags,
                 "n_replaced": lend.n_replaced, "state": lend.state}
        base = lend.slot * stream["slot_bytes"]
        said["batch"] = {}
        for field in stream["fields"]:
            offset = base + field["offset"]
            short = lend.count < stream["batch_size"] and not field["ragged"]
            n_bytes = lend.count * field["row_bytes"] if short else field["bytes"]
            said["batch"][field["name"]] = hashlib.sha256(stream["map"][offset:offset + n_bytes]).hexdigest()
    else:
        said["json"] = json.loads(got.payload)
    return said


def differences(recorded, actual, kinds_only=False, path=""):
    """Where `actual` does not keep what was recorded."""
    key = path.rsplit(".", 1)[-1]
    loose = kinds_only or key in ANY
    if isinstance(recorded, dict) and isinstance(actual, dict):
        missing = [f"{path}.{name} is missing" for name in recorded if name not in actual]
        return missing + [line for name in recorded if name in actual
                          for line in differences(recorded[name], actual[name], loose, f"{path}.{name}")]
    if isinstance(recorded, list) and isinstance(actual, list) and not loose:
        if len(recorded) != len(actual):
            return [f"{path} has {len(actual)} items, not {len(recorded)}"]
        return [line for i, (a, b) in enumerate(zip(recorded, actual)) for line in differences(a, b, False, f"{path}[{i}]")]
    number = (int, float)
    if loose:
        same = type(recorded) is type(actual) or (isinstance(recorded, number) and isinstance(actual, number))
        return [] if same or None in (recorded, actual) else [f"{path} is {actual!r}, not of the kind of {recorded!r}"]
    return [] if recorded == actual and type(recorded) is type(actual) else [f"{path} is {actual!r}, not {recorded!r}"]


class Talk:
    """Both ends of the conversation: connections by number."""

    def __init__(self, socket):
        self.socket, self.clients, self.streams = socket, {}, {}

    def connect(self, number):
        self.clients[number] = wire.Client(self.socket, hello=False)

    def send(self, number, frame):
        self.clients[number].send(frame)

    def hear(self, number):
        """The next frame, described; a SUBSCRIBED maps its slab."""
        client = self.clients[number]
        got = client.read()
        if got.type == wire.SUBSCRIBED:
            reply = json.loads(got.payload)
            self.streams[number] = {**reply, "map": wire.Stream(client, reply).map}
        return describe(self.streams.get(number), got)

    def is_closed(self, number):
        try:
            self.clients[number].read()
        except wire.Closed:
            return True
        return False


def replay(socket, lines):
    """All that differs, as text with line numbers."""
    talk, wrong = Talk(socket), []
    for n, line in enumerate(lines, 1):
        if "connect" in line:
            talk.connect(line["connect"])
        elif "send" in line:
            talk.send(line["send"], bytes.fromhex(line["frame"]))
        elif "closed" in line:
            wrong += [] if talk.is_closed(line["closed"]) else [f"line {n}: connection {line['closed']} is still open"]
        elif "expect" in line:
            recorded = {key: value for key, value in line.items() if key not in ("expect", "kinds_only")}
            heard = talk.hear(line["expect"])
            if line.get("kinds_only"):
                found = differences({**recorded, "json": None}, {**heard, "json": None})
                found += differences(recorded["json"], heard.get("json"), True, "json")
            else:
                found = differences(recorded, heard)
            wrong += [f"line {n}: {text}" for text in found]
    return wrong


# -- recording -----------------------------------------------------------------------------------------------------


def kinds(value):
    """The same with nothing of this machine in it."""
    if isinstance(value, dict):
        return {key: kinds(item) for key, item in value.items()}
    return [] if isinstance(value, list) else "" if isinstance(value, str) else value


class Recorder:
    def __init__(self, socket):
        self.talk, self.lines, self.ids = Talk(socket), [], {}

    def connect(self, number):
        self.talk.connect(number)
        self.ids[number] = 0
        self.lines.append({"connect": number})

    def send(self, number, type, body=b"", id=None, **options):
        if id is None:
            self.ids[number] += 1
            id = self.ids[number]
        payload = json.dumps(body, separators=(",", ":")).encode() if isinstance(body, dict) else body
        frame = wire.frame(type, payload, id, **options)
        self.talk.send(number, frame)
        self.lines.append({"send": number, "name": NAMES.get(type, str(type)), "frame": frame.hex()})

    def hear(self, number, kinds_only=False):
        said = self.talk.hear(number)
        for row in said.get("json", {}).get("rows", []) + [said.get("json", {})]:
            if "shard" in row:
                row["shard"] = pathlib.Path(row["shard"]).name
        if kinds_only:
            said["json"] = kinds(said["json"])
        self.lines.append({"expect": number, **said, **({"kinds_only": True} if kinds_only else {})})
        return said

    def ask(self, number, type, body=b"", **options):
        self.send(number, type, body)
        return self.hear(number, **options)

    def done(self, number, slot):
        self.send(number, wire.DONE, struct.pack("<II", slot, 0), id=0)

    def closed(self, number):
        assert self.talk.is_closed(number)
        self.lines.append({"closed": number})


HELLO = {"min": 1, "max": 1, "client": "golden/1", "features": ["fd"]}
ALL = ["x_t", "x_tn", "x0", "noise", "u8", "sigma_t", "sigma_tn:f64", "s_t", "s_tn", "sigma_min", "sigma_max", "weight", "label", "index",
       "uid", "key", "corruption_label", "replaced", "seeds", "member:txt"]


def record(socket):
    r = Recorder(socket)
    # questions
    r.connect(0)
    r.ask(0, wire.HELLO, HELLO)
    r.ask(0, wire.PING)
    r.ask(0, wire.LIST, {"what": "samples", "start": 2, "count": 3})
    r.ask(0, wire.LIST, {"dataset": None, "what": "sources"})
    r.ask(0, wire.SAMPLE, {"dataset": "main", "key": "0004"})
    r.ask(0, wire.SAMPLE, {"index": 5})
    r.ask(0, wire.SAMPLE, {"key": "nobody"})
    r.ask(0, wire.COVERAGE, {"sigmas": [0.01, 0.5, 1, 80]})
    generations = r.ask(0, wire.GENERATIONS, {})["json"]
    r.ask(0, wire.QUARANTINE, {})
    r.ask(0, wire.SAMPLE, {"keyy": "0004"})
    r.ask(0, wire.IMPORT, {"path": "/nonexistent/a.jsonl"})
    # a stream of every field that ends by itself
    r.connect(1)
    r.ask(1, wire.HELLO, HELLO)
    r.ask(1, wire.SUBSCRIBE, {"batch_size": 4, "fields": ["nothing"]})
    r.ask(1, wire.SUBSCRIBE, {"batch_size": 4, "fields": ALL, "slots": 1, "steps": 6, "options": {"seed": 1, "process": "vp", "xflip": True}})
    state = None
    for step in range(6):
        state = r.hear(1)["state"]
        if step == 5:
            r.hear(1)  # END comes with the last batch
        r.done(1, 0)
    r.ask(1, wire.PING)
    # resumed from its state, sequential, in two ranks
    r.connect(2)
    r.ask(2, wire.HELLO, HELLO)
    r.ask(2, wire.SUBSCRIBE, {"batch_size": 3, "fields": ["x_t", "index"], "slots": 1, "state": state, "strict": False})
    for _ in range(3):
        r.hear(2)
        r.done(2, 0)
    r.hear(2)
    r.connect(3)
    r.ask(3, wire.HELLO, HELLO)
    r.ask(3, wire.SUBSCRIBE, {"batch_size": 5, "rank": 1, "world_size": 2, "fields": ["u8", "index", "replaced"], "slots": 1,
                              "options": {"policy": "sequential"}})
    for step in range(3):
        r.hear(3)
        if step == 2:
            r.hear(3)
        r.done(3, 0)
    # moves
    r.connect(4)
    r.ask(4, wire.HELLO, HELLO)
    r.ask(4, wire.SUBSCRIBE, {"batch_size": 2, "fields": ["index"], "slots": 1, "rank": 0, "world_size": 2})
    fingerprint = generations["annotations"][0]["fingerprint"]
    r.hear(4)
    r.ask(4, wire.ADVANCE, {"step": 9, "dataset": None, "annotations": fingerprint})
    r.ask(4, wire.ADVANCE, {"step": 9, "dataset": None, "annotations": fingerprint})
    r.ask(4, wire.CANCEL_ADVANCE, {"step": 9})
    r.ask(4, wire.ADVANCE, {"step": 1})
    r.ask(4, wire.ADVANCE, {"step": 12, "annotations": "ab" * 16})
    # requests
    r.connect(5)
    r.ask(5, wire.HELLO, HELLO)
    said = r.ask(5, wire.SUBSCRIBE, {"mode": "request", "batch_size": 4, "fields": ["x_t", "s_t:f64", "index", "weight"], "slots": 1,
                                     "options": {"seed": 3}})
    prints = bytes.fromhex(said["json"]["state"]["dataset"]) + bytes.fromhex(said["json"]["state"]["annotations"])

    def request(q, scale, *sigmas):
        return struct.pack("<IIQ", len(sigmas), scale, q) + prints + struct.pack(f"<{len(sigmas)}d", *sigmas)

    r.ask(5, wire.REQUEST, request(0, 0, 0.7, 1.5, 40.0))
    r.ask(5, wire.REQUEST, request(1, 0, 0.7))  # no free slot: busy
    r.done(5, 0)
    r.ask(5, wire.REQUEST, request(1, 1, 0.9, 12.0))
    r.ask(5, wire.STATUS, {}, kinds_only=True)
    # the end of those who break the protocol
    for number, (type, body, options) in enumerate([
            (wire.HELLO, {"min": 2, "max": 3}, {}), (wire.HELLO, HELLO, {"version": 2}), (wire.PING, b"", {}),
            (wire.HELLO, b"", {"length": 0x10001}), (wire.HELLO, b"no json", {}), (wire.HELLO, HELLO, {"magic": b"GET "})], 10):
        r.connect(number)
        r.send(number, type, body, **options)
        r.hear(number)
        r.closed(number)
    r.send(0, wire.DONE, struct.pack("<II", 0, 0), id=0)
    r.hear(0)
    r.closed(0)
    return r.lines


def record_orders(socket):
    """What asks for and changes annotations, against a daemon with a state directory. Of what a job finds only kinds are kept."""
    r = Recorder(socket)
    r.connect(0)
    r.ask(0, wire.HELLO, HELLO)
    r.ask(0, wire.ANNOTATIONS, {"start": 4, "count": 3})
    r.ask(0, wire.ANNOTATIONS, {"start": 30})
    r.ask(0, wire.ANNOTATIONS, {"generation": "ab" * 16})
    r.ask(0, wire.CURVE, {"key": "0004"})
    r.ask(0, wire.CURVE, {"index": 24})
    r.ask(0, wire.STATS, {"bins": 4, "by": "label"})
    r.ask(0, wire.PICTURES, {"index": [3, BAD]})
    r.ask(0, wire.VERIFY, {}, kinds_only=True)
    r.ask(0, wire.MINT, {})
    r.ask(0, wire.EXPORT, {"path": "/nonexistent/a.jsonl"})
    r.ask(0, wire.MERGE, {"path": "/nonexistent/store"})
    r.ask(0, wire.RELOAD, {"check": True})
    r.ask(0, wire.RELOAD, {})
    r.ask(0, wire.JOBS, {})
    r.ask(0, wire.ANNOTATE, {"model": "/nonexistent/m.onnx", "dry_run": True})
    r.ask(0, wire.ANNOTATE, {"model": "fake:edge", "dry_run": True}, kinds_only=True)
    r.ask(0, wire.JOB, {"id": 9, "action": "pause"})
    r.connect(1)
    r.ask(1, wire.HELLO, HELLO)
    r.ask(1, wire.WATCH, {})
    r.hear(1, kinds_only=True)  # at once; how many follow is a matter of time
    r.ask(0, wire.ANNOTATE, {"model": "fake:edge", "trials": 1}, kinds_only=True)
    r.ask(0, wire.JOB, {"id": 1, "action": "priority", "priority": 5}, kinds_only=True)
    return r.lines


SESSIONS = {"session-v1": (record, lambda folder: ()), "orders-v1": (record_orders, lambda folder: ("--state-dir", folder / "state"))}


def load(name):
    return [json.loads(line) for line in (GOLDEN / f"{name}.jsonl").read_text().splitlines()]


def main():
    import tempfile
    from conftest import Daemon
    for name, (make, more) in SESSIONS.items():
        if (GOLDEN / f"{name}.jsonl").exists():
            continue
        with tempfile.TemporaryDirectory() as folder:
            one = Daemon(pathlib.Path(folder) / "d", *shards(pathlib.Path(folder)), *more(pathlib.Path(folder)))
            try:
                lines = make(one.socket)
            finally:
                one.stop()
        (GOLDEN / f"{name}.jsonl").write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
        print(f"{len(lines)} lines in {name}.jsonl")


if __name__ == "__main__":
    sys.exit(main())

"""Files that are damaged, lie, or ask for too much: each gets the verdict that follows from how it was made
(tests/malformed/make.py), and nothing is accepted that Python's own readers reject, the named exceptions apart."""

import collections
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import warnings
import zipfile

import numpy
import pytest
from PIL import Image

from ambientd import wire

BUILD = pathlib.Path(os.environ.get("AMBIENTD_BUILD") or pathlib.Path(os.environ.get("AMBIENTD_BIN", "build/daemon/ambientd")).parent.parent)
REPLAY = BUILD / "tests/malformed/replay"
HERE = pathlib.Path(__file__).resolve().parent / "malformed"
pytestmark = pytest.mark.skipif(not REPLAY.exists(), reason=f"{REPLAY} is not built")

sys.path.insert(0, str(HERE))
import make  # noqa: E402

# What we accept and Python does not, each with its reason.
EXCEPTIONS = {
    ("tar", "size"): "a space or a zero ends the digits of a field (POSIX); tarfile takes what follows for digits too",
    ("tar", "cut"): "the padding of the last member may be missing: nothing of any member is lost",
    ("zip", "false-end"): "the last thing that looks like an end record is part of a comment; zipfile takes it for the end",
    ("zip", "odd"): "an end record with a false signature in its comment, as above",
    ("png", "ancillary"): "chunks that decide no pixel may hold anything; Pillow inflates and reads them",
    ("webp", "chunk-size"): "libwebp reads a lossless picture to its end, whatever length its chunk gives; the reader of animations that Pillow uses does not",
    ("jsonl", "good"): "a byte order mark before the first line; json.loads takes it from bytes only",
}


def replay(rows, folder):
    """Verdict and message for each (kind, path, ...)."""
    (folder / "replay.list").write_text("".join(f"{row[0]} {row[1]}\n" for row in rows))
    done = subprocess.run([REPLAY, folder / "replay.list"], capture_output=True, timeout=300)
    assert done.returncode == 0, (done.returncode, done.stdout[-300:], done.stderr[-3000:])
    lines = done.stdout.decode("utf-8", "replace").split("\n")
    return [line.partition(" ")[::2] for line in lines[:len(rows)]]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(kind, path, expected, verdict, message) for each file."""
    folder = tmp_path_factory.mktemp("malformed")
    rows = make.write(folder)
    return [(*row, *found) for row, found in zip(rows, replay(rows, folder), strict=True)]


def family(path):
    return path.name.partition("-")[2]


def test_every_file_gets_its_verdict(files):
    wrong = [f"{kind} {path.name}: {verdict} ({message}), expected {expected}" for kind, path, expected, verdict, message in files if verdict not in expected.split("|")]
    count = collections.Counter(kind for kind, *_ in files)
    print(f"{len(files)} files: " + ", ".join(f"{kind} {n}" for kind, n in count.items()))
    assert not wrong, "\n".join(wrong[:40])
    assert len(files) >= 2000 and min(count.values()) >= 200


def test_messages_say_something(files):
    for kind, path, _, verdict, message in files:
        if verdict not in ("ok", "incomplete"):
            assert len(message) > 10, (kind, path.name, verdict, message)


def read_tar(path):
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            if member.isreg():
                data = archive.extractfile(member).read()
                assert len(data) == member.size


def read_zip(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def read_jsonl(path):
    for line in path.read_bytes().splitlines():
        if line.strip():
            json.loads(line.decode("utf-8", "surrogateescape"))


def read_picture(path):
    with Image.open(path) as image:
        image.convert("RGB").load()


def read_frames(path):
    data = path.read_bytes()
    while data:
        kind, _, length, _ = wire.decode_header(data)
        payload, data = data[16:16 + length], data[16 + length:]
        assert len(payload) == length
        if kind == wire.LEND:
            wire.decode_lend(payload)
        elif kind not in (wire.DONE, wire.REQUEST):
            wire.loads(payload)


READERS = {"tar": read_tar, "zip": read_zip, "frame": read_frames, "json": lambda path: json.loads(path.read_bytes()), "label": lambda path: json.loads(path.read_bytes()),
           "jsonl": read_jsonl, "jpeg": read_picture, "png": read_picture, "webp": read_picture, "npy": lambda path: numpy.load(path, allow_pickle=False)}


def test_nothing_is_accepted_that_python_rejects(files):
    """By every reader that Python has for the format; for frames, the client's own."""
    both = ours = 0
    found, unexplained = collections.Counter(), []
    for kind, path, _, verdict, _ in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                READERS[kind](path)
            rejected = None
        except Exception as error:  # whatever a reader raises is a rejection
            rejected = error
        both += rejected is not None and verdict != "ok"
        ours += rejected is None and verdict != "ok"
        if rejected is not None and verdict == "ok":
            found[kind, family(path)] += 1
            if not EXCEPTIONS.get((kind, family(path))):
                unexplained.append(f"{kind} {path.name}: {type(rejected).__name__}: {rejected}")
    print(f"rejected by both {both}, by us alone {ours}; accepted by us alone, as named: {dict(found)}")
    assert not unexplained, "\n".join(unexplained[:40])
    assert both > 1000
    # webp: as the libwebp of Pillow; the others hold for every release
    assert EXCEPTIONS.keys() - found.keys() <= {("webp", "chunk-size")}, "an exception that no file needs any more"

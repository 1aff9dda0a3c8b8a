"""Small files that ask for much (tests/malformed/bombs.py): each gets its verdict, without the memory that it asks for.

Each runs in a process of its own; what it cost is printed. Time is not asserted, memory is: at most 64 MiB more than the
process had before.
"""

import os
import pathlib
import subprocess
import sys

import pytest

BUILD = pathlib.Path(os.environ.get("AMBIENTD_BUILD") or pathlib.Path(os.environ.get("AMBIENTD_BIN", "build/daemon/ambientd")).parent.parent)
REPLAY = BUILD / "tests/malformed/replay"
pytestmark = pytest.mark.skipif(not REPLAY.exists(), reason=f"{REPLAY} is not built")

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "malformed"))
import bombs  # noqa: E402

RSS_KIB = 64 << 10


def run(folder, kind, data):
    """Verdict, message, CPU milliseconds, KiB."""
    (folder / "bomb").write_bytes(data)
    (folder / "list").write_text(f"{kind} {folder / 'bomb'}\n")
    done = subprocess.run([REPLAY, folder / "list"], capture_output=True, timeout=300)
    assert done.returncode == 0, (done.returncode, done.stderr[-3000:])
    first, last = done.stdout.decode("utf-8", "replace").rstrip("\n").split("\n")
    verdict, _, message = first.partition(" ")
    return verdict, message, int(last.split()[1]), int(last.split()[3])


def sanitized():
    return b"__asan_init" in REPLAY.read_bytes()


@pytest.mark.parametrize("name, kind, make, expected", bombs.BOMBS, ids=[bomb[0] for bomb in bombs.BOMBS])
def test_bomb_is_refused_for_little(tmp_path, name, kind, make, expected):
    data = make()
    verdict, message, ms, kib = run(tmp_path, kind, data)
    print(f"{name}: {len(data)} bytes, {verdict}, {ms} ms of CPU, {kib / 1024:.1f} MiB: {message}")
    assert verdict == expected, message
    assert kib <= RSS_KIB or sanitized()


@pytest.mark.slow
def test_index_of_a_million_entries(tmp_path):
    data = bombs.zip_many(10**6)
    verdict, _, ms, kib = run(tmp_path, "zip", data)
    print(f"10^6 entries indexed and read: {len(data) >> 20} MiB, {ms} ms of CPU, {kib >> 10} MiB")
    assert verdict == "ok"

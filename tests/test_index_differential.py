"""The index of tar and zip archives against Python's own readers: names, places, sizes, contents, labels.

Archives are made by Python's writers in every format and with every extension that they have, some patched by hand;
seeds are fixed and printed. Expected samples are computed from tarfile and zipfile alone.
"""

import io
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import tarfile
import zipfile
import zlib

import pytest

BIN = pathlib.Path(os.environ.get("AMBIENTD_BIN", "build/daemon/ambientd"))
DUMP = BIN.parent.parent / "lib/shard/shard-dump"
DATA = pathlib.Path(os.environ.get("AMBIENTD_TEST_DATA", "../shared/data"))
PICTURES = ("png", "jpg", "jpeg", "webp")
pytestmark = pytest.mark.skipif(not DUMP.exists(), reason=f"{DUMP} is not built")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no test data at {DATA}")


def dump(*arguments):
    """Rows of shard-dump, or the error's code; anything else than exit 0 or 1 fails."""
    done = subprocess.run([DUMP, *map(str, arguments)], capture_output=True, timeout=120)
    assert done.returncode in (0, 1), (done.returncode, done.stderr)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode == 1:
        return rows[-1]["error"], rows[-1]["message"]
    for row in rows:
        row["key"], row["path"] = (bytes.fromhex(row[k]) for k in ("key", "path"))
        members = {k: v for k, v in row["members"].items() if k}
        row["members"] = {bytes.fromhex(members[k]).decode("utf-8", "surrogateescape"): members[k + ".crc"] for k in members if k + ".crc" in members}
    return 0, rows


def split(name: bytes):
    """Key and extension by WebDataset's rule; None for names of no sample."""
    base = name.rpartition(b"/")[2]
    stem, dot, ext = base.partition(b".")
    if not dot or not stem or not ext or (name.startswith(b"__") and name.endswith(b"__") and len(name) > 4):
        return None
    return name[: len(name) - len(ext) - 1], ext


def rank(name: bytes):
    key, ext = split(name)
    last = ext.rpartition(b".")[2].lower().decode("latin1")
    if last in PICTURES:
        return 0 if b"." not in ext else 1
    if last == "npy":
        return 2 if b"." not in ext or name.rpartition(b"/")[2].startswith(b"img") else 3
    return 4


def samples(members):
    """members: (name, offset or None, data) in order -> what the index must say."""
    runs = []
    for name, offset, data in members:
        parts = split(name)
        if parts is None:
            continue
        if not runs or runs[-1][0] != parts[0]:
            runs.append((parts[0], []))
        runs[-1][1].append((name, parts[1], offset, data))
    for key, run in runs:
        best = min(range(len(run)), key=lambda i: (rank(run[i][0]), i))
        if rank(run[best][0]) == 4:
            continue
        label = -1
        for _, ext, _, data in run:
            if ext.lower() == b"cls":
                label = int(data)
        name, _, offset, data = run[best]
        yield {"key": key, "path": name, "offset": offset, "crc": zlib.crc32(data), "bytes": len(data), "label": label,
               "members": {ext.decode("utf-8", "surrogateescape"): zlib.crc32(d) for _, ext, _, d in run}}


def compare(path, wanted, seed):
    code, rows = dump(path)
    wanted = list(wanted)
    if code != 0:
        assert not wanted and "no picture" in rows, f"seed {seed}: {rows}"
        return 0
    assert [r["key"] for r in rows] == [w["key"] for w in wanted], f"seed {seed}"
    for row, want in zip(rows, wanted):
        for field, value in want.items():
            if field == "offset" and (value is None or row["offset"] == 0):
                continue
            assert row[field] == value, f"seed {seed}, {want['path']}: {field} is {row[field]}, expected {value}"
        assert row["code"] == 0
    return len(rows)


def random_names(rng, n):
    """Unique keys: short, deep, longer than ustar can say, with bytes beyond ASCII."""
    alphabet = "abcdefgh-_ 0123456789" + ("äß漢😀" if rng.random() < 0.3 else "")
    for i in range(n):
        kind = rng.random()
        length = 6 if kind < 0.5 else rng.randrange(60, 99) if kind < 0.7 else rng.randrange(101, 240) if kind < 0.9 else rng.randrange(260, 2000)
        text = "".join(rng.choice(alphabet) for _ in range(length))
        folders = rng.choice([0, 0, 0, 1, 3])
        for _ in range(folders):
            at = rng.randrange(len(text) + 1)
            text = text[:at] + "/" + text[at:]
        text = "/".join(part for part in text.split("/") if part) or "x"
        yield f"{text}{i}"


def random_members(rng):
    for key in random_names(rng, rng.randrange(1, 12)):
        exts = rng.sample(["png", "jpg", "txt", "cls", "json", "npy", "seg.png", "t5.npy", "PNG"], rng.randrange(1, 5))
        if sum(e.lower() == "png" for e in exts) > 1:
            exts.remove("PNG")
        for ext in exts:
            data = str(rng.randrange(0, 1 << rng.choice([3, 10, 24, 40]))).encode() if ext == "cls" else rng.randbytes(rng.choice([0, 1, 511, 512, 513, 3000]))
            yield f"{key}.{ext}", data


def patch_base256(data: bytearray, offset: int):
    """Write the size of the header at offset in base 256."""
    size = int(bytes(data[offset + 124:offset + 136]).strip(b" \0") or b"0", 8)
    data[offset + 124:offset + 136] = b"\x80" + size.to_bytes(11, "big")
    data[offset + 148:offset + 156] = b" " * 8
    data[offset + 148:offset + 156] = b"%06o\0 " % sum(data[offset:offset + 512])


def make_tar(rng, path):
    form = rng.choice([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.PAX_FORMAT])
    headers = {"comment": "made for a test"} if form == tarfile.PAX_FORMAT and rng.random() < 0.3 else None
    with tarfile.open(path, "w", format=form, pax_headers=headers) as archive:
        for name, data in random_members(rng):
            if form == tarfile.USTAR_FORMAT and (len(name.encode()) > 90 or not name.isascii()):
                name = name.encode("ascii", "replace").decode().replace("?", "q")
                name = name if len(name) < 95 else "p" * rng.randrange(1, 100) + "/" + name[-90:].replace("/", "_")
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid = len(data), rng.choice([0, 1_700_000_000]), rng.choice([0, 1000, 3_000_000 if form != tarfile.USTAR_FORMAT else 1])
            if form == tarfile.PAX_FORMAT:
                info.mtime = rng.choice([info.mtime, 1_700_000_000.25])
                if rng.random() < 0.2:
                    info.pax_headers = {"size": str(len(data)), "SCHILY.xattr.user.x": "=\n " * rng.randrange(1, 400)}
            archive.addfile(info, io.BytesIO(data))
            if rng.random() < 0.1:
                other = tarfile.TarInfo(f"other{rng.random()}.png")
                other.type = rng.choice([tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
                other.linkname = name[-20:] if other.type in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
                archive.addfile(other)
    if form == tarfile.GNU_FORMAT and rng.random() < 0.5:
        with tarfile.open(path) as archive:
            offsets = [m.offset_data - 512 for m in archive if m.isreg()]
        data = bytearray(path.read_bytes())
        for offset in rng.sample(offsets, rng.randrange(len(offsets) + 1)):
            patch_base256(data, offset)
        path.write_bytes(data)


def tar_members(path):
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isreg():
                yield member.name.encode("utf-8", "surrogateescape"), member.offset_data, archive.extractfile(member).read()


def test_tars_as_tarfile_reads_them(tmp_path):
    n = 0
    for seed in range(400):
        path = tmp_path / "a.tar"
        make_tar(random.Random(seed), path)
        n += compare(path, samples(tar_members(path)), seed)
    print(f"400 tar archives, {n} samples")
    assert n > 1000


def test_tars_as_gnu_tar_writes_them(tmp_path):
    """GNU tar's own writers, in each of its formats, sparse files among them (which are passed over)."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name, data in random_members(random.Random(6)):
        (folder / name[-200:].replace("/", "_")).write_bytes(data)
    with open(folder / "sparse.png", "wb") as hole:
        hole.truncate(1 << 20)
        hole.seek(500_000)
        hole.write(b"island")
    for form in ("v7", "oldgnu", "gnu", "ustar", "pax"):
        path = tmp_path / "g.tar"
        done = subprocess.run(["tar", "--format", form, *(["--sparse"] if form in ("gnu", "oldgnu", "pax") else []), "--sort=name", "-cf", path, "-C", tmp_path, "files"],
                              capture_output=True)
        if done.returncode != 0:  # names that the format cannot hold are left out, with status 2
            assert form in ("v7", "ustar"), done.stderr
        with tarfile.open(path) as archive:
            kept = [(m.name.encode("utf-8", "surrogateescape"), m.offset_data, archive.extractfile(m).read()) for m in archive if m.isreg() and not m.issparse()]
        assert compare(path, samples(kept), form) > 0


class Unseekable(io.RawIOBase):
    """A stream that zipfile cannot go back in: sizes are written behind the data."""

    def __init__(self, path):
        self.file = open(path, "wb")

    def writable(self):
        return True

    def write(self, data):
        return self.file.write(data)

    def close(self):
        self.file.close()
        super().close()


def make_zip(rng, path):
    stream = Unseekable(path) if rng.random() < 0.3 else open(path, "wb")
    names = []
    with zipfile.ZipFile(stream, "w") as archive:
        members = list(random_members(rng))
        rng.shuffle(members)
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
            info.comment = b"c" * rng.choice([0, 0, 300])
            if rng.random() < 0.2:
                info.extra = b"\x99\x99\x04\x00abcd"
            with archive.open(info, "w", force_zip64=rng.random() < 0.2) as member:
                member.write(data if name.endswith(".cls") else data * rng.choice([1, 20]))
            names.append(name)
        if rng.random() < 0.3:
            archive.writestr("folder/", b"")
        labels = None
        if rng.random() < 0.5:
            labels = {name: rng.randrange(2000) for name in names}
            archive.writestr("dataset.json", json.dumps({"labels": list(labels.items())}, ensure_ascii=rng.random() < 0.5))
        archive.comment = b"PK\x05\x07 looks nearly like an end; zipfile is fooled by more" * rng.choice([0, 0, 5])
    stream.close()
    return labels


def zip_members(path):
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist(), key=lambda n: n.encode()):
            if name != "dataset.json" and not name.endswith("/"):
                yield name.encode(), None, archive.read(name)


def test_zips_as_zipfile_reads_them(tmp_path):
    n = 0
    for seed in range(300):
        path = tmp_path / "a.zip"
        labels = make_zip(random.Random(seed), path)
        wanted = list(samples(zip_members(path)))
        for want in wanted:
            if labels is not None and not any(ext.lower() == "cls" for ext in want["members"]):
                want["label"] = labels[want["path"].decode()]
        n += compare(path, wanted, seed)
    print(f"300 zip archives, {n} samples")
    assert n > 1000


BSDTAR_LINE = re.compile(r"-\S+ +\d+ +\S+ +\S+ +(\d+) (?:\S+ +\d+ +[\d:]+) (.*)")


def bsdtar_members(path):
    """(name, None, data of the right length) of each regular file, in the archive's order."""
    done = subprocess.run(["bsdtar", "--numeric-owner", "-tvf", path], capture_output=True, timeout=60, env={**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"})
    assert done.returncode == 0, done.stderr
    for line in done.stdout.decode().splitlines():
        if line.startswith("-"):
            size, name = BSDTAR_LINE.fullmatch(line).groups()
            yield name.encode(), None, b"0" * int(size)


@pytest.mark.skipif(shutil.which("bsdtar") is None, reason="bsdtar (libarchive-tools) is not installed")
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_archives_as_bsdtar_lists_them(tmp_path, kind):
    """libarchive's readers, a third opinion on names and sizes."""
    n = 0
    for seed in range(150):
        path = tmp_path / f"a.{kind}"
        (make_tar if kind == "tar" else make_zip)(random.Random(f"bsdtar {seed}"), path)
        members = [m for m in bsdtar_members(path) if kind == "tar" or m[0] != b"dataset.json" and not m[0].endswith(b"/")]
        if kind == "zip":
            members.sort()
        code, rows = dump(path)
        wanted = list(samples(members))
        if len({want["key"] for want in wanted}) < len(wanted):  # names cut to what ustar can say
            assert code == -7010, f"seed {seed}: {rows}"
            continue
        assert (code == 0) == bool(wanted), f"seed {seed}: {rows}"
        found = [] if code != 0 else [(row["key"], row["path"], row["bytes"], sorted(row["members"])) for row in rows]
        assert found == [(want["key"], want["path"], want["bytes"], sorted(want["members"])) for want in wanted], f"seed {seed}"
        n += len(wanted)
    print(f"150 {kind} archives, {n} samples")
    assert n > 300


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_damaged_archives_are_refused_or_read_rightly(tmp_path, kind):
    """Cut, flipped, spliced: no crash, no hang; what is served as a picture was one."""
    refused = served = 0
    for seed in range(300):
        rng = random.Random(seed)
        path = tmp_path / f"a.{kind}"
        (make_tar if kind == "tar" else make_zip)(rng, path)
        data = bytearray(path.read_bytes())
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            what = rng.random()
            if what < 0.3:
                del data[at:]
            elif what < 0.5:
                del data[at:at + rng.randrange(600)]
            else:
                data[at:at + 1] = bytes([rng.randrange(256)])
            if not data:
                data = bytearray(b"\0")
        path.write_bytes(data)
        code, _ = dump(path)
        refused, served = refused + (code != 0), served + (code == 0)
    print(f"{kind}: {refused} refused, {served} served")
    assert refused > 50


@needs_data
def test_real_data():
    for name in ("cifar-000000.tar", "cifar-000001.tar", "annotate/images.tar"):
        assert compare(DATA / name, samples(tar_members(DATA / name)), name) in (500, 48)
    path = DATA / "cifar-edm.zip"
    labels = dict(json.loads(zipfile.ZipFile(path).read("dataset.json"))["labels"])
    wanted = [want | {"label": labels[want["path"].decode()]} for want in samples(zip_members(path))]
    assert compare(path, wanted, "edm") == 500
    # two shards by brace list, mapped and by pread, are the concatenation of both
    one = dump(DATA / "cifar-{000000..000001}.tar")
    assert one == dump("--pread", DATA / "cifar-{000000..000001}.tar") and len(one[1]) == 1000
    code, rows = dump(DATA / "photos")
    assert code == 0 and [r["path"].decode() for r in rows] == sorted(p.name for p in (DATA / "photos").iterdir())
    for row in rows:
        assert row["crc"] == zlib.crc32((DATA / "photos" / row["path"].decode()).read_bytes())

"""Seeds and dictionaries of the fuzz targets: make_seeds.py FOLDER [SHARD-DUMP] writes FOLDER/NAME/* and FOLDER/NAME.dict.

Everything is made here, from fixed numbers: two runs write the same bytes. Index images are made by shard-dump's cache,
with the identity of the file they were made of blanked; without it that target begins from nothing.
"""

import io
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib

from PIL import Image

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "proto/golden"


def picture(kind, size=(6, 5), mode="RGB", **options):
    rng = random.Random(f"{kind}{size}{mode}")
    n = size[0] * size[1] * len(Image.new(mode, (1, 1)).tobytes()) if mode != "1" else (size[0] + 7) // 8 * size[1]
    image = Image.frombytes(mode, size, rng.randbytes(n))
    if mode == "P":
        image.putpalette(rng.randbytes(768))
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif(orientation):
    data = Image.Exif()
    data[0x112] = orientation
    return data.tobytes()


def pictures():
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        yield picture("png", mode=mode) if mode != "I;16" else picture("png", (4, 4), "I;16")
    yield picture("png", exif=exif(6))
    yield picture("png", (9, 9), "RGB", optimize=True)
    for mode in ("L", "RGB", "CMYK"):
        yield picture("jpeg", (17, 9), mode, quality=70)
    yield picture("jpeg", (17, 9), progressive=True)
    yield picture("jpeg", (17, 9), exif=exif(8))
    yield picture("webp", (9, 7), quality=50)
    yield picture("webp", (9, 7), "RGBA", quality=50)
    yield picture("webp", (9, 7), lossless=True)
    yield picture("webp", (9, 7), lossless=True, exif=exif(3))
    yield npy("|u1", (3, 4, 3), bytes(range(36)))
    yield npy("|u1", (3, 4), bytes(range(12)))


def npy(descr, shape, data, version=1, order="False"):
    head = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    size = 10 if version == 1 else 12
    head += b" " * (-(size + len(head) + 1) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(head).to_bytes(2 if version == 1 else 4, "little") + head + data


def arrays():
    yield npy("<f4", (2, 3), bytes(24))
    yield npy("<f2", (5,), bytes(range(10)), version=2)
    yield npy("<i8", (), bytes(8), version=3)
    yield npy("|u1", (0, 3), b"")
    yield npy("<f4", (2, 3), bytes(24), order="True")
    yield npy(">f8", (1,), bytes(8))


MEMBERS = [("a/000001.png", b"PNG"), ("a/000001.cls", b" 3\n"), ("a/000001.json", b'{"label": 7, "corruption": "2"}'), ("b.c.jpg", b"x" * 600),
           ("b.txt", b"caption"), ("\u00e4.t5.npy", b""), ("\u00e4.webp", b"w"), ("n/.hidden.png", b"h"), ("folder.png", b"p")]


def tars():
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form, pax_headers={"comment": "global"} if form == tarfile.PAX_FORMAT else None) as archive:
            for name, data in MEMBERS[:6]:
                info = tarfile.TarInfo(name if form != tarfile.USTAR_FORMAT else name.encode("ascii", "replace").decode().replace("?", "q"))
                info.size = len(data)
                if form == tarfile.PAX_FORMAT:
                    info.pax_headers = {"size": str(len(data)), "path": name}
                archive.addfile(info, io.BytesIO(data))
        yield out.getvalue().rstrip(b"\0") + bytes(1024)
    for form, name in ((tarfile.GNU_FORMAT, "d/" * 60 + "x.png"), (tarfile.USTAR_FORMAT, "p" * 80 + "/" + "n" * 60 + ".png")):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as archive:
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
            for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.GNUTYPE_SPARSE):
                info = tarfile.TarInfo("other.png")
                info.type = kind
                archive.addfile(info)
        yield out.getvalue()[:512 * 12]
    data = bytearray(next(tars_one()))
    size = 3
    data[124:136] = b"\x80" + size.to_bytes(11, "big")
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    yield bytes(data)


def tars_one():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("one.png")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    yield out.getvalue()[:2048]


class Unseekable(io.RawIOBase):
    def __init__(self):
        self.data = b""

    def writable(self):
        return True

    def write(self, data):
        self.data += bytes(data)
        return len(data)


def zips():
    labels = json.dumps({"labels": [["a/000001.png", 5], ["b.c.jpg", 6]]}).encode()
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        for stream in (io.BytesIO(), Unseekable()):
            with zipfile.ZipFile(stream, "w", method) as archive:
                for name, data in [*MEMBERS[:5], ("dataset.json", labels), ("folder/", b"")]:
                    info = zipfile.ZipInfo(name)
                    info.compress_type = method
                    with archive.open(info, "w", force_zip64=name == "b.txt") as member:
                        member.write(data)
                archive.comment = b"PK\5\6 in a comment" if method else b""
            yield stream.getvalue() if isinstance(stream, io.BytesIO) else stream.data
    end = len(labels)
    yield struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0, 0, 0, 0, 0)
    body = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0, zlib.crc32(labels), end, end, 5, 0) + b"a.png" + labels
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 45, 0, 0, 0, 0, zlib.crc32(labels), end, 0xFFFFFFFF, 5, 20, 0, 0, 0, 0, 0xFFFFFFFF)
    entry += b"a.png" + struct.pack("<HHQQ", 1, 16, end, 0)
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(entry), len(body))
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(body) + len(entry), 1)
    yield body + entry + end64 + locator + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


def golden_frames():
    for row in json.loads((GOLDEN / "frames.json").read_text()):
        yield bytes.fromhex(row["frame"])


def requests():
    yield {"min": 1, "max": 1, "client": "seed/1", "features": ["fd"]}
    yield {"dataset": "main", "batch_size": 8, "fields": ["x_t", "sigma_t:f16"], "seed": "18446744073709551615", "options": {"policy": "pass"}}
    yield {"sigma": "inf", "list": [1, -2.5e-3, True, None, "\u00e4\ud83d\ude00\n"], "deep": [[[[{}]]]]}


def states():
    golden = (GOLDEN / "state-v1.json").read_bytes()
    yield golden.strip()
    yield json.dumps(json.loads(golden)["options"]).encode()
    for schedule in ({"kind": "lognormal", "mean": -1.2, "std": 1.2}, {"kind": "loguniform", "lo": 0.002, "hi": 80}, {"kind": "constant", "level": 0.5},
                     {"kind": "uniform", "scale": "t", "lo": 0, "hi": 1}, {"kind": "table", "points": [[0, 0.1], [0.5, 1], [1, 10]]}):
        yield json.dumps({"seed": 3, "process": "flow", "policy": "uniform", "gaps": "error", "xflip": True, "schedule": schedule}).encode()


def lines():
    rows = [{"filename": "a/000001.png", "sigma_min": 0.5}, {"key": "000002", "sigma_min": "inf", "sigma_max": 0.1}, {"index": 2, "annotation": [0.5, None]},
            {"path": "/data/x/a/000001.png", "probabilities": [[0.9, 0.8], 0.7, [0.2], 0.1]}, {"name": "b", "sigma": 3, "crop_predictions_8": [0.1, 0.9], "crop_predictions_64": 0.5},
            {"__key__": "\u00e4", "sigma_max": 1e-3, "other": {"a": [1, {"b": None}]}}]
    text = "\n".join(json.dumps(row) for row in rows).encode() + b"\n"
    yield b"\0" + text
    yield b"\xf8" + b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n\r\n")
    yield from (b"\xf1" + json.dumps(row, ensure_ascii=False).encode() for row in rows)
    yield b'\0{"filename": "a", "sigma_min": Infinity, "x": NaN}\n'


def configs():
    source = {"shards": ["*.tar", "{000..012}.tar"], "format": "tar", "label_key": "label"}
    yield {"datasets": {"main": {"sources": {"main": source}}}}
    yield {"socket": "s", "workers": 2, "cache_bytes": "64M", "limits": {"hello_ms": 5, "shm_bytes": "2G"}, "log": {"level": "debug", "format": "plain"},
           "datasets": {"main": {"sources": {"a": source, "b": {"shards": ["photos/"], "repeat": 2.5, "default_annotation": "everywhere"}}, "image": {"size": [32, 32], "channels": 3, "transform": "center-crop", "resample": "box"},
                                 "annotations": [{"import": "a.jsonl", "inf_from": 300}, {"fixed": [{"source": "a", "sigma_min": 0.5}]}, {"score": {"key": "s", "quantiles": [[0, 1], [0.5, 2]]}}],
                                 "exclude": ["a", "b"], "noise_seed": 4}}}
    yield {"datasets": {"l": {"sources": {"m": {"shards": ["x"], "default_annotation": "0.5,1"}}, "latent": {"scale": [1, 2], "shift": [0, 0.5], "std": True}}}}


def labels():
    yield from (b" 12\n", b"-3", b'{"label": 3}', b'{"a": [1, {"label": 2}], "label": [0.5, -1e3, 2]}', b'{"label": "17"}', b'{"label": true, "x": "\\u00e4\\ud83d\\ude00"}')
    yield json.dumps({"labels": [["a.png", 3], ["00000/img00000000.png", 0]], "other": None}).encode()
    yield json.dumps({"x": {"y": []}, "labels": [["a.png", [0.5, 1]], ["b\u00e4", [2, 3]]]}).encode()
    yield b'{"labels": null}'


def numbers():
    yield b"0 -0 1 12 0.5 1e5 1E+5 -1.25e-7 9007199254740993 1.7976931348623157e308 5e-324 2.2250738585072011e-308 0.1 123456789012345678901234567890"
    yield b"1e400 1e-400 0.000000000000000000000000000001 3.14159265358979323846264338327950288419716939937510582097494459"
    yield b"179769313486231580793728971405301199e273 4.9406564584124654e-324 9007199254740992.5 9007199254740993.0000000000000000000000001"


def exifs():
    yield exif(6)[6:]
    yield picture("jpeg", (8, 8), exif=exif(8))
    yield picture("png", (2, 2), exif=exif(5))
    yield picture("webp", (2, 2), lossless=True, exif=exif(3))
    yield b"MM\0*\0\0\0\x08\0\x02\x01\x00\0\3\0\0\0\1\0\1\0\0\x01\x12\0\3\0\0\0\1\0\6\0\0"


def images(dump):
    """Index images of the tars and zips above."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for i, data in enumerate([*tars(), *zips()]):
            path, cache = folder / f"{i}", folder / f"cache{i}"
            path.write_bytes(data)
            os.utime(path, (1_700_000_000, 1_700_000_000))
            subprocess.run([dump, "--cache", cache, "--label-key", "label", *(["--corruption-key", "corruption"] if i % 2 else []), path], capture_output=True)
            for image in sorted(cache.glob("*.idx")):
                bytes_ = bytearray(image.read_bytes())
                bytes_[16:88] = bytes(72)
                yield bytes(bytes_)


def journals():
    """How fuzz-journal.c makes folders: one byte says what comes next, then what it wants to know."""
    def rows(*uids, twist=0, origin=3):
        return bytes([0, len(uids) - 1, twist]) + b"".join(bytes([uid, 0, 8 + uid, 4, 1, origin]) for uid in uids)

    curve, text, model = b"\3\5\4\0" + bytes(range(8)), b"\4\2\x09\0", b"\5\1\0\2\0"
    minted = [b"\6" + bytes([n, n - 1, n, 0x40 if n > 1 else 0]) for n in (1, 2, 3)]
    mark, segment, torn, damaged = b"\7\0", b"\x09\0\0", b"\x0c\x15\0", b"\x0b\3\x20\x50\0"
    batch = rows(1, 2, 3) + mark + curve + text + model + mark
    yield b"\0\x09\0\0" + batch + minted[0] + mark + rows(2, 9, origin=0x33) + minted[1] + mark
    yield b"\0\x09\0\0" + batch + torn
    yield b"\0\x09\0\0" + batch + segment + rows(1, 7) + mark + minted[0] + minted[1] + minted[2] + segment + rows(3) + damaged
    yield b"\0\x09\0\0" + batch + damaged + rows(4) + mark
    yield b"\1" + rows(*range(16)) + curve + text + model + minted[0] + minted[1] + minted[2] + segment + batch
    yield b"\1" + rows(*range(16)) * 6 + curve * 3 + segment + batch + minted[1] + mark + b"\x0b\1\x04\x10\x10" + b"\x0b\0\x04\x10\0"
    yield b"\3" + rows(1, 2) + segment + b"\3\0\7" + batch
    yield b"\5" + rows(1, 2) + segment + batch


def records():
    """How fuzz-record.c makes pieces: undo, heads, blocks, rows, and stretches of a journal."""
    def sealed(kind, payload, twist=0):
        return bytes([0, kind, twist, len(payload)]) + payload

    row = bytes(range(16)) + struct.pack("<IffffIBHHBB", 1, 0.5, 2, 0.25, 1, 77, 0, 3, 205, 0, 0x33)
    given_up = bytes(16) + struct.pack("<IiffffBHHBB", 0, -7010, 0, 0, 0, 0, 0, 0, 0, 0, 0x03)
    columns = struct.pack("<I", 2) + b"\3\5" + struct.pack("<4f", 0.5, 1, 2, float("inf"))
    yield b"\0\0\2\x20" + columns
    yield b"\0\4\2\x20" + columns
    yield b"\0\x08\2\x20" + columns
    yield b"\1\3" + bytes(8) + b"\1\0\0\0\0\0\0\0" + bytes(range(1, 90))
    yield b"\2\0\5" + bytes(v for k in range(0, 250, 5) for v in (k, k % 2))
    yield b"\2\x62\x3b" + bytes(v for k in range(0, 250, 50) for v in (k, 1))
    yield b"\3" + row + given_up + row
    yield b"\4\0" + sealed(1, row) + sealed(7, b"") + sealed(2, bytes(24))
    yield b"\4\0" + sealed(1, row) + b"\2\x05noise" + b"\3" + sealed(4, b"\4nametext") + b"\4\x09\0\x80" + sealed(7, b"")
    yield b"\4\x30" + sealed(1, row, 4) + sealed(1, row, 1) + sealed(6, columns, 2) + sealed(5, bytes(72))


def words(*texts):
    return [text.encode() if isinstance(text, str) else text for text in texts]


JSON_WORDS = words("null", "true", "false", "NaN", "Infinity", "-Infinity", '"inf"', "\\u0000", "\\ud83d\\ude00", "1e308", "[[", "]]", '":', '{"', '"}', "\xef\xbb\xbf")
KEYS = {
    "jsonl": ["key", "__key__", "filename", "file_name", "path", "file", "image", "name", "index", "idx", "sigma_min", "sigma_max", "annotation", "sigma", "probabilities",
              *(f"crop_predictions_{n}" for n in (1, 4, 8, 16, 24, 32, 48, 64))],
    "json": ["dataset", "batch_size", "fields", "seed", "schedule", "options"],
    "label": ["labels", "label", "corruption"],
    "state": ["format", "k", "step", "q", "cursors", "pass", "position", "dataset", "annotations", "codecs", "options", "seed", "process", "ve", "flow", "policy", "uniform", "sequential", "gaps",
              "truncate", "error", "xflip", "s_max", "schedule", "kind", "lognormal", "loguniform", "loguniform", "logitnormal", "table", "points", "constant", "scale", "mean", "std", "lo", "hi", "level", "curriculum", "vp"],
    "config": ["socket", "socket_group", "state_dir", "cache_dir", "workers", "cache_bytes", "limits", "log", "level", "format", "datasets", "sources", "shards", "label_key", "corruption_key",
               "corruption_label", "repeat", "default_annotation", "key_scope", "shard", "image", "size", "channels", "transform", "resample", "latent", "scale", "shift", "std", "annotations", "import",
               "fixed", "score", "quantiles", "table", "sigmas", "epsilon", "span", "inf_from", "crop_threshold", "source", "key", "label", "sigma_min", "sigma_max", "exclude", "noise_seed",
               "everywhere", "nowhere", "64M", "center-crop", "squash", "lanczos", "bicubic", "skip_bad_shards", "pread"],
}
DICTIONARIES = {
    "frame": [b"AMBP\x01" + bytes([t]) for t in (1, 2, 3, 4, 5, 16, 32, 34, 35, 37)],
    "link": [b"AMBP\x01" + bytes([t]) for t in (1, 16, 35)] + [b"\0\0\0\0\0\0", b"\0\x10\0\0", b"\x01\x10\0\0"],
    "tar": words(b"ustar\00000", b"ustar  \0", "path=", "size=", "GNU.sparse.", "././@LongLink", b"\x80\0\0\0", b"\xff\xff\xff\xff", "30 path=", "12 size=3\n", ".png", ".cls", ".json", "x", "g", "L", "K", "S"),
    "zip": words(b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\7\x08", b"\xff\xff\xff\xff", b"\xff\xff", b"\1\0\x10\0", ".png", ".cls", "dataset.json", b"\x08\0"),
    "npy": words(b"\x93NUMPY\1\0", b"\x93NUMPY\2\0", "'descr': ", "'fortran_order': ", "'shape': ", "False", "True", "'|u1'", "'<f4'", "'<f2'", "(1,)", "18446744073709551615", "L"),
    "decode": words(b"\x89PNG\r\n\x1a\n", "IHDR", "IDAT", "IEND", "PLTE", "tRNS", "eXIf", b"\xff\xd8\xff", b"\xff\xc0", b"\xff\xc2", b"\xff\xda", b"\xff\xc4", b"\xff\xdb", b"\xff\xd9", b"\xff\xee\0\x0eAdobe",
                    "RIFF", "WEBP", "VP8 ", "VP8L", "VP8X", "ALPH", "EXIF", b"\x93NUMPY\1\0"),
    "exif": words(b"II*\0", b"MM\0*", b"\x12\x01\3\0", b"\x01\x12\0\3", b"\xff\xe1", "Exif\0\0", "eXIf", "EXIF", "RIFF", "WEBP"),
    "number": words("e+", "e-", "0.", "1e308", "9007199254740993", "5e-324", "e-324", "000000000000"),
    "index": words(b"AMBINDEX", b"\1\0\0\0", b"\xff\xff\xff\xff", b"\x80\x80\x80\x80\x7f"),
    **{name: JSON_WORDS + words(*(f'"{key}"' for key in keys)) for name, keys in KEYS.items()},
}


def write_dictionary(path, entries):
    lines = []
    for entry in entries:
        text = "".join(chr(b) if 32 < b < 127 and chr(b) not in '"\\' else f"\\x{b:02x}" for b in entry)
        lines.append(f'"{text}"\n')
    path.write_text("".join(lines))


def main():
    folder = pathlib.Path(sys.argv[1])
    seeds = {
        "frame": list(golden_frames()) + [b"".join(golden_frames())[:4096]],
        "link": [bytes([n]) + frame for n, frame in enumerate(golden_frames())] + [b"\3" + b"".join(golden_frames())[:4096]],
        "json": [json.dumps(value).encode() for value in requests()],
        "tar": tars(), "zip": zips(), "label": labels(), "npy": [*arrays(), *(p for p in pictures() if p.startswith(b"\x93"))], "exif": exifs(), "decode": pictures(),
        "number": numbers(), "jsonl": lines(), "journal": journals(), "record": records(), "state": states(), "config": [json.dumps(value).encode() for value in configs()],
        "index": images(sys.argv[2]) if len(sys.argv) > 2 else [],
    }
    for name, items in seeds.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i, data in enumerate(items):
            (folder / name / f"seed-{i:02d}").write_bytes(data)
    for name, entries in DICTIONARIES.items():
        write_dictionary(folder / f"{name}.dict", entries)


if __name__ == "__main__":
    main()

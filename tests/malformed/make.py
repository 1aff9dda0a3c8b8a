"""Malformed files with the verdict that each must get: make.py FOLDER writes FOLDER/KIND/NNNN-FAMILY and FOLDER/list.

A line of the list is "KIND PATH VERDICT"; verdicts are those of tests/malformed/replay.c. Each verdict follows from how
its file was made, never from what the parser said. Everything comes from fixed numbers: two runs write the same files
(pictures: with the same release of Pillow).

A further kind (the own shard format, the journal) is one more generator in KINDS and one more row in replay.c.
"""

import io
import json
import pathlib
import random
import struct
import sys
import tarfile
import zipfile
import zlib

from PIL import Image

BLOCK = 512
NAME_MAX, EXT_MAX = 4096, 1 << 20  # bytes: shard/catalog.h, shard/tar.c


# tar

def tar_header(name, size=b"00000000000", kind=b"0", magic=b"ustar\00000", prefix=b"", checksum=None):
    head = bytearray(BLOCK)
    head[0:len(name)] = name
    head[100:108], head[108:116], head[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    head[124:124 + len(size)] = size
    head[136:148], head[156:157], head[257:265] = b"14540000000\0", kind, magic
    head[345:345 + len(prefix)] = prefix
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head) if checksum is None else checksum
    return bytes(head)


def padded(data):
    return data + bytes(-len(data) % BLOCK)


def tar_member(name, data=b"data", kind=b"0", **options):
    return tar_header(name, b"%011o" % len(data), kind, **options) + padded(data)


def pax_record(key, value):
    text = b" " + key + b"=" + value + b"\n"
    n = len(text)
    while n != len(text) + len(str(n)):
        n = len(text) + len(str(n))
    return str(n).encode() + text


END = bytes(2 * BLOCK)


def tars():
    good = [tar_member(b"a.png", b"x" * 700), tar_member(b"b.png", b"y" * 512), tar_member(b"c.png", b"z" * 100)]
    body = b"".join(good)
    starts = [0, len(good[0]), len(good[0]) + len(good[1])]
    ends = [BLOCK + 700, starts[1] + BLOCK + 512, starts[2] + BLOCK + 100]  # of data
    for cut in [0, 1, 100, 257, 511, 512, 513, 1000, 1211, 1212, 1300, 1535, 1536, 1537, 1800, 2047, 2048, 2100, 2559, 2560, 2561, 3000, 3071, 3072, 3073, 3171, 3172, 3173, 3400, 3583, 3584]:
        # fine: in the padding behind a member, which may be missing, or between members
        yield "cut", body[:cut], "ok" if any(end <= cut <= end + -end % BLOCK for end in ends) else "format"
    for at in range(0, BLOCK, 13):
        if 148 <= at < 156:
            continue
        data = bytearray(body + END)
        data[starts[1] + at] ^= 0x10
        yield "flipped-header", data, "format"
    for text in (b"77777777777\0", b"00000000009\0", b"abcdefghijkl", b"-0000000001\0", b"0x000000010\0", b"\x80" + b"\xff" * 11, b"\x80\0\0\1" + bytes(8), b"\xff" * 12, b"\xff" * 11 + b"\x00",
                 b"\x80" + (1 << 60).to_bytes(11, "big"), b"\x80" + (1 << 40).to_bytes(11, "big"), b"\xc0" + bytes(11), b"\x81" + bytes(11), b"1 2\0", b"  8\0", b"00000000008x", b"7\x007\x00" + b"8" * 8):
        ok = text in (b"7\x007\x00" + b"8" * 8, b"1 2\0")  # a zero or a space ends the digits: what follows is no business of a reader
        yield "size", tar_header(b"a.png", text) + padded(b"1234567") + END, "ok" if ok else "format"
    size = len(b"data")
    records = [b"", b"0 path=x\n", b"3 path=x.png\n", b"99999 path=x.png\n", b"path=x.png\n", b"14path=x.png\n", b"14 path=x.pngx", b"x4 path=x.png\n", b" 14 path=x.png\n", b"-1 path=x.png\n", b"5 a=\n", b"6 a=b\n"]
    for record in records:
        ok = record in (b"", b"5 a=\n", b"6 a=b\n")
        yield "pax-record", tar_member(b"pax", record, b"x") + tar_member(b"a.png") + END, "ok" if ok else "format"
    for value in (b"", b"-1", b"+4", b"4.0", b"0x4", b" 4", b"4 ", b"four", b"18446744073709551616", b"99999999999999999999", b"9223372036854775807", b"1000000"):
        yield "pax-size", tar_member(b"pax", pax_record(b"size", value), b"x") + tar_member(b"a.png") + END, "format"
    for name in (b"", b"a\0b.png", b"\0"):
        yield "pax-path", tar_member(b"pax", pax_record(b"path", name), b"x") + tar_member(b"a.png") + END, "format"
    for key, one, two in ((b"size", b"4", b"3"), (b"path", b"x.png", b"y.png")):
        for kinds in (b"xx", b"Xx", b"xX"):
            parts = [tar_member(b"pax", pax_record(key, v), bytes([k])) for k, v in zip(kinds, (one, two))]
            yield "pax-twice", b"".join(parts) + tar_member(b"a.png") + END, "format"
        yield "pax-twice", tar_member(b"pax", pax_record(key, one) + pax_record(key, two), b"x") + tar_member(b"a.png") + END, "format"
        yield "pax-twice-equal", tar_member(b"pax", pax_record(key, one) * 2, b"x") + tar_member(b"a.png", b"1234") + END, "ok"
        yield "pax-global", tar_member(b"pax", pax_record(key, one), b"g") + tar_member(b"a.png", b"1234") + END, "format"
    yield "long-name-twice", tar_member(b"L", b"one.png\0", b"L") + tar_member(b"pax", pax_record(b"path", b"two.png"), b"x") + tar_member(b"a.png") + END, "format"
    for n in (1, 100, NAME_MAX - 4, NAME_MAX - 3, NAME_MAX, 5000, 60000):
        name = b"n" * n + b".png"
        verdict = "ok" if len(name) <= NAME_MAX else "limit"
        yield "long-name", tar_member(b"L", name + b"\0", b"L") + tar_member(b"a") + END, verdict
        yield "long-name", tar_member(b"pax", pax_record(b"path", name), b"x") + tar_member(b"a") + END, verdict
    for name in (b"", b"\0", b"\0" * 600, b"a\0b.png"):
        yield "long-name-empty", tar_member(b"L", name, b"L") + tar_member(b"a") + END, "format"
    for kind in (b"x", b"X", b"L"):
        data = tar_member(b"e", pax_record(b"path", b"x.png") if kind != b"L" else b"x.png\0", kind)
        yield "extension-without-member", tar_member(b"a.png") + data, "format"
        yield "extension-without-member", tar_member(b"a.png") + data + END, "format"
        yield "extension-cut", data[:700], "format"
        yield "extension-size", tar_header(b"e", b"%011o" % 5000, kind) + padded(b"x") + END, "format"
        yield "extension-large", tar_header(b"e", b"%011o" % (EXT_MAX + 1), kind) + bytes(2048), "limit"
    for i in range(1, 21):
        body = b"".join(tar_member(b"s.%d.txt" % k) for k in range(i))
        yield "member-twice", tar_member(b"s.png") + body + tar_member(b"s.png" if i % 2 else b"s.0.txt") + END, "duplicate"
        yield "no-picture", b"".join(tar_member(b"s%d.txt" % k) for k in range(i)) + END, "format"
    yield "members", b"".join(tar_member(b"s.%d.png" % k, b"") for k in range(256)) + END, "ok"
    yield "members", b"".join(tar_member(b"s.%d.png" % k, b"") for k in range(257)) + END, "limit"
    for magic in (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd\0", b"BZh91", b"\xfd7zXZ\0"):
        yield "packed", magic + bytes(2000), "unsupported"
        yield "packed", magic, "unsupported"
    rng = random.Random(1)
    for i in range(20):
        yield "noise", bytes([1]) + rng.randbytes(rng.choice([0, 1, 10, 511, 600, 5000])), "format"
    yield "odd", tar_member(b"a.png", magic=bytes(8)) + END, "ok"
    yield "odd", tar_member(b"a.png") , "ok"
    yield "odd", tar_member(b"a.png") + bytes(BLOCK) + b"rubbish behind the end", "ok"
    yield "odd", tar_member(b"a.png") + tar_member(b"b.png", magic=b"ustar  \0") + END, "ok"
    yield "odd", tar_member(b"d/", b"", b"5") + tar_member(b"a.png") + END, "ok"
    yield "odd", tar_member(b"a.png", kind=b"\0") + tar_member(b"b.png", kind=b"7") + tar_member(b"c.png", kind=b"Z") + END, "ok"
    yield "odd", tar_member(b"K", b"x" * 5000, b"K") + tar_member(b"a.png") + END, "ok"
    yield "odd", tar_member(b"pax", pax_record(b"GNU.sparse.major", b"1"), b"x") + tar_member(b"a.png") + tar_member(b"b.png") + END, "ok"
    for kind in b"12345678":
        yield "odd-type", tar_header(b"other", b"00000000000", bytes([kind])) + tar_member(b"a.png") + END, "ok"
    yield "rubbish-behind", tar_member(b"a.png") + b"rubbish" * 100, "format"
    for bad in (b"9999999\0", b"      \0 ", b"-000001\0", b"zzzzzzzz"):
        yield "checksum", tar_header(b"a.png", checksum=bad) + END, "format"


# zip

class Entry:
    """A member and every field of its two headers; None: as it should be."""

    def __init__(self, name=b"a.png", data=b"data", method=0, **lies):
        self.name, self.data, self.method, self.lies = name, data, method, lies
        self.stored = zlib.compress(data, wbits=-15) if method == 8 else data
        self.crc = zlib.crc32(data)

    def get(self, field, default):
        return self.lies.get(field, default)

    def local(self):
        name = self.get("local_name", self.name)
        extra = self.get("local_extra", b"")
        return struct.pack("<4s5H3I2H", self.get("local_magic", b"PK\3\4"), 20, self.get("local_flags", self.get("flags", 0)), self.get("local_method", self.get("method", self.method)), 0, 0,
                           self.get("local_crc", self.crc), self.get("local_stored", len(self.stored)), self.get("local_size", len(self.data)), self.get("local_name_bytes", len(name)),
                           self.get("local_extra_bytes", len(extra))) + name + extra + self.get("payload", self.stored)

    def central(self, offset):
        extra = self.get("extra", b"")
        return struct.pack("<4s6H3I5H2I", self.get("magic", b"PK\1\2"), 20, 20, self.get("flags", 0), self.get("method", self.method), 0, 0, self.get("crc", self.crc), self.get("stored", len(self.stored)),
                           self.get("size", len(self.data)), self.get("name_bytes", len(self.name)), self.get("extra_bytes", len(extra)), self.get("comment_bytes", 0), 0, 0, 0,
                           self.get("offset", offset)) + self.name + extra


def zip_of(*entries, before=b"", between=b"", comment=b"", count=None, disk=0, directory=None, directory_bytes=None, comment_bytes=None, behind=b""):
    body, places = before, []
    for entry in entries:
        places.append(len(body) - len(before) if before else len(body))
        body += entry.local()
    at = len(body) - len(before)
    central = b"".join(entry.central(place) for entry, place in zip(entries, places))
    count = len(entries) if count is None else count
    return body + central + between + struct.pack("<4s4H2IH", b"PK\5\6", disk, disk, count, count, len(central) if directory_bytes is None else directory_bytes, at if directory is None else directory,
                                                  len(comment) if comment_bytes is None else comment_bytes) + comment + behind


def zip64_of(entry, **lies):
    body = entry.local()
    central = entry.central(0)
    end64 = struct.pack("<4sQHHIIQQQQ", lies.get("magic", b"PK\6\6"), lies.get("bytes", 44), 45, 45, lies.get("disk", 0), 0, lies.get("count_here", 1), lies.get("count", 1), lies.get("directory_bytes", len(central)),
                        lies.get("directory", len(body)))
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, lies.get("locator", len(body) + len(central)), 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, lies.get("small_count", 0xFFFF), lies.get("small_count", 0xFFFF), lies.get("small_bytes", 0xFFFFFFFF), lies.get("small_directory", 0xFFFFFFFF), 0)
    return body + central + end64 + locator + end


def zips():
    good = zip_of(Entry(), Entry(b"b.png", b"x" * 300, 8), Entry(b"c.txt", b"text"))
    for cut in range(0, len(good), 9):
        yield "cut", good[:cut], "format"
    for n in (1, 2, 16, 512, 65536):
        yield "prepended", b"#" * n + good, "format"
        yield "prepended", zip_of(Entry(), before=b"PK\3\4" + b"#" * n), "format"
        yield "inserted", zip_of(Entry(), between=b"#" * n), "format"
        yield "appended", good + b"#" * n, "format"
        yield "appended", good + bytes(n), "format"
    for lies in ({"local_magic": b"PK\3\5"}, {"local_magic": bytes(4)}, {"local_flags": 8}, {"local_flags": 1}, {"local_method": 8}, {"local_method": 12}, {"local_crc": 1}, {"local_crc": 0}, {"local_stored": 3},
                 {"local_stored": 0}, {"local_size": 5}, {"local_size": 0}, {"local_name": b"b.png"}, {"local_name": b"a.pn"}, {"local_name": b"aa.png"}, {"local_name": b"A.png"}, {"local_name_bytes": 4},
                 {"local_name_bytes": 0xFFFF}, {"local_extra_bytes": 0xFFFF}, {"local_stored": 0xFFFFFFFF}, {"local_size": 0xFFFFFFFF, "local_extra": b"\1\0\x04\0abcd"}, {"crc": 5}, {"stored": 5}, {"stored": 3}, {"size": 3},
                 {"size": 5}, {"stored": 0xFFFFFFFE, "size": 0xFFFFFFFE}, {"method": 8, "local_method": 0}, {"flags": 8, "local_flags": 0}, {"offset": 1}, {"offset": 4}, {"offset": 0xFFFFFFFE}, {"offset": 30}):
        yield "headers-disagree", zip_of(Entry(**lies)), "format"
        yield "headers-disagree", zip_of(Entry(b"0.png"), Entry(b"z.png", b"y" * 50, **({"local_name": b"y.png"} if "local_name" in lies and len(lies["local_name"]) == 5 else lies))), "format"
    for lies in ({"magic": b"PK\1\3"}, {"magic": bytes(4)}, {"name_bytes": 4}, {"name_bytes": 6}, {"name_bytes": 0xFFFF}, {"extra_bytes": 1}, {"extra_bytes": 0xFFF}, {"comment_bytes": 1}, {"comment_bytes": 0xFFFF},
                 {"extra": b"\1\0\xff\0abcd"}, {"extra": b"\1\0\0\0", "size": 0xFFFFFFFF}, {"size": 0xFFFFFFFF}, {"stored": 0xFFFFFFFF}, {"offset": 0xFFFFFFFF}):
        yield "directory", zip_of(Entry(**lies)), "format"
    first, second = Entry(b"a.png", b"x" * 100), Entry(b"b.png", b"y" * 100)
    for shift in range(0, 130, 7):
        # two entries into one local header, and one whose local header lies in the data of another
        yield "overlap", zip_of(first, Entry(b"b.png", b"y" * 100, offset=shift)), "format"
        inner = Entry(b"n.png", b"inner")
        outer = Entry(b"o.png", bytes(shift) + inner.local() + bytes(10))
        inner.lies["offset"] = 30 + 5 + shift
        body = outer.local()
        central = outer.central(0) + inner.central(0)
        yield "overlap-nested", body + central + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, len(central), len(body), 0), "format"
    same = first.local()
    central = first.central(0) + Entry(b"a.png", b"x" * 100).central(0)
    yield "twice-into-one", same + central + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, len(central), len(same), 0), "format"
    for method in (1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 14, 18, 19, 93, 94, 95, 96, 97, 98, 99, 0xFFFF):
        yield "method", zip_of(Entry(method=method)), "unsupported"
    for flags in (1, 9, 65, 0x801):
        yield "encrypted", zip_of(Entry(flags=flags)), "unsupported"
    for disk in (1, 2, 0xFFFE):
        yield "disks", zip_of(Entry(), disk=disk), "unsupported"
    for count in (0, 1, 3, 4, 100, 0xFFFE, 0xFFFF):
        yield "count", zip_of(Entry(), Entry(b"b.png"), count=count), "format"
    for lies in ({"directory": 0}, {"directory": 1}, {"directory": 0xFFFFFFFE}, {"directory_bytes": 0}, {"directory_bytes": 45}, {"directory_bytes": 0xFFFFFFFE}, {"comment_bytes": 1}, {"comment_bytes": 0xFFFF},
                 {"comment": b"abc", "comment_bytes": 2}, {"comment": b"abc", "comment_bytes": 0}):
        yield "end", zip_of(Entry(), **lies), "format"
    for i in range(2, 12):
        entries = [Entry(b"%d.png" % k) for k in range(i)]
        yield "name-twice", zip_of(*entries, Entry(b"%d.png" % (i // 2), b"other")), "duplicate"
        yield "name-twice", zip_of(Entry(b"a.png"), *entries, Entry(b"a.png")), "duplicate"
    data = bytes(range(256)) * 4
    for at in range(0, 1000, 40):
        yield "stored-damaged", zip_of(Entry(data=data, payload=data[:at] + b"?" + data[at + 1:])), "read:checksum" if data[at:at + 1] != b"?" else "ok"
    deflated = zlib.compress(data, wbits=-15)
    for change in (b"\xff" + deflated[1:], deflated[:-1] + b"\xff", deflated[:20] + b"\xff" * 20 + deflated[40:], bytes(len(deflated))):
        yield "deflate-damaged", zip_of(Entry(data=data, method=8, payload=change)), "read:format"
    for size in (0, 1, 1000, 1023, 1025, 5000, 100000):
        yield "deflate-size", zip_of(Entry(data=data, method=8, size=size, local_size=size)), "read:format"
    for size in (1 << 24, 1 << 28, (1 << 32) - 2):
        yield "deflate-ratio", zip_of(Entry(data=data, method=8, size=size, local_size=size)), "read:limit"
    yield "deflate-trailing", zip_of(Entry(data=data, method=8, payload=deflated + b"#", stored=len(deflated) + 1, local_stored=len(deflated) + 1)), "read:format"
    for entry_lies in ({"extra": struct.pack("<HHQQ", 1, 16, 4, 4), "size": 0xFFFFFFFF, "stored": 0xFFFFFFFF},):
        entry = Entry(**entry_lies)
        yield "zip64", zip64_of(entry), "ok"
        for lies in ({"magic": b"PK\6\5"}, {"bytes": 43}, {"bytes": 45}, {"bytes": 1 << 60}, {"count": 2, "count_here": 2}, {"count": 1 << 60, "count_here": 1 << 60}, {"directory_bytes": 1}, {"directory_bytes": 1 << 63},
                     {"directory": 0}, {"directory": 1 << 63}, {"locator": 0}, {"locator": 1 << 63}, {"locator": 5}, {"small_count": 2}, {"small_bytes": 7}, {"small_directory": 7}):
            yield "zip64-lies", zip64_of(entry, **lies), "limit" if lies.get("count", 0) == 1 << 60 else "format"
        for lies in ({"disk": 1}, {"count_here": 0}):
            yield "zip64-disks", zip64_of(entry, **lies), "unsupported"
    for extra in (struct.pack("<HHQ", 1, 8, 4), struct.pack("<HHI", 1, 4, 4), struct.pack("<HHQQ", 2, 16, 4, 4), struct.pack("<HHQQ", 1, 16, 5, 4), struct.pack("<HHQQ", 1, 16, 4, 1 << 63)):
        yield "zip64-extra", zip_of(Entry(extra=extra, size=0xFFFFFFFF, stored=0xFFFFFFFF)), "format"
    for name in (b"a\0.png", b"\0", b"a.png\0"):
        yield "name-zero", zip_of(Entry(name)), "format"
    yield "name-long", zip_of(Entry(b"n" * (NAME_MAX - 4) + b".png")), "ok"
    for n in (NAME_MAX - 3, 5000, 65000):
        yield "name-long", zip_of(Entry(b"n" * n + b".png")), "limit"
    yield "extra-long", zip_of(Entry(extra=b"\x99\x99" + struct.pack("<H", 4092) + bytes(4092))), "ok"
    yield "extra-long", zip_of(Entry(extra=b"\x99\x99" + struct.pack("<H", 4093) + bytes(4093))), "limit"
    yield "false-end", zip_of(Entry(), comment=zip_of(Entry())[-22:]), "ok"  # its directory is not where it says
    for inner in (Entry(), Entry(b"other.png", b"other")):
        # both end records have their directory before them and end with the file
        outer = zip_of(Entry())
        comment = inner.central(0)
        comment += struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(comment), len(outer), 0)
        yield "two-ends", zip_of(Entry(), comment=comment), "format"
    for text in (b"", b"[]", b"{", b'{"labels": 3}', b'{"labels": {}}', b'{"labels": [', b'{"labels": [[]]}', b'{"labels": [["a.png"]]}', b'{"labels": [["a.png", "x"]]}', b'{"labels": [["a.png", 1.5]]}',
                 b'{"labels": [["a.png", 1], ["b", [1]]]}', b'{"labels": [["a.png", 1]', b'{"labels": [["a.png", 1e400]]}', b'{"labels": [[3, 1]]}'):
        yield "labels", zip_of(Entry(), Entry(b"dataset.json", text)), "format"
    yield "no-picture", zip_of(Entry(b"a.txt")), "format"
    for entry in (Entry(b"a.png", b""), Entry(b"a.png", method=8), Entry(flags=8, local_crc=0, local_stored=0, local_size=0), Entry(extra=b"\x99\x99\0\0"), Entry(b"d/e/a.png", flags=0x800)):
        yield "odd", zip_of(entry), "ok"
    yield "odd", zip_of(Entry(), comment=b"PK\5\6 nearly"), "ok"


# frames

def frame(kind=16, payload=b"{}", magic=b"AMBP", version=1, flags=0, length=None, request=1):
    return struct.pack("<4sBBHII", magic, version, kind, flags, len(payload) if length is None else length, request) + payload


TYPES = {1, 2, 3, 4, 5, 16, 17, 18, 19, 20, 21, 22, 32, 33, 34, 35, 36, 37, 38, 39, 48}


def frames(types=TYPES):
    for bit in range(32):
        magic = bytearray(b"AMBP")
        magic[bit // 8] ^= 1 << bit % 8
        yield "magic", frame(magic=bytes(magic)), "protocol"
    for version in (*range(0, 1), *range(2, 40), 127, 128, 255):
        yield "version", frame(version=version), "version"
    for kind in (0, *range(64, 256, 4), 255):
        yield "type", frame(kind), "protocol"
    for bit in range(16):
        yield "flags", frame(16, flags=1 << bit), "protocol"
        yield "flags", frame(5, flags=1 << bit), "ok" if bit == 0 else "protocol"
    for length in (65537, 65538, 100000, 1 << 17, 1 << 20, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1):
        yield "length", frame(length=length), "limit"
    for n in range(1, 16):
        yield "cut", frame()[:n], "incomplete"
    for n in (3, 10, 100, 65536):
        yield "cut", frame(length=n), "incomplete"
    lend = struct.pack("<IIQQIIQII", 1, 2, 3, 4, 0, 0, 5, 2, 0) + b"{}"
    yield "lend", frame(34, lend), "ok"
    for n in range(0, 48, 6):
        yield "lend", frame(34, lend[:n]), "protocol"
    for at, value in ((40, 0), (40, 1), (40, 3), (40, 0xFFFFFFFF), (44, 1), (24, 4), (24, 0x80000000)):
        yield "lend", frame(34, lend[:at] + struct.pack("<I", value) + lend[at + 4:]), "protocol"
    done = struct.pack("<II", 1, 0)
    yield "done", frame(35, done), "ok"
    for payload in (b"", done[:7], done + b"\0", struct.pack("<II", 1, 1), struct.pack("<II", 1, 1 << 31), done * 2):
        yield "done", frame(35, payload), "protocol"
    request = struct.pack("<IIQ16s16s", 1, 0, 0, bytes(16), bytes(16)) + struct.pack("<d", 0.5)
    yield "request", frame(37, request), "ok"
    for n in (0, 4, 47, 48, 55):
        yield "request", frame(37, request[:n]), "protocol"
    for at, value in ((0, 0), (0, 2), (0, 0xFFFFFFFF), (0, 0x20000001), (4, 2), (4, 0xFFFFFFFF)):
        yield "request", frame(37, request[:at] + struct.pack("<I", value) + request[at + 4:]), "protocol"
    for text, verdict in ((b"", "format"), (b"{", "format"), (b"nul", "format"), (b"[" * 17 + b"]" * 17, "limit"), (b"[" * 16 + b"]" * 16, "ok"), (b"{}\0", "format"), (b"{} x", "format")):
        yield "payload", frame(16, text), verdict
    for n in range(10):
        yield "second-frame", frame() * n + frame(magic=b"BMBP"), "protocol"


# JSON

JSON_BAD = [b"", b" ", b"\0", b"{", b"}", b"[", b"]", b"[1,]", b"[,1]", b"[1 2]", b"{,}", b'{"a"}', b'{"a":}', b'{"a":1,}', b'{"a" 1}', b"{a:1}", b"{'a':1}", b"{1:1}", b'{"a":1 "b":2}', b'{"a":1,,"b":2}', b'["a', b'["a\\"]', b'["\\x"]',
            b'["\\u12"]', b'["\\u12g4"]', b'["\\u+123"]', b'["\n"]', b'["\t"]', b'["\x01"]', b'["\x1f"]', b'["\0"]', b"[nul]", b"[NULL]", b"[True]", b"[tru]", b"[truex]", b"[NaN]", b"[nan]", b"[Infinity]", b"[-Infinity]", b"[inf]", b"[01]",
            b"[00]", b"[-01]", b"[1.]", b"[.5]", b"[-.5]", b"[+1]", b"[-]", b"[--1]", b"[1e]", b"[1e+]", b"[1.e5]", b"[1e5.5]", b"[0x10]", b"[1_000]", b"[1,000.]", b"[1.2.3]", b"[1-2]", b"[e5]", b"[\x0b1]", b"[\x0c1]", b"[\xa01]", b"[1\0]",
            b"\xef\xbb\xbf", b"\xff\xfe[\0]\0", b"[\xc3\xa4]", b'["\xff"]', b'["\xc3"]', b'["\xc0\xaf"]', b'["\xed\xa0\x80"]', b'["\xf4\x90\x80\x80"]', b'["\xe2\x82"]', b'["\xf0\x9f\x98"]', b'["\x80"]', b"/**/[1]", b"[1]//", b"[1/**/]",
            b"{} {}", b"[] []", b"[]]", b"{}}", b"1 2", b"[1]\0", b"[1] x", b'"a" "b"', b'"', b"'a'", b"`a`", b"[1;2]", b"(1)", b"<1>", b"undefined", b"None"]


def json_document():
    return json.dumps({"dataset": "main", "batch_size": 8, "fields": ["x_t", "sigma_t:f16"], "options": {"seed": "7", "s": [1.5, -2e-3, 0, True, None], "name": "\u00e4\u6f22\U0001f600 \\ \" \n"}}, ensure_ascii=False).encode()


def jsons():
    for text in JSON_BAD:
        yield "bad", text, "format"
        if not text.startswith((b"\xef", b"\xff", b" ", b"\0")) and text:
            yield "bad-inside", b'{"a":' + text + b"}", "format"
    document = json_document()
    for cut in range(0, len(document), 3):
        yield "cut", document[:cut], "format"
    for depth in range(1, 33):
        for text in (b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth):
            yield "deep", text, "ok" if depth <= 16 else "limit"
    yield "deep", b"[" * 60000, "limit"
    yield "zero-character", b'["a\\u0000b"]', "format"
    yield "zero-character", b'{"seed\\u0000x": 1}', "format"
    for text in (b"\\ud800", b"\\udc00", b"\\ud800\\ud800", b"\\ud800x"):
        yield "surrogate", b'["' + text + b'"]', "format"
    for text in (b"0", b"-0", b"1e5", b"1E+5", b"-1.25e-7", b"9007199254740993", b"true", b"null", b'"\\ud83d\\ude00"', b'"\\/\\b\\f"', b"[]", b"{}", b' \t\r\n{"a" : [ 1 , 2 ] } \n', b'"\x7f"', b'{"a":1,"a":2}'):
        yield "good", text, "ok"


# annotations.jsonl

# Fields that nobody reads may hold what Python's json writes, and stray bytes of names that are not UTF-8.
JSON_BAD_UNREAD = {b"[NaN]", b"[Infinity]", b"[-Infinity]", *(text for text in JSON_BAD if text.startswith(b'["') and max(text) > 0x7F)}


def jsonls():
    first = b'{"filename": "a.png", "sigma_min": 0.5}\n'
    for text in JSON_BAD:
        if b"\n" in text or text.strip(b" \t\r") == b"" or text == b"\xef\xbb\xbf":
            continue
        yield "bad", first + text + b"\n", "format"
        if text not in JSON_BAD_UNREAD:
            yield "bad-unread", b'{"key": "a", "x": ' + text + b"}\n", "format"
    for value in (b"NaN", b"-1", b'"many"', b"-0.001", b"true", b"{}", b"[]", b'"-inf"', b"-Infinity", b"1e999", b'"1"', b"[1]", b"+1", b"0x1", b'"inf', b"01", b"1.", b".5", b'""', b'"nan"', b'"NaN"', b'"INF"', b"1e", b"-"):
        for key in (b"sigma_min", b"sigma_max", b"sigma"):
            yield "sigma", first + b'{"filename": "b.png", "' + key + b'": ' + value + b"}\n", "format"
    for value in (b'["a"]', b"3", b"true", b"{}", b'"\\ud800"', b'"a\x01"'):
        for key in (b"filename", b"key", b"__key__", b"path", b"image"):
            yield "name", b'{"' + key + b'": ' + value + b', "sigma_min": 1}\n', "format"
    for value in (b"-1", b"1.5", b'"3"', b"1e300", b"true", b"[]", b"9007199254740992"):
        yield "index", b'{"index": ' + value + b', "sigma_min": 1}\n', "format"
    for value in (b"[1]", b"[1, 2, 3]", b"[1,]", b'["a", 1]', b"[-1, 2]", b"[NaN, 1]", b"[[1], 2]", b"[null null]", b'{"a": 1}', b"true"):
        yield "annotation", b'{"key": "a", "annotation": ' + value + b"}\n", "format"
    for value in (b"[]", b"1.5", b"-0.1", b'"0.5"', b"[0.5, 2]", b"[NaN]", b"[0.5,]", b"{}", b"[[0.5]]", b"true"):
        for size in (1, 8, 64):
            yield "crops", b'{"key": "a", "crop_predictions_%d": ' % size + value + b"}\n", "format"
    for size in (b"0", b"2", b"7", b"128", b"x", b"08", b"1000000", b""):
        yield "crop-size", b'{"key": "a", "crop_predictions_' + size + b'": [0.5]}\n', "format"
    for text in (b'{"sigma_min": 1}', b"{}", b'{"key": null, "sigma_min": 1}', b'{"key": "", "sigma_min": 1}', b'{"other": "a", "sigma_min": 1}'):
        yield "nameless", text + b"\n", "format"
    for depth in range(10, 24):
        # the object of the line counts as one
        yield "deep", b'{"key": "a", "x": ' + b"[" * depth + b"]" * depth + b"}\n", "ok" if depth + 1 <= 16 else "format"
    document = first.strip()
    for cut in range(1, len(document)):
        yield "cut", first + document[:cut], "format"
    for text in (b"", b"\n\n", b"\xef\xbb\xbf" + first, first.replace(b"\n", b"\r\n"), first.strip(), first * 50, b'{"key": "a"}\n', b'{"key": "a", "sigma_min": "inf", "sigma_max": null}\n', b'{"key": "a", "x": NaN, "y": [Infinity]}\n',
                 b'{"key": "a", "sigma_min": Infinity}\n', b'{"idx": 3, "annotation": [0.5, null]}\n'):
        yield "good", text, "ok"


# dataset.json

def label_texts():
    good = b'{"labels": [["a.png", 3], ["b.png", 4]], "x": 1}'
    for cut in range(len(good) - 9):
        yield "cut", good[:cut], "format"
    for value in (b'"x"', b"1.5", b"1e400", b"-", b"+1", b".5", b"{}", b"[]", b"[1,]", b'["a"]', b"[NaN]", b"[1e999]", b"nul", b"tru", b"[[1]]", b"9007199254740994", b"1e17", b"-9007199254740994", b"0x1", b"[1 2]", b"[1", b"1,2"):
        for index in range(6):
            rows = [b'["%d.png", [0]]' % k if value.startswith(b"[") else b'["%d.png", 0]' % k for k in range(index)]
            yield "value", b'{"labels": [' + b", ".join([*rows, b'["x", ' + value + b"]"]) + b"]}", "format"
    for name in (b"3", b"null", b"a", b"'a'", b'"a', b'"\\x"', b'"\x01"', b'"\\ud800"', b"[]"):
        yield "name", b'{"labels": [[' + name + b", 3]]}", "format"
    for text in (b"", b"[]", b"3", b"null", b"{", b'{"a"}', b'{"labels"}', b'{"labels": 3}', b'{"labels": {}}', b'{"labels": "x"}', b'{"labels": [3]}', b'{"labels": [[]]}', b'{"labels": [["a"]]}', b'{"labels": [["a", 1, 2]]}', b'{"labels": [["a", 1],]}'):
        yield "shape", text, "format"
    for pair in ((b"1", b"[1]"), (b"[1]", b"1"), (b"[1]", b"[1, 2]"), (b"null", b"[1]"), (b"[1]", b"null")):
        yield "mixed", b'{"labels": [["a", %s], ["b", %s]]}' % pair, "format"
    yield "width", b'{"labels": [["a", [' + b"1," * 65535 + b"1]]]}", "ok"
    yield "width", b'{"labels": [["a", [' + b"1," * 65536 + b"1]]]}", "format"
    for text in (b"{}", b'{"labels": null}', b'{"labels": []}', good, b'\xef\xbb\xbf' + good, b'{"x": {"labels": 3}, "labels": [["a", -9007199254740992]]}', b'{"labels": [["a", true], ["b", null]]}'):
        yield "good", text, "ok"


# pictures

def encode(kind, size=(24, 20), mode="RGB", **options):
    rng = random.Random(f"{kind}{size}{mode}")
    image = Image.frombytes(mode, size, rng.randbytes(size[0] * size[1] * len(Image.new(mode, (1, 1)).tobytes())))
    if mode == "P":
        image.putpalette(rng.randbytes(768))
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def sniffs(kind, magic):
    """Beginnings that are of no format."""
    yield "empty", b"", "format"
    for n in range(1, len(magic)):
        yield "magic-cut", magic[:n], "format"
    for bit in range(8 * len(magic)):
        data = bytearray(kind)
        data[bit // 8] ^= 1 << bit % 8
        yield "magic-flipped", bytes(data), "format"


def segments(data):
    """(offset, marker, length) of a JPEG's segments up to SOS."""
    at = 2
    while True:
        marker, length = data[at + 1], int.from_bytes(data[at + 2:at + 4], "big")
        yield at, marker, length
        if marker == 0xDA:
            return
        at += 2 + length


def jpegs():
    good = encode("jpeg", quality=90)
    progressive = encode("jpeg", quality=90, progressive=True)
    grey = encode("jpeg", mode="L", quality=90)
    yield from sniffs(good, b"\xff\xd8\xff")
    for data in (good, progressive, grey):
        yield "good", data, "ok"
        for i in range(30):
            yield "cut", data[:3 + (len(data) - 60) * i // 30], "format"
    places = {marker: at for at, marker, _ in segments(good)}
    sof, sos, dht, dqt = places[0xC0], places[0xDA], places[0xC4], places[0xDB]

    def patched(at, value, data=good):
        return data[:at] + value + data[at + len(value):]

    for height, width in ((0, 24), (20, 0), (0, 0)):
        yield "empty-side", patched(sof + 5, struct.pack(">HH", height, width)), "format"
    for height, width in ((16384, 24), (20, 16384), (65535, 65535), (16383, 16383), (65500, 65500), (20000, 1), (1, 20000), (8192, 8193), (65535, 24), (24, 65535)):
        verdict = "limit" if max(height, width) > 16383 or height * width > 64 << 20 else "format"
        yield "side", patched(sof + 5, struct.pack(">HH", height, width)), verdict
    for bits in (0, 1, 7, 9, 12, 16, 255):
        yield "precision", patched(sof + 4, bytes([bits])), "unsupported"
    for marker in (0xC3, 0xC5, 0xC6, 0xC7, 0xC8, 0xCB, 0xCD, 0xCE, 0xCF):
        yield "sof", patched(sof + 1, bytes([marker])), "unsupported"
    for n in (0, 1, 2, 4, 5, 10, 255):
        yield "components", patched(sof + 9, bytes([n])), "format"
    for factors in (0x00, 0x01, 0x10, 0x51, 0x15, 0x55, 0xFF):
        yield "sampling", patched(sof + 11, bytes([factors])), "format"
    # without Huffman tables those of the standard hold, which Pillow wrote: an empty segment or none is no loss
    for length in (0, 1, 2, 3, 7):
        for at in (sof, sos, dht, dqt):
            yield "segment-length", patched(at + 2, struct.pack(">H", length)), "ok" if (at, length) == (dht, 2) else "format"
    for at in (sof, sos, dht, dqt):
        length = int.from_bytes(good[at + 2:at + 4], "big")
        yield "segment-missing", good[:at] + good[at + 2 + length:], "ok" if at == dht else "format"
    yield "quantiser", patched(dqt + 4, b"\x0f"), "format"
    for table in (0x04, 0x0F, 0x14, 0x44, 0xFF):
        yield "huffman", patched(dht + 4, bytes([table])), "format"
    yield "huffman", patched(dht + 5, b"\xff" * 16), "format"
    for n in (0, 4, 5, 255):
        yield "scan", patched(sos + 4, bytes([n])), "format"
    for start, stop, approx in ((1, 0, 0), (64, 63, 0), (0, 64, 0), (0, 63, 0xEF)):
        at = next(a for a, m, _ in segments(progressive) if m == 0xDA)
        n = progressive[at + 4]
        yield "progression", patched(at + 5 + 2 * n, bytes([start, stop, approx]), progressive), "format"
    body = good[2:]
    yield "no-picture", b"\xff\xd8\xff\xd9", "format"
    yield "no-picture", b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(9), "format"
    yield "soi-twice", b"\xff\xd8\xff\xd8" + body, "format"
    yield "sof-twice", good[:sof] + good[sof:sof + 2 + 17] * 2 + good[sof + 19:], "format"
    yield "scan-bytes", good[:sos + 14] + b"\xff\xd9", "format"
    for fill in (b"\0", b"\xff\x00", b"\xff\xd0", b"\xaa"):
        yield "scan-bytes", good[:sos + 14] + fill * (4 if fill != b"\0" else 1) + b"\xff\xd9", "format"
    yield "trailing", good + b"rubbish", "ok"
    yield "comment", good[:2] + b"\xff\xfe\0\5abc" + body, "ok"
    yield "comment", good[:2] + b"\xff\xff\xff\xfe\0\5abc" + body, "ok"


def chunk(name, data, crc=None):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) if crc is None else crc)


def png_chunks(data):
    at = 8
    while at < len(data):
        length = int.from_bytes(data[at:at + 4], "big")
        yield data[at + 4:at + 8], data[at + 8:at + 8 + length], at
        at += 12 + length


def png_of(width=4, height=4, bits=8, colour=2, compression=0, filters=0, interlace=0, rows=None, extra=(), end=True, level=9):
    rows = bytes(1 + 3 * 4) * 4 if rows is None else rows
    idat = zlib.compress(rows, level) if isinstance(rows, bytes) else rows[0]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, compression, filters, interlace))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", idat) + (chunk(b"IEND", b"") if end else b"")


def pngs():
    good = encode("png")
    yield from sniffs(good, b"\x89PNG\r\n\x1a\n")
    yield "good", good, "ok"
    yield "good", png_of(), "ok"
    for i in range(40):
        yield "cut", good[:8 + (len(good) - 8) * i // 40], "format"
    for name, data, at in png_chunks(good):
        if name in (b"IDAT", b"IEND"):
            for i in range(20 if name == b"IDAT" else 4):
                where = at + 8 + (len(data) + 4) * i // 20 if name == b"IDAT" else at + 8 + i
                damaged = bytearray(good)
                damaged[where] ^= 0x55
                # libpng inflates and filters before it has the whole chunk: damage of the data may show there first
                yield "crc", bytes(damaged), "checksum" if where >= at + 8 + len(data) else "checksum|format"
    for at in range(29, 33):
        damaged = bytearray(good)
        damaged[at] ^= 1
        yield "crc", bytes(damaged), "checksum"
    for width, height in ((0, 4), (4, 0), (0, 0)):
        yield "empty-side", png_of(width, height), "format"
    for width, height in ((16384, 4), (4, 16384), (1_000_000, 1_000_000), (2**31 - 1, 1), (2**31, 1), (2**32 - 1, 2**32 - 1), (8193, 8193), (16383, 16383)):
        yield "side", png_of(width, height), "limit"
    for bits, colour in ((0, 0), (3, 0), (5, 0), (32, 0), (1, 2), (2, 2), (4, 2), (16, 3), (1, 4), (2, 4), (4, 4), (1, 6), (4, 6), (8, 1), (8, 5), (8, 7), (8, 255), (255, 2)):
        yield "colour", png_of(bits=bits, colour=colour), "format"
    for options in ({"compression": 1}, {"compression": 255}, {"filters": 1}, {"filters": 64}, {"interlace": 2}, {"interlace": 255}):
        yield "method", png_of(**options), "format"
    yield "palette-missing", png_of(colour=3, rows=bytes(5) * 4), "format"
    for n in (1, 2, 4, 5):
        yield "palette-length", png_of(colour=3, rows=bytes(5) * 4, extra=[chunk(b"PLTE", bytes(n))]), "format"
    yield "palette-length", png_of(colour=3, rows=bytes(5) * 4, extra=[chunk(b"PLTE", bytes(3 * 257))]), "format"
    for n in range(13):
        yield "header-length", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(n)) + chunk(b"IEND", b""), "format"
    yield "header-missing", b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b"") + chunk(b"IEND", b""), "format"
    for n in range(0, 52, 2):
        yield "rows-missing", png_of(rows=(bytes(13) * 4)[:n]), "format"
    for kind in range(5, 30):
        yield "filter", png_of(rows=bytes([kind]) + bytes(12) + bytes(13) * 3), "format"
    for text in (b"", b"\0", b"x", b"\x78", b"\x78\x9c", b"\x08\x1d", b"\xff\xff\xff\xff", b"\x78\x9c\xff\xff\xff\xff"):
        yield "deflate", png_of(rows=[text]), "format"
    yield "end-missing", png_of(end=False), "format"
    yield "data-missing", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)) + chunk(b"IEND", b""), "format"
    for name in (b"ABCD", b"QQQQ", b"IDAU"):
        yield "critical", png_of(extra=[chunk(name, b"abc")]), "format"
    for name in (b"tEXt", b"abCd", b"gAMA", b"iCCP", b"zTXt"):
        yield "ancillary", png_of(extra=[chunk(name, b"abc")]), "ok"
        yield "ancillary-crc", png_of(extra=[chunk(name, b"abc", crc=7)]), "checksum"
    for length in (2**31 - 1, 2**31, 2**32 - 1, 1 << 24):
        yield "chunk-length", good[:33] + struct.pack(">I", length) + good[37:], "format"


def webps():
    lossy, lossless = encode("webp", quality=80), encode("webp", lossless=True)
    alpha, extended = encode("webp", mode="RGBA", quality=80), encode("webp", lossless=True, exif=Image.Exif().tobytes() or b"Exif\0\0II*\0\x08\0\0\0\0\0")
    yield from sniffs(lossy, b"RIFF")
    for bit in range(32):
        data = bytearray(lossy)
        data[8 + bit // 8] ^= 1 << bit % 8
        yield "magic-flipped", bytes(data), "format"
    for data in (lossy, lossless, alpha, extended):
        yield "good", data, "ok"
        for i in range(28):
            yield "cut", data[:12 + (len(data) - 40) * i // 28], "format"
    for size in (0, 1, 4, 11, 12, 2**32 - 1, 2**32 - 10, 2**31):
        yield "riff-size", lossy[:4] + struct.pack("<I", size) + lossy[8:], "format"
    for size in (0, 1, 9, 2**32 - 1, 2**32 - 10, 2**31, len(lossy)):
        yield "chunk-size", lossy[:16] + struct.pack("<I", size) + lossy[20:], "format"
        # libwebp reads a lossless picture to its end, whatever its chunk says, within the file
        yield "chunk-size", lossless[:16] + struct.pack("<I", size) + lossless[20:], "ok" if size < len(lossless) else "format"
    for name in (b"VP8P", b"vp8 ", b"ANIM", b"\0\0\0\0", b"VP9 "):
        yield "chunk-name", lossy[:12] + name + lossy[16:], "format"
    for at in (23, 24, 25):
        for flip in (1, 0x80, 0xFF):
            data = bytearray(lossy)
            data[at] ^= flip
            yield "start-code", bytes(data), "format"
    for flip in (1, 2, 0x80):
        data = bytearray(lossless)
        data[20] ^= flip
        yield "lossless-magic", bytes(data), "format"
    for version in range(1, 8):
        data = bytearray(lossless)
        data[24] = data[24] & 0x1F | version << 5
        yield "lossless-version", bytes(data), "format"
    data = bytearray(lossy)
    data[20] |= 1
    yield "no-key-frame", bytes(data), "format"
    for width, height in ((0, 20), (24, 0)):
        yield "empty-side", lossy[:26] + struct.pack("<HH", width, height) + lossy[30:], "format"
    animated = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + b"\x17\0\0\x13\0\0" + b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    animated += b"ANMF" + struct.pack("<I", 16 + len(lossless) - 12) + bytes(6) + b"\x17\0\0\x13\0\0" + bytes(4) + lossless[12:]
    yield "animated", b"RIFF" + struct.pack("<I", len(animated)) + animated, "unsupported"
    for n in range(0, 10):
        body = b"WEBPVP8X" + struct.pack("<I", n) + bytes(n + n % 2) + lossless[12:]
        yield "extended-length", b"RIFF" + struct.pack("<I", len(body)) + body, "format"


def npys():
    def array(head=None, data=bytes(24), version=1, minor=0, length=None, magic=b"\x93NUMPY"):
        head = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4, 3), }\n" if head is None else head
        size = (2 if version == 1 else 4)
        return magic + bytes([version, minor]) + (len(head) if length is None else length).to_bytes(size, "little") + head + data

    def header(descr="'|u1'", order="False", shape="(2, 4, 3)"):
        return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()

    good = array()
    for version in (1, 2, 3):
        yield "good", array(version=version), "ok"
    for cut in range(0, len(good)):
        yield "cut", good[:cut], "format"
    for bit in range(48):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        yield "magic", bytes(data), "format"
    for version in (0, 4, 5, 127, 255):
        yield "version", array(version=version), "version"
    for n in (0, 1, 2, 12, 62, 64, 65, 200, 0xFFFF):
        yield "header-length", array(length=n), "unsupported" if n == 12 else "format"  # cut inside descr
    for n in (0, 1, 23, 25, 100):
        yield "data-length", array(data=bytes(n)), "format"
    for descr in ("'>u2'", "'|b1'", "'<c8'", "'<U5'", "'|O'", "'|V4'", "'<f16'", "'>f4'", "'u1'", "''", "'|u1|u1'", "'<m8'", "[('a', '<f4')]", "3", "None", "'" + "x" * 100 + "'", "'|u1"):
        yield "descr", array(header(descr=descr)), "unsupported"
    yield "order", array(header(order="True")), "unsupported"
    for order in ("true", "1", "0", "None", "'False'", "fALSE", ""):
        yield "order", array(header(order=order)), "format"
    for shape in ("2, 4, 3", "[2, 4, 3]", "(2, 4, x)", "(-2, 4, 3)", "(2 4 3)", "(2,, 3)", "(2.0, 4, 3)", "(0x2, 4, 3)", "(2, 4, 3", "None", "24", "(99999999999999999999999999,)", "(,)", "(2, '4', 3)", "('2')", "(2, 4, 3))"):
        yield "shape", array(header(shape=shape)), "format"
    for shape in ("(4294967296, 4294967296, 4294967296)", "(18446744073709551615, 2)", "(9223372036854775807, 9223372036854775807)"):
        yield "shape-overflow", array(header(shape=shape)), "limit"
    for shape in ("(1, 1, 1, 1, 1, 1, 1, 1, 24)", "(" + "1," * 200 + ")"):
        yield "dimensions", array(header(shape=shape)), "unsupported"
    for head in (b"", b"\n", b"{}", b"{}\n", b"[]\n", b"{'descr': '|u1'}\n", b"{'descr': '|u1', 'fortran_order': False}\n", header()[:-3], header() + b"x", header().replace(b"'descr'", b"descr"), header().replace(b"shape", b"shapes"),
                 header().replace(b",", b""), header().replace(b":", b"="), header().replace(b"}", b"]"), b"#" + header(), header().replace(b"{", b"{'x': 1, "),
                 header().replace(b"{", b"{'descr': '|u1', "), b"__import__('os')\n", b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4, 3)} + {}\n"):
        yield "dict", array(head), "format"
    yield "dict", array(header().replace(b"'shape'", b"'descr'")), "unsupported"
    for data in (array(header(shape="()"), b"\0"), array(header(shape="(0,)"), b""), array(header(descr="'<f4'", shape="(6,)")), array(header(descr='"|u1"')), array(header(shape="(2L, 4L, 3L)")), array(header(descr="'<f2'", shape="(12,)"))):
        yield "good", data, "ok"


KINDS = {"tar": tars, "zip": zips, "frame": frames, "json": jsons, "jsonl": jsonls, "label": label_texts, "jpeg": jpegs, "png": pngs, "webp": webps, "npy": npys}


def write(folder):
    """Every file; returns the rows (kind, path, verdict)."""
    rows = []
    for kind, generate in KINDS.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for i, (family, data, verdict) in enumerate(generate()):
            path = folder / kind / f"{i:04d}-{family}"
            path.write_bytes(data)
            rows.append((kind, path, verdict))
    (folder / "list").write_text("".join(f"{kind} {path} {verdict}\n" for kind, path, verdict in rows))
    return rows


if __name__ == "__main__":
    found = write(pathlib.Path(sys.argv[1]))
    print(f"{len(found)} files:", ", ".join(f"{kind} {sum(k == kind for k, _, _ in found)}" for kind in KINDS))

"""Small files that ask for much: time, memory, or one member many times. Each with the verdict that it must get.

`ok` stands where the file is legal and what it hides must simply not be touched (a text chunk that inflates to 100 MiB).
"""

import struct
import zlib

from make import Entry, chunk, png_of, tar_header, tar_member, zip_of

MIB = 1 << 20


def deflated_zeros(n, head=b"", fill=b"\0"):
    """Raw deflate of head and n bytes, without holding them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    parts = [packer.compress(head)]
    block = fill * MIB
    for _ in range(n // MIB):
        parts.append(packer.compress(block))
    parts.append(packer.compress(fill * (n % MIB)))
    return b"".join(parts) + packer.flush()


def end(body, central, count):
    return body + central + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(central), len(body), 0)


# zip: one run of bytes as the data of many members

def zip_same_entry(n):
    """n names for one local header: the first thing that everybody tries."""
    entry = Entry(b"a.png", bytes(1000), 8)
    return end(entry.local(), b"".join(entry.central(0) for _ in range(n)), n)


def zip_hole(bytes_in_directory):
    """One entry in a directory of zeros, which may be a hole of a file that takes no room."""
    return end(Entry(b"a.png", bytes(1000), 8).local(), bytes(bytes_in_directory), 1)


def zip_quoted(n, kernel=20 * MIB):
    """Fifield's: each member is a stored block that quotes the next local header, then all that follows."""
    data = deflated_zeros(kernel)
    crc, size, parts, entries = 0, kernel, data, []
    kernel_crc = zlib.crc32(bytes(kernel))
    body = b""
    for i in reversed(range(n)):
        name = b"%05d.png" % i
        local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, kernel_crc if not entries else 0, len(parts), size, len(name), 0) + name
        entries.append((name, len(parts), size, kernel_crc if not entries else 0))
        body = local + parts
        parts = b"\0" + struct.pack("<HH", len(local), len(local) ^ 0xFFFF) + body
        size += len(local)
    places, central = 0, b""
    for name, stored, bytes_, crc in reversed(entries):
        entry = Entry(name, b"", 8, crc=crc, stored=stored, size=bytes_)
        central += entry.central(places)
        places += 30 + len(name) + 5
    return end(body, central, n)


def zip_nested(n):
    """Stored members inside the data of a stored member, n deep."""
    body, inner = Entry(b"%04d.png" % n, b"core").local(), []
    for i in reversed(range(n)):
        outer = Entry(b"%04d.png" % i, body)
        body = outer.local()
        inner.append(outer)
    central, place = b"", 0
    for outer in reversed(inner):
        central += outer.central(place)
        place += 30 + 8
    central += Entry(b"%04d.png" % n, b"core").central(place)
    return end(body, central, n + 1)


def zip_shifted(n, shift):
    """Each local header begins `shift` bytes before the data of the member before it ends."""
    body, central = b"", b""
    for i in range(n):
        tail = Entry(b"%04d.png" % (i + 1), b"", 0).local()[:shift] if i + 1 < n else bytes(shift)
        entry = Entry(b"%04d.png" % i, b"x" * 100 + tail)
        central += entry.central(len(body))
        body += entry.local()[:-shift] if i + 1 < n else entry.local()
    return end(body, central, n)


def zip_into_directory():
    """The data of the last member goes on into the central directory."""
    entry = Entry(b"a.png", bytes(100), stored=150, size=150, local_stored=150, local_size=150)
    return zip_of(entry, Entry(b"b.png"))


def zip_backwards(n):
    """As zip_same_entry, with the directory in falling order of other names that the local header cannot have."""
    entry = Entry(b"a.png", bytes(1000), 8)
    central = b"".join(Entry(b"%c.png" % (97 + i % 26), bytes(1000), 8).central(0) for i in reversed(range(n)))
    return end(entry.local(), central, n)


def zip_extra_quoted():
    """The extra field of one local header spans the next header, and its data are the other's data."""
    second = Entry(b"b.png", bytes(1000), 8)
    first = Entry(b"a.png", bytes(1000), 8, local_extra=b"\x99\x99" + struct.pack("<H", 30 + 5) + second.local()[:35], payload=second.stored)
    return end(first.local(), first.central(0) + second.central(30 + 5 + 4), 2)


def zip_claims(count):
    """An end record that claims `count` entries, before a directory that holds one."""
    entry = Entry()
    body, central = entry.local(), entry.central(0)
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(central), len(body))
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(body) + len(central), 1)
    return body + central + end64 + locator + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


def zip_inflating(name, size, others=(), head=b"", fill=b"\0"):
    data = deflated_zeros(size - len(head), head, fill)
    crc = 0
    entry = Entry(name, b"", 8, payload=data, stored=len(data), local_stored=len(data), size=size, local_size=size, crc=crc, local_crc=crc)
    return zip_of(entry, *others)


def zip_texts(n, size):
    """Labels of n samples that inflate to `size` each while the archive is indexed."""
    data = deflated_zeros(size, fill=b" ")
    entries = []
    for i in range(n):
        entries.append(Entry(b"%03d.png" % i))
        entries.append(Entry(b"%03d.cls" % i, b"", 8, payload=data, stored=len(data), local_stored=len(data), size=size, local_size=size, crc=0, local_crc=0))
    return zip_of(*entries)


# tar

def tar_long_names(n):
    """n names of 1 MiB of zeros before one member."""
    return b"".join(tar_header(b"L", b"%011o" % MIB, b"L") + bytes(MIB) for _ in range(n)) + tar_member(b"a.png") + bytes(1024)


def tar_records(n):
    """n PAX headers of 1 MiB, of the shortest records there are."""
    data = b"5 a=\n" * (MIB // 5)
    return b"".join(tar_member(b"x", data, b"x") for _ in range(n)) + tar_member(b"a.png") + bytes(1024)


def tar_sparse(n):
    """A chain of n sparse maps that never ends."""
    head = bytearray(tar_header(b"s.png", kind=b"S", magic=b"ustar  \0"))
    head[482] = 1
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + (bytes(504) + b"\1" + bytes(7)) * n


# pictures

def jpeg_of(width, height, n=258, kind=0xC0):
    """The first scan of a colour picture, n bytes in all."""
    tables = b"\xff\xdb\0\x43\0" + b"\1" * 64
    tables += b"".join(b"\xff\xc4" + struct.pack(">HB", 20, table) + bytes([1] + [0] * 15) + b"\0" for table in (0x00, 0x10))
    frame = bytes([0xFF, kind]) + struct.pack(">HBHHB", 17, 8, height, width, 3) + b"".join(bytes([i, 0x11, 0]) for i in (1, 2, 3))
    scan = b"\xff\xda" + struct.pack(">HB", 12, 3) + b"\1\0\2\0\3\0" + (b"\0\x3f\0" if kind == 0xC0 else b"\0\0\0")
    data = b"\xff\xd8" + tables + frame + scan
    return data + bytes(n - 2 - len(data)) + b"\xff\xd9"


def jpeg_scans(width, height, n_scans):
    """Progressive grey of zeros in n scans: each bit of each coefficient has its own."""
    blocks = (width + 7) // 8 * ((height + 7) // 8)
    runs = blocks // 32767
    head = b"\xff\xd8" + b"\xff\xdb\0\x43\0" + b"\1" * 64 + b"\xff\xc2" + struct.pack(">HBHHBBBB", 11, 8, height, width, 1, 1, 0x11, 0)

    def table(kind, symbols):
        return b"\xff\xc4" + struct.pack(">HB", 19 + len(symbols), kind) + bytes([0, len(symbols)] + [0] * 14) + bytes(symbols)

    def bits(text):
        text += "1" * (-len(text) % 8)
        return bytes(int(text[i:i + 8], 2) for i in range(0, len(text), 8)).replace(b"\xff", b"\xff\0")

    # DC: the one code 00 is "no difference"; AC: 00 ends a run of 32767 blocks, 01 one block
    head += table(0x00, [0]) + table(0x10, [0xE0, 0x00])
    dc_first, dc_more = bits("00" * blocks), bits("0" * blocks)
    ac = bits(("00" + "1" * 14) * runs + "01" * (blocks - 32767 * runs))
    out = [head]
    for i in range(n_scans):
        k, bit = divmod(i, 14)
        low = 13 - bit
        out.append(b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, k, k, (0 if bit == 0 else low + 1) << 4 | low))
        out.append((dc_first if bit == 0 else dc_more) if k == 0 else ac)
    return b"".join(out) + b"\xff\xd9"


def png_text(name, prefix, size):
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB)) + packer.flush()
    return png_of(extra=[chunk(name, prefix + data)])


def png_surplus(size, interlace=0):
    """A 4 x 4 picture whose image data go on for `size` bytes; in Adam7's seven passes it has 55 bytes."""
    packer = zlib.compressobj(9)
    data = packer.compress(bytes(55 if interlace else 52)) + b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB)) + packer.flush()
    return png_of(rows=[data], interlace=interlace)


def png_palette(n):
    return png_of(extra=[chunk(b"tEXt", b"a\0b")] * n)


class Bits:
    """Least significant bit first, as VP8L reads."""

    def __init__(self):
        self.text = []

    def put(self, value, n):
        self.text.extend(value >> i & 1 for i in range(n))

    def bytes(self):
        text = self.text + [0] * (-len(self.text) % 8)
        return bytes(sum(bit << k for k, bit in enumerate(text[i:i + 8])) for i in range(0, len(text), 8))


def webp_lossless(width, height, bits):
    data = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bits.bytes()
    body = b"WEBPVP8L" + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_huffman(counts, width=8, height=8):
    """CVE-2023-4863's shape: five code tables by their numbers of codes of each length, which fill more of the second
    level than a table has room for, the last one incomplete."""
    bits = Bits()
    bits.put(0, 1)  # no transform
    bits.put(0, 1)  # no colour cache
    bits.put(0, 1)  # no meta codes
    for alphabet, row in zip((280, 256, 256, 256, 40), counts):
        lengths = [n for n, count in enumerate(row) for _ in range(count) if n > 0]
        lengths += [0] * (alphabet - len(lengths))
        bits.put(0, 1)  # not a simple code
        bits.put(15, 4)  # all 19 lengths of the codes of lengths follow
        order = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
        for symbol in order:
            bits.put(4 if symbol < 16 else 0, 3)
        bits.put(0, 1)  # as many lengths as the alphabet has symbols
        for length in lengths[:alphabet]:
            bits.put(int(f"{length:04b}"[::-1], 2), 4)
    return webp_lossless(width, height, bits)


HUFFMAN = [[0, 1, 1, 1, 1, 1, 0, 0, 0, 11, 5, 1, 10, 4, 2, 2], *[[0, 1, 1, 0, 0, 0, 3, 229, 41, 1, 1, 1, 1, 1, 1, 2]] * 3, [0, 1, 1, 1, 1, 1, 0, 5, 1, 0, 0, 0, 1, 5, 1, 10]]


def huffman_oversubscribed():
    return [[0, 3] + [0] * 14] * 5


BOMBS = [
    ("zip: a directory of 100 MiB for one entry", "zip", lambda: zip_hole(100 * MIB), "limit"),
    ("zip: 1,000 names for one member", "zip", lambda: zip_same_entry(1000), "format"),
    ("zip: 60,000 names for one member", "zip", lambda: zip_same_entry(60000), "format"),
    ("zip: 1,000 quoted local headers", "zip", lambda: zip_quoted(1000), "format"),
    ("zip: 100 nested members", "zip", lambda: zip_nested(100), "format"),
    ("zip: 900 nested members", "zip", lambda: zip_nested(900), "format"),
    ("zip: overlapping by 1 byte", "zip", lambda: zip_shifted(50, 1), "format"),
    ("zip: overlapping by 4 bytes", "zip", lambda: zip_shifted(50, 4), "format"),
    ("zip: overlapping by 38 bytes", "zip", lambda: zip_shifted(50, 38), "format"),
    ("zip: data into the directory", "zip", zip_into_directory, "format"),
    ("zip: other names for one member", "zip", lambda: zip_backwards(1000), "format"),
    ("zip: a header in an extra field", "zip", zip_extra_quoted, "format"),
    ("zip: 10^6 entries claimed", "zip", lambda: zip_claims(10**6), "format"),
    ("zip: 2^63 entries claimed", "zip", lambda: zip_claims(1 << 63), "limit"),
    ("zip: more than deflate can do", "zip", lambda: zip_of(Entry(b"a.png", bytes(100), 8, size=200 * MIB, local_size=200 * MIB)), "read:limit"),
    ("zip: 300 MiB picture", "zip", lambda: zip_inflating(b"a.png", 300 * MIB), "read:limit"),
    ("zip: dataset.json of 250 MiB", "zip", lambda: zip_inflating(b"dataset.json", 250 * MIB, [Entry()], b"{", b" "), "limit"),
    ("zip: 20 labels of 100 MiB", "zip", lambda: zip_texts(20, 100 * MIB), "ok"),
    ("tar: 8 names of 1 MiB", "tar", lambda: tar_long_names(8), "format"),
    ("tar: 8 MiB of PAX records", "tar", lambda: tar_records(8), "ok"),
    ("tar: sparse map without end", "tar", lambda: tar_sparse(20000), "format"),
    ("JPEG: 258 bytes, 2.4 GB", "jpeg", lambda: jpeg_of(28000, 28000), "limit"),
    ("JPEG: 258 bytes, 64 Mpx", "jpeg", lambda: jpeg_of(16383, 4096), "format"),
    ("JPEG: 258 bytes, progressive 64 Mpx", "jpeg", lambda: jpeg_of(16383, 4096, kind=0xC2), "format"),
    ("JPEG: 896 scans of 64 pixels", "jpeg", lambda: jpeg_scans(8, 8, 896), "limit"),
    ("JPEG: 896 scans of 1 Mpx", "jpeg", lambda: jpeg_scans(1024, 1024, 896), "limit"),
    ("JPEG: 896 scans of 64 Mpx", "jpeg", lambda: jpeg_scans(8192, 8192, 896), "limit"),
    ("PNG: 10^6 x 10^6", "png", lambda: png_of(10**6, 10**6), "limit"),
    ("PNG: (2^31 - 1)^2", "png", lambda: png_of(2**31 - 1, 2**31 - 1), "limit"),
    ("PNG: text of 100 MiB", "png", lambda: png_text(b"zTXt", b"a\0\0", 100 * MIB), "ok"),
    ("PNG: profile of 100 MiB", "png", lambda: png_text(b"iCCP", b"a\0\0", 100 * MIB), "ok"),
    ("PNG: 512 MiB behind the picture", "png", lambda: png_surplus(512 * MIB), "format"),
    ("PNG: 512 MiB behind the last pass", "png", lambda: png_surplus(512 * MIB, 1), "format"),
    ("PNG: 100,000 text chunks", "png", lambda: png_palette(100000), "ok"),
    ("WebP: 16383 x 16383", "webp", lambda: webp_lossless(16383, 16383, Bits()), "limit"),
    ("WebP: 64 Mpx in 25 bytes", "webp", lambda: webp_lossless(16383, 4096, Bits()), "format"),
    ("WebP: Huffman tables of CVE-2023-4863", "webp", lambda: webp_huffman(HUFFMAN), "format"),
    ("WebP: codes given out thrice", "webp", lambda: webp_huffman(huffman_oversubscribed()), "format"),
]


def zip_many(n):
    """n members of a byte, as a data set has them; accepted."""
    body, central = bytearray(), bytearray()
    for i in range(n):
        name = b"%07d.png" % i
        crc = zlib.crc32(b"x")
        place = len(body)
        body += struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0, crc, 1, 1, len(name), 0) + name + b"x"
        central += struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, crc, 1, 1, len(name), 0, 0, 0, 0, 0, place) + name
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, n, n, len(central), len(body))
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(body) + len(central), 1)
    return bytes(body) + bytes(central) + end64 + locator + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)

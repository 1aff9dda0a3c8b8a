"""Decoding and transforms compared with Pillow, byte by byte.

Made pictures always; the real ones of AMBIENTD_TEST_DATA where they are. `pytest -s` prints the table of mean and largest
difference (in 1/255) of each source and transform.
"""

import io
import os
import pathlib
import subprocess
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageOps

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("AMBIENTD_BUILD", ROOT / "build"))
DATA = pathlib.Path(os.environ.get("AMBIENTD_TEST_DATA", ROOT / ".." / "shared" / "data"))
DUMP = BUILD / "lib" / "codec" / "codec-dump"
FILTERS = {"lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC, "box": Image.Resampling.BOX}
TRANSFORMS = [
    ("center-crop", "lanczos"),
    ("center-crop-dhariwal", "bicubic"),
    ("shortest+crop", "bicubic"),
    ("squash", "lanczos"),
    ("squash", "box"),
]

pytestmark = pytest.mark.skipif(not DUMP.exists(), reason=f"{DUMP} is not built")


def dump(path, channels=3, crop=None, resample="lanczos", width=0, height=0):
    """Planes as an array C x H x W; raises ValueError with what the program said."""
    command = [DUMP, path, str(channels)]
    if crop:
        command += [crop, resample, str(width), str(height)]
    done = subprocess.run(command, capture_output=True, timeout=60)
    if done.returncode == 1:
        raise ValueError(done.stderr.decode().strip())
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.partition(b"\n")
    return np.frombuffer(body, np.uint8).reshape([int(n) for n in head.split()])


def planes(image):
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def reference(path, mode="RGB"):
    """What Pillow makes of a file; 16-bit grey by our written rule (v >> 8), since Pillow clips it."""
    image = Image.open(path)
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return ImageOps.exif_transpose(image).convert(mode)


def two_passes(image, size, resample):
    """Pillow's resize, x before y. Pillow up to 12 always does so; later ones turn the passes where that is faster."""
    return image.resize((size[0], image.size[1]), resample).resize(size, resample)


def one_call(image, size, resample):
    return image.resize(size, resample)


def transformed(image, crop, resample, size, resize=two_passes):
    """The rules of the tools that the crops are named after, on Pillow's own resize."""
    width, height = image.size
    if crop == "center-crop":  # EDM dataset_tool.py
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return resize(image.crop((left, top, left + side, top + side)), (size, size), FILTERS[resample])
    if crop == "center-crop-dhariwal":  # ADM image_datasets.py
        while min(image.size) >= 2 * size:
            image = resize(image, tuple(x // 2 for x in image.size), Image.Resampling.BOX)
        scale = size / min(image.size)
        image = resize(image, tuple(round(x * scale) for x in image.size), Image.Resampling.BICUBIC)
        left, top = (image.size[0] - size) // 2, (image.size[1] - size) // 2
        return image.crop((left, top, left + size, top + size))
    if crop == "shortest+crop":  # torchvision Resize, CenterCrop
        short, long = min(width, height), max(width, height)
        longer = int(size * long / short)
        image = resize(image, (size, longer) if width <= height else (longer, size), FILTERS[resample])
        left, top = round((image.size[0] - size) / 2.0), round((image.size[1] - size) / 2.0)
        return image.crop((left, top, left + size, top + size))
    return resize(image, (size, size), FILTERS[resample])


class Table:
    def __init__(self):
        self.rows = []

    def add(self, source, what, ours, theirs):
        assert ours.shape == theirs.shape, f"{source} {what}: {ours.shape}, Pillow {theirs.shape}"
        difference = np.abs(ours.astype(int) - theirs.astype(int))
        self.rows.append((source, what, difference.mean(), difference.max()))
        return difference

    def print(self, title):
        print(f"\n{title}\n{'source':38} {'what':34} {'mean':>8} {'max':>4}   (1/255)")
        for source, what, mean, largest in self.rows:
            print(f"{source[:38]:38} {what:34} {mean:8.4f} {largest:4d}")


def picture(width, height, seed=0):
    """Smooth colour, edges and some noise: what a resize filter and a DCT can get wrong."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 100 * np.sin(x / (3 + 5 * c) + y / (7 - 2 * c)) for c in range(3)]
    array = np.stack(waves, -1) + rng.normal(0, 12, (height, width, 3))
    array[height // 3 : height // 2, width // 4 : width // 2] = (255, 0, 30)
    return Image.fromarray(array.clip(0, 255).astype(np.uint8))


def made_pictures(folder):
    """(name, path) of one small file in each form that the codecs know."""
    rgb = picture(120, 81)
    grey, palette = rgb.convert("L"), rgb.quantize(60)
    rgba = rgb.copy()
    rgba.putalpha(grey)
    sixteen = Image.fromarray((np.asarray(grey).astype(np.uint16) * 257 + 77).astype(np.uint16))
    exif = Image.Exif()
    forms = [
        ("rgb.png", rgb, {}),
        ("stored.png", rgb, {"compress_level": 0}),
        ("grey.png", grey, {}),
        ("bilevel.png", grey.convert("1"), {}),
        ("grey-alpha.png", rgba.convert("LA"), {}),
        ("alpha.png", rgba, {}),
        ("palette.png", palette, {}),
        ("palette-16.png", rgb.quantize(11), {"bits": 4}),
        ("palette-2.png", rgb.quantize(2), {"bits": 1}),
        ("palette-transparent.png", palette, {"transparency": 3}),
        ("grey-transparent.png", grey, {"transparency": 100}),
        ("rgb-transparent.png", rgb, {"transparency": (255, 0, 30)}),
        ("sixteen.png", sixteen, {}),
        ("s444.jpg", rgb, {"quality": 95, "subsampling": 0}),
        ("s422.jpg", rgb, {"quality": 90, "subsampling": 1}),
        ("s420.jpg", rgb, {"quality": 75, "subsampling": 2}),
        ("progressive.jpg", rgb, {"progressive": True}),
        ("restart.jpg", rgb, {"restart_marker_rows": 1}),
        ("optimized.jpg", rgb, {"optimize": True, "quality": 30}),
        ("kept-rgb.jpg", rgb, {"keep_rgb": True}),
        ("grey.jpg", grey, {}),
        ("cmyk.jpg", rgb.convert("CMYK"), {}),
        ("lossy.webp", rgb, {"quality": 80}),
        ("lossless.webp", rgb, {"lossless": True}),
        ("alpha.webp", rgba, {"quality": 80}),
        ("alpha-lossless.webp", rgba, {"lossless": True, "exact": True}),
    ]
    for turn in range(1, 9):
        exif[0x0112] = turn
        for ending in ("jpg", "png", "webp"):
            forms.append((f"turn-{turn}.{ending}", rgb, {"exif": exif.tobytes()}))
    for name, image, options in forms:
        image.save(folder / name, **options)
        yield name, folder / name
    for name, colour_type, depth in (("sixteen-rgb.png", 2, 16), ("two-bit.png", 0, 2), ("four-bit.png", 0, 4)):
        (folder / name).write_bytes(raw_png(colour_type, depth, interlaced=False))
        yield name, folder / name
    for name, colour_type in (("interlaced-rgb.png", 2), ("interlaced-grey.png", 0)):
        (folder / name).write_bytes(raw_png(colour_type, 8, interlaced=True))
        yield name, folder / name


def raw_png(colour_type, depth, interlaced, width=37, height=23):
    """PNGs that Pillow does not write: made of chunks here, rows unfiltered."""
    import struct
    import zlib

    samples = {0: 1, 2: 3}[colour_type]
    rng = np.random.default_rng(depth)

    def rows(w, h):
        line = (w * samples * depth + 7) // 8
        return b"".join(b"\0" + rng.integers(0, 256, line, dtype=np.uint8).tobytes() for _ in range(h) if w)

    adam7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    passes = [((width - x + dx - 1) // dx, (height - y + dy - 1) // dy) for x, y, dx, dy in adam7]
    data = b"".join(rows(w, h) for w, h in (passes if interlaced else [(width, height)]))

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, int(interlaced))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def test_every_form_decodes_as_pillow_decodes_it(tmp_path):
    table = Table()
    worst = []
    for name, path in made_pictures(tmp_path):
        for channels, mode in ((3, "RGB"), (1, "L")):
            difference = table.add(name, mode, dump(path, channels), planes(reference(path, mode)))
            lossy = name.endswith((".jpg", ".webp"))
            if difference.mean() > (1 if lossy else 0) or (not lossy and difference.max() > 0):
                worst.append(table.rows[-1])
    table.print("made pictures, decoded")
    assert not worst


@pytest.mark.parametrize("crop,resample", TRANSFORMS)
def test_transforms_agree_with_pillow(tmp_path, crop, resample):
    """From PNG, so that only the resize can differ; up, down, far down, odd and even sizes, and no resize at all."""
    exact, plain = Table(), Table()
    for width, height in ((64, 64), (65, 97), (131, 70), (400, 260), (1100, 640), (5, 3), (1, 40), (33, 32)):
        path = tmp_path / f"{width}x{height}.png"
        picture(width, height, seed=width).save(path)
        for channels, mode in ((3, "RGB"), (1, "L")):
            image = Image.open(path).convert(mode)
            for size in (32, 64, 97):
                ours = dump(path, channels, crop, resample, size, size)
                what = (f"{width}x{height} {mode}", f"{crop} {resample} {size}", ours)
                exact.add(*what, planes(transformed(image, crop, resample, size)))
                plain.add(*what, planes(transformed(image, crop, resample, size, one_call)))
    exact.print("made pictures, transformed, x before y")
    plain.print("made pictures, transformed, as this Pillow orders the passes")
    assert max(row[3] for row in exact.rows) == 0
    assert max(row[2] for row in plain.rows) <= 1


def test_non_square_targets_keep_the_aspect(tmp_path):
    path = tmp_path / "wide.png"
    image = picture(300, 200)
    image.save(path)
    ours = dump(path, 3, "center-crop", "lanczos", 96, 32)
    theirs = planes(two_passes(image.crop((0, 50, 300, 150)), (96, 32), Image.Resampling.LANCZOS))
    assert np.array_equal(ours, theirs)
    ours = dump(path, 3, "shortest+crop", "bicubic", 96, 32)
    theirs = planes(two_passes(image, (96, 64), Image.Resampling.BICUBIC).crop((0, 16, 96, 48)))
    assert np.array_equal(ours, theirs)
    ours = dump(path, 3, "center-crop-dhariwal", "bicubic", 96, 32)
    half = two_passes(image, (150, 100), Image.Resampling.BOX)
    theirs = planes(two_passes(half, (96, 64), Image.Resampling.BICUBIC).crop((0, 16, 96, 48)))
    assert np.array_equal(ours, theirs)


def test_none_names_both_sizes(tmp_path):
    path = tmp_path / "a.png"
    picture(40, 30).save(path)
    with pytest.raises(ValueError, match="^format: .*40 x 30.*32 x 32"):
        dump(path, 3, "none", "lanczos", 32, 32)


def test_animated_webp_is_refused(tmp_path):
    path = tmp_path / "a.webp"
    picture(40, 30).save(path, save_all=True, append_images=[picture(40, 30, 1)])
    with pytest.raises(ValueError, match="^unsupported: animated"):
        dump(path)


def test_cut_pictures_are_bad(tmp_path):
    """A cut anywhere is an error, never a picture; Pillow's `truncated` cases are among them."""
    image = picture(96, 64)
    for name, options in (
        ("a.jpg", {}),
        ("p.jpg", {"progressive": True}),
        ("a.png", {}),
        ("a.webp", {}),
        ("l.webp", {"lossless": True}),
    ):
        whole = tmp_path / name
        image.save(whole, **options)
        data = whole.read_bytes()
        dump(whole)
        for part in (0.0, 0.1, 0.5, 0.9, 0.98):
            cut = tmp_path / f"cut-{name}"
            cut.write_bytes(data[: int(len(data) * part)])
            with pytest.raises(ValueError, match="^format: "):
                dump(cut)


needs_data = pytest.mark.skipif(not (DATA / "odd").is_dir(), reason=f"no test data at {DATA}")


@needs_data
def test_odd_pictures():
    table = Table()
    refused = {}
    for path in sorted((DATA / "odd").iterdir()):
        try:
            ours = dump(path)
        except ValueError as error:
            refused[path.name] = str(error)
            continue
        if path.suffix == ".npy":
            theirs = np.load(path).transpose(2, 0, 1)
        else:
            theirs = planes(reference(path))
        table.add(path.name, "RGB", ours, theirs)
        if path.suffix != ".npy":
            table.add(path.name, "L", dump(path, 1), planes(reference(path, "L")))
    table.print("odd pictures")
    for name, why in refused.items():
        print(f"refused {name:24} {why}")
    assert max(row[2] for row in table.rows) <= 1
    assert set(refused) == {"empty.jpg", "latent.npy", "not-an-image.png", "truncated.jpg", "truncated.png"}


@needs_data
def test_photos():
    table = Table()
    for path in sorted((DATA / "photos").iterdir()):
        image = reference(path)
        table.add(path.name, "decoded", dump(path), planes(image))
        for crop, resample in TRANSFORMS[:4]:
            ours = dump(path, 3, crop, resample, 256, 256)
            table.add(path.name, f"{crop} {resample} 256", ours, planes(transformed(image, crop, resample, 256)))
    table.print("photos")
    assert max(row[2] for row in table.rows) <= 1


def summarise(table, source, pairs):
    ours, theirs = zip(*pairs)
    table.add(source, f"{len(ours)} pictures", np.stack(ours), np.stack(theirs))


@needs_data
def test_cifar(tmp_path):
    """A hundred of each archive; the daemon's own test reads all of them."""
    table = Table()
    jpegs, pngs = [], []
    with tarfile.open(DATA / "cifar-000000.tar") as tar:
        for member in [m for m in tar.getmembers() if m.name.endswith(".jpg")][:100]:
            jpegs.append(tar.extractfile(member).read())
    with zipfile.ZipFile(DATA / "cifar-edm.zip") as archive:
        for name in [n for n in archive.namelist() if n.endswith(".png")][:100]:
            pngs.append(archive.read(name))
    for source, files in (("cifar-000000.tar", jpegs), ("cifar-edm.zip", pngs)):
        pairs = []
        for i, data in enumerate(files):
            path = tmp_path / f"{source}-{i}"
            path.write_bytes(data)
            pairs.append((dump(path), planes(reference(io.BytesIO(data)))))
        summarise(table, source, pairs)
    table.print("cifar")
    assert table.rows[0][2] <= 1 and table.rows[1][3] == 0

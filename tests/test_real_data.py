"""x0 of every sample of every source against Pillow, over the wire (issue 3, 6.2). Prints the table of differences.

Needs the shared data set; made data of the same kinds is compared too, so that the test never runs empty.
"""

import io
import os
import pathlib
import tarfile
import zipfile

import numpy
import pytest
from PIL import Image, ImageOps

import ambientd
import datasets

DATA = pathlib.Path(os.environ.get("AMBIENTD_TEST_DATA", pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"))
needs_data = pytest.mark.skipif(not (DATA / "cifar-edm.zip").exists(), reason="no shared data set (AMBIENTD_TEST_DATA)")


def served(pattern, **options):
    """{key: x0 as u8 HWC, or None where it was bad}."""
    out = {}
    with ambientd.start(pattern, **options) as server:
        with ambientd.Loader(server.address, batch_size=16, fields=["x0", "key", "replaced"], policy="sequential", schedule=None) as loader:
            for batch in loader:
                for i in range(batch.count):
                    pixels = numpy.rint((batch.x0[i].astype(float) + 1) * 127.5).transpose(1, 2, 0)
                    out[batch.key[i]] = None if batch.replaced[i] else pixels
    return out


def open_rgb(data):
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")


def center_crop(image, size):
    side = min(image.size)
    pixels = numpy.asarray(image)
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return Image.fromarray(pixels[top : top + side, left : left + side]).resize((size, size), Image.LANCZOS)


def dhariwal(image, size):
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.BOX)
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.BICUBIC)
    pixels = numpy.asarray(image)
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return Image.fromarray(pixels[top : top + size, left : left + size])


def squash(image, size):
    return image.resize((size, size), Image.LANCZOS)


def compare(name, got, wanted, mean_limit=1.0):
    """Both {key: pixels}; prints mean and largest difference in 1/255."""
    assert got.keys() == wanted.keys(), f"{len(got)} served, {len(wanted)} expected"
    differences = [numpy.abs(got[key] - numpy.asarray(wanted[key], float)) for key in wanted]
    mean = max(d.mean() for d in differences)
    print(f"{name:32s} {len(wanted):5d} images   mean {numpy.mean([d.mean() for d in differences]):.4f}   worst mean {mean:.4f}   largest {max(d.max() for d in differences):.0f}")
    assert mean <= mean_limit


def tar_pictures(path):
    with tarfile.open(path) as archive:
        for member in archive:
            key, _, extension = member.name.partition(".")
            if extension in ("jpg", "png"):
                yield key, archive.extractfile(member).read()


def zip_pictures(path):
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".png"):
                yield name.rsplit(".", 1)[0], archive.read(name)


@needs_data
def test_cifar_tars():
    wanted = {key: open_rgb(data) for shard in ("cifar-000000.tar", "cifar-000001.tar") for key, data in tar_pictures(DATA / shard)}
    compare("cifar tar, none", served(str(DATA / "cifar-{000000..000001}.tar"), size=32), wanted)


@needs_data
def test_cifar_edm_zip():
    wanted = {key: open_rgb(data) for key, data in zip_pictures(DATA / "cifar-edm.zip")}
    compare("cifar EDM zip, none", served(str(DATA / "cifar-edm.zip"), size=32), wanted, mean_limit=0.0)


@needs_data
@pytest.mark.parametrize("transform, reference", [("center-crop", center_crop), ("center-crop-dhariwal", dhariwal), ("squash", squash)])
@pytest.mark.parametrize("size", [64, 256])
def test_photos(transform, reference, size):
    wanted = {p.stem: reference(open_rgb(p.read_bytes()), size) for p in sorted((DATA / "photos").iterdir())}
    compare(f"photos folder, {transform} {size}", served(str(DATA / "photos"), size=size, transform=transform), wanted)


@needs_data
def test_odd_pictures():
    """Every awkward form is served as Pillow shows it; broken ones are quarantined and nothing stops."""
    got = served(str(DATA / "odd"), size=64, transform="center-crop")
    broken = {"empty", "not-an-image", "truncated"}
    wanted = {}
    for path in sorted((DATA / "odd").iterdir()):
        if path.suffix in (".png", ".jpg", ".webp") and path.stem not in broken:
            wanted.setdefault(path.stem, []).append(center_crop(as_written(path), 64))
    rows = 0
    for key, references in wanted.items():
        assert got.get(key) is not None, f"{key} was not served"
        difference = min(numpy.abs(got[key] - numpy.asarray(r, float)).mean() for r in references)
        print(f"odd/{key:28s} mean {difference:.4f}")
        rows += 1
        assert difference <= 1.0
    assert rows >= 14
    assert all(got.get(key) is None for key in broken)


def as_written(path):
    """Pillow's view; 16-bit grey by our written rule (the upper byte), which Pillow clips instead."""
    image = Image.open(path)
    if image.mode.startswith("I"):
        return Image.fromarray((numpy.asarray(image).astype(numpy.uint32) >> 8).astype(numpy.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA"):
        return Image.fromarray(numpy.asarray(image.convert("RGBA"))[..., :3])
    return ImageOps.exif_transpose(image).convert("RGB")


def test_made_sources_agree_exactly(tmp_path):
    """PNG in tar, stored zip, deflated zip and folder: not one value differs."""
    pictures = {f"{i:06d}": datasets.picture(i) for i in range(40)}
    zipped = {f"00000/img{i:08d}": datasets.picture(i) for i in range(40)}
    folders = {f"class{i % 10}/{i:06d}": datasets.picture(i) for i in range(40)}
    compare("tar of PNG", served(datasets.tar_set(tmp_path / "tar", 40), size=16), pictures, 0.0)
    compare("tar of WebP lossless", served(datasets.tar_set(tmp_path / "webp", 40, kind="webp"), size=16), pictures, 0.0)
    compare("zip, stored", served(datasets.zip_set(tmp_path / "stored.zip", 40), size=16), zipped, 0.0)
    compare("zip, deflated", served(datasets.zip_set(tmp_path / "deflated.zip", 40, deflated=True), size=16), zipped, 0.0)
    compare("folder", served(datasets.folder_set(tmp_path / "folder", 40), size=16), folders, 0.0)


def test_labels_of_each_source(tmp_path):
    for pattern in (datasets.tar_set(tmp_path / "t", 30), datasets.zip_set(tmp_path / "z.zip", 30), datasets.folder_set(tmp_path / "f", 30)):
        with ambientd.start(pattern, size=16) as server:
            with ambientd.Loader(server.address, batch_size=30, fields=["label", "key"], policy="sequential", schedule=None) as loader:
                for batch in loader:
                    assert [int(v) for v in batch.label] == [int(key[-6:]) % 10 for key in batch.key]


def test_latents(tmp_path):
    """EDM2's mean and standard deviation: x0 = (mean + std z) * scale + shift, with z anew at each draw."""
    rng = numpy.random.default_rng(0)
    latents = [numpy.concatenate([rng.normal(0, 1, (4, 8, 8)), rng.uniform(0.1, 0.5, (4, 8, 8))]).astype("f4") for _ in range(50)]
    samples = [(f"img-mean-std-{i:08d}", {"npy": datasets.npy(latent)}) for i, latent in enumerate(latents)]
    pattern = str(datasets.write_tar(tmp_path / "latents.tar", samples))
    scale, shift = [0.5, 0.25, 2.0, 1.0], [0.0, 1.0, -1.0, 0.5]
    with ambientd.start(pattern, latent="mean-std", latent_scale=",".join(map(str, scale)), latent_shift=",".join(map(str, shift))) as server:
        with ambientd.Loader(server.address, batch_size=50, fields=["x0", "index"], steps=40, schedule=ambientd.LogNormal(-1.2, 1.2)) as loader:
            z = []
            for batch in loader:
                for x0, i in zip(batch.x0, batch.index):
                    plain = (x0.astype(float) - numpy.reshape(shift, (4, 1, 1))) / numpy.reshape(scale, (4, 1, 1))
                    z.append((plain - latents[i][:4]) / latents[i][4:])
    z = numpy.array(z)
    print(f"latents: z has mean {z.mean():+.4f}, variance {z.var():.4f} over {z.size} values")
    assert abs(z.mean()) < 5 / numpy.sqrt(z.size) and abs(z.var() - 1) < 5 * numpy.sqrt(2 / z.size)

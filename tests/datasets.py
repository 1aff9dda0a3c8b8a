"""Makers of small data sets: pictures whose content says which they are, in every container that ambientd reads."""

import io
import json
import pathlib
import tarfile
import zipfile

import numpy
from PIL import Image


def picture(i: int, size: int = 16, channels: int = 3) -> numpy.ndarray:
    """u8 [size, size, channels]; smooth, different for each i, the same for ever."""
    rng = numpy.random.default_rng(1000 + i)
    coarse = rng.integers(0, 256, (4, 4, channels)).astype(numpy.uint8)
    bands = [numpy.asarray(Image.fromarray(coarse[..., c]).resize((size, size), Image.BICUBIC)) for c in range(channels)]
    return numpy.stack(bands, -1)


def encode(pixels: numpy.ndarray, kind: str = "png") -> bytes:
    data = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if kind == "png":
        image.save(data, "PNG", compress_level=1)
    elif kind == "jpg":
        image.save(data, "JPEG", quality=92)
    else:
        image.save(data, "WEBP", lossless=True)
    return data.getvalue()


def npy(array: numpy.ndarray) -> bytes:
    data = io.BytesIO()
    numpy.save(data, array)
    return data.getvalue()


def write_tar(path: pathlib.Path, samples: list[tuple[str, dict[str, bytes]]]) -> pathlib.Path:
    """samples: (key, {extension: bytes})."""
    with tarfile.open(path, "w") as archive:
        for key, members in samples:
            for extension, data in members.items():
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size, info.mtime = len(data), 1_700_000_000
                archive.addfile(info, io.BytesIO(data))
    return path


def sample(i: int, size: int = 16, kind: str = "png", **members: bytes) -> tuple[str, dict[str, bytes]]:
    return f"{i:06d}", {kind: encode(picture(i, size), kind), "cls": str(i % 10).encode(), **members}


def tar_set(folder: pathlib.Path, n: int, size: int = 16, per_shard: int = 100, kind: str = "png", bad=()) -> str:
    """n samples in tar shards; those numbered in `bad` hold no picture. Returns the glob."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, n, per_shard):
        rows = [sample(i, size, kind) for i in range(first, min(n, first + per_shard))]
        for j, (_, members) in enumerate(rows):
            if first + j in bad:
                members[kind] = members[kind][: len(members[kind]) // 2]
        write_tar(folder / f"shard-{first // per_shard:06d}.tar", rows)
    return str(folder / "shard-*.tar")


def zip_set(path: pathlib.Path, n: int, size: int = 16, deflated: bool = False, label=lambda i: i % 10) -> str:
    """As EDM's dataset_tool writes it; label(i) is an integer or a list of numbers."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as archive:
        labels = []
        for i in range(n):
            name = f"{i // 1000:05d}/img{i:08d}.png"
            archive.writestr(name, encode(picture(i, size)))
            labels.append([name, label(i)])
        archive.writestr("dataset.json", json.dumps({"labels": labels}))
    return str(path)


def folder_set(folder: pathlib.Path, n: int, size: int = 16) -> str:
    """One folder a class."""
    for i in range(n):
        place = folder / f"class{i % 10}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:06d}.png").write_bytes(encode(picture(i, size)))
    return str(folder)


def annotate(path: pathlib.Path, n: int, seed: int = 0, clean: float = 0.2) -> str:
    """A fifth clean, the others with sigma_min over two decades, some of them with a sigma_max below it."""
    rng = numpy.random.default_rng(seed)
    with open(path, "w") as out:
        for i in range(n):
            if rng.random() < clean:
                line = {"filename": f"{i:06d}.png", "sigma_min": 0.0}
            else:
                line = {"filename": f"{i:06d}.png", "sigma_min": round(float(numpy.exp(rng.normal(-0.5, 1))), 5)}
                if rng.random() < 0.3:
                    line["sigma_max"] = round(line["sigma_min"] * 0.2, 5)
            out.write(json.dumps(line) + "\n")
    return str(path)

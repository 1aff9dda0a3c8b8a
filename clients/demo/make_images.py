"""Draw the demo's data set: small pictures of everyday things, in WebDataset tar shards, part of them spoilt.

Each picture is drawn four times too large with Pillow and scaled down. Of every ten, six stay clean, two are
blurred, two get noise; annotations.jsonl says from which sigma on each of the spoilt ones may be used.

The .json beside each picture says what was done (`flaw`, `strength`) and whether anything was (`corrupted`, 0 or 1).

    python make_images.py OUT [--images 3200] [--size 64] [--seed 0]
"""

import argparse
import concurrent.futures
import io
import json
import math
import os
import pathlib
import random
import sys
import tarfile
import time

import numpy
from PIL import Image, ImageDraw, ImageFilter

SCALE = 4  # drawn larger, for smooth edges
SHARD = 400  # images a shard


def colour(rng, hue, spread=0.04, light=(0.45, 0.65), strength=(0.55, 0.9)):
    import colorsys

    h = (hue + rng.uniform(-spread, spread)) % 1
    r, g, b = colorsys.hls_to_rgb(h, rng.uniform(*light), rng.uniform(*strength))
    return int(255 * r), int(255 * g), int(255 * b)


def mix(a, b, t):
    return tuple(int(x + (y - x) * t) for x, y in zip(a, b))


def gradient(n, top, bottom):
    """n x n picture that runs from one colour to the other."""
    t = numpy.linspace(0, 1, n)[:, None, None]
    rows = numpy.array(top) * (1 - t) + numpy.array(bottom) * t
    return Image.fromarray(numpy.broadcast_to(rows, (n, n, 3)).astype(numpy.uint8))


def sky(rng, n):
    mood = rng.random()
    if mood < 0.6:
        return gradient(n, colour(rng, 0.58, light=(0.45, 0.6)), colour(rng, 0.55, light=(0.78, 0.9)))
    if mood < 0.85:
        return gradient(n, colour(rng, 0.68, light=(0.35, 0.5)), colour(rng, 0.06, light=(0.65, 0.75)))
    return gradient(n, (12, 16, 48), (48, 56, 110))


def disc(draw, x, y, r, fill):
    draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)


def ground(rng, draw, n, hue=0.28, height=(0.25, 0.38)):
    y = n * (1 - rng.uniform(*height))
    points = [(0, n)]
    phase, swing = rng.uniform(0, 6), n * rng.uniform(0.01, 0.05)
    for i in range(17):
        points.append((n * i / 16, y + swing * math.sin(phase + i * 0.45)))
    draw.polygon(points + [(n, n)], fill=colour(rng, hue, light=(0.3, 0.45)))
    return y


def mountains(rng, n):
    image = sky(rng, n)
    draw = ImageDraw.Draw(image)
    disc(draw, n * rng.uniform(0.15, 0.85), n * rng.uniform(0.12, 0.3), n * rng.uniform(0.06, 0.1), (255, 240, 190))
    for layer in range(3):
        base = n * (0.55 + 0.12 * layer)
        shade = mix((150, 160, 190), (50, 80, 70), layer / 2)
        for _ in range(3):
            x, w, h = rng.uniform(0, n), n * rng.uniform(0.25, 0.45), n * rng.uniform(0.2, 0.42) * (1 - 0.22 * layer)
            draw.polygon([(x - w, n), (x, base - h), (x + w, n)], fill=shade)
            if layer == 0:
                draw.polygon([(x - w * 0.2, base - h * 0.8 + n * 0.03), (x, base - h), (x + w * 0.2, base - h * 0.8 + n * 0.03)], fill=(245, 247, 252))
    ground(rng, draw, n, height=(0.12, 0.2))
    return image


def house(rng, n):
    image = sky(rng, n)
    draw = ImageDraw.Draw(image)
    y = ground(rng, draw, n)
    x, w, h = n * rng.uniform(0.3, 0.5), n * rng.uniform(0.3, 0.42), n * rng.uniform(0.25, 0.34)
    base = y + n * 0.08
    wall, roof = colour(rng, rng.random(), light=(0.7, 0.85)), colour(rng, rng.choice([0.0, 0.04, 0.6]), light=(0.3, 0.45))
    draw.rectangle((x + w * 0.72, base - h * 1.6, x + w * 0.84, base - h), fill=mix(roof, (0, 0, 0), 0.3))
    draw.rectangle((x, base - h, x + w, base), fill=wall)
    draw.polygon([(x - w * 0.1, base - h), (x + w / 2, base - h * 1.65), (x + w * 1.1, base - h)], fill=roof)
    draw.rectangle((x + w * 0.4, base - h * 0.5, x + w * 0.6, base), fill=(90, 56, 40))
    glass = (250, 226, 130) if rng.random() < 0.4 else (130, 170, 205)
    for dx in (0.1, 0.68):
        draw.rectangle((x + w * dx, base - h * 0.75, x + w * (dx + 0.22), base - h * 0.42), fill=glass, outline=(240, 240, 240), width=SCALE)
    return image


def tree(rng, n):
    image = sky(rng, n)
    draw = ImageDraw.Draw(image)
    y = ground(rng, draw, n)
    x, base = n * rng.uniform(0.35, 0.65), y + n * 0.1
    draw.polygon([(x - n * 0.05, base), (x - n * 0.025, base - n * 0.35), (x + n * 0.025, base - n * 0.35), (x + n * 0.05, base)], fill=(96, 64, 40))
    hue = rng.choice([0.28, 0.33, 0.1, 0.04])
    if rng.random() < 0.5:
        for _ in range(26):
            a, r = rng.uniform(0, 6.3), n * 0.2 * math.sqrt(rng.random())
            disc(draw, x + r * math.cos(a), base - n * 0.45 + r * 0.8 * math.sin(a), n * rng.uniform(0.06, 0.1), colour(rng, hue, light=(0.28, 0.5)))
    else:
        for i in range(4):
            w, top = n * (0.24 - 0.045 * i), base - n * (0.2 + 0.13 * i)
            draw.polygon([(x - w, top), (x, top - n * 0.22), (x + w, top)], fill=colour(rng, 0.36, light=(0.2, 0.34)))
    return image


def flower(rng, n):
    image = gradient(n, colour(rng, 0.3, light=(0.7, 0.85)), colour(rng, 0.3, light=(0.35, 0.5)))
    draw = ImageDraw.Draw(image)
    x, y, r = n * rng.uniform(0.4, 0.6), n * rng.uniform(0.33, 0.45), n * rng.uniform(0.13, 0.18)
    draw.line((x, y, x + n * rng.uniform(-0.08, 0.08), n), fill=(50, 120, 50), width=int(n * 0.035))
    draw.ellipse((x + n * 0.01, n * 0.7, x + n * 0.2, n * 0.8), fill=(60, 140, 60))
    petals, hue, turn = rng.choice([5, 6, 8, 12]), rng.choice([0.92, 0.0, 0.13, 0.75, 0.6]), rng.uniform(0, 1)
    for i in range(petals):
        a = turn + 2 * math.pi * i / petals
        disc(draw, x + r * math.cos(a), y + r * math.sin(a), r * min(1.0, 3.6 / petals + 0.22), colour(rng, hue, 0.015, light=(0.55, 0.7)))
    disc(draw, x, y, r * 0.6, (250, 200, 60))
    return image


def face(rng, n):
    image = gradient(n, colour(rng, rng.random(), light=(0.7, 0.85)), colour(rng, rng.random(), light=(0.55, 0.7)))
    draw = ImageDraw.Draw(image)
    x, y, r = n * rng.uniform(0.45, 0.55), n * rng.uniform(0.47, 0.55), n * rng.uniform(0.28, 0.36)
    skin = rng.choice([(255, 219, 172), (241, 194, 125), (224, 172, 105), (141, 85, 36), (255, 220, 80)])
    hair = rng.choice([(40, 26, 16), (90, 56, 30), (210, 170, 90), (150, 60, 30)])
    draw.pieslice((x - r * 1.12, y - r * 1.2, x + r * 1.12, y + r), 180, 360, fill=hair)
    disc(draw, x, y, r, skin)
    draw.chord((x - r * 1.02, y - r * 1.02, x + r * 1.02, y + r), 200, 340, fill=hair)
    for side in (-1, 1):
        disc(draw, x + side * r * 0.36, y - r * 0.08, r * 0.15, (255, 255, 255))
        disc(draw, x + side * r * 0.36 + r * rng.uniform(-0.05, 0.05), y - r * 0.08, r * 0.08, (40, 50, 70))
    draw.line((x, y + r * 0.05, x - r * 0.06, y + r * 0.28, x + r * 0.04, y + r * 0.28), fill=mix(skin, (90, 40, 20), 0.4), width=SCALE)
    smile = rng.uniform(0.15, 0.4)
    draw.arc((x - r * 0.45, y + r * (0.55 - smile), x + r * 0.45, y + r * (0.5 + smile * 0.6)), 20, 160, fill=(170, 50, 50), width=int(n * 0.02))
    return image


def boat(rng, n):
    image = sky(rng, n)
    draw = ImageDraw.Draw(image)
    y = n * rng.uniform(0.55, 0.68)
    sea = colour(rng, 0.57, light=(0.3, 0.45))
    draw.rectangle((0, y, n, n), fill=sea)
    for _ in range(14):
        wx, wy, w = rng.uniform(0, n), rng.uniform(y, n), n * rng.uniform(0.04, 0.12)
        draw.line((wx - w, wy, wx + w, wy), fill=mix(sea, (255, 255, 255), 0.3), width=SCALE)
    x, w = n * rng.uniform(0.4, 0.6), n * rng.uniform(0.2, 0.28)
    draw.line((x, y, x, y - n * 0.45), fill=(90, 64, 40), width=int(n * 0.02))
    sail = colour(rng, rng.random(), light=(0.75, 0.92))
    draw.polygon([(x + n * 0.015, y - n * 0.44), (x + n * 0.015, y - n * 0.06), (x + w, y - n * 0.06)], fill=sail)
    draw.polygon([(x - n * 0.015, y - n * 0.38), (x - n * 0.015, y - n * 0.06), (x - w * 0.7, y - n * 0.06)], fill=mix(sail, (255, 255, 255), 0.4))
    draw.polygon([(x - w, y - n * 0.03), (x + w * 1.05, y - n * 0.03), (x + w * 0.7, y + n * 0.09), (x - w * 0.7, y + n * 0.09)], fill=colour(rng, 0.02, light=(0.3, 0.5)))
    return image


def balloon(rng, n):
    image = sky(rng, n)
    draw = ImageDraw.Draw(image)
    for _ in range(3):
        cx, cy = n * rng.uniform(0, 1), n * rng.uniform(0.1, 0.9)
        for d in (-0.06, 0, 0.06):
            disc(draw, cx + n * d, cy, n * (0.06 - abs(d) / 3), (238, 242, 248))
    x, y, r = n * rng.uniform(0.4, 0.6), n * rng.uniform(0.34, 0.42), n * rng.uniform(0.2, 0.27)
    hue = rng.random()
    draw.polygon([(x - r * 0.85, y + r * 0.5), (x + r * 0.85, y + r * 0.5), (x + r * 0.2, y + r * 1.5), (x - r * 0.2, y + r * 1.5)], fill=colour(rng, hue))
    for i, width in enumerate((1.0, 0.66, 0.3)):
        draw.ellipse((x - r * width, y - r, x + r * width, y + r), fill=colour(rng, hue + 0.14 * i, 0.01))
    draw.rectangle((x - r * 0.22, y + r * 1.75, x + r * 0.22, y + r * 2.1), fill=(120, 80, 45))
    for side in (-1, 1):
        draw.line((x + side * r * 0.2, y + r * 1.5, x + side * r * 0.2, y + r * 1.75), fill=(70, 50, 40), width=SCALE // 2)
    return image


def fish(rng, n):
    image = gradient(n, colour(rng, 0.53, light=(0.5, 0.65)), colour(rng, 0.62, light=(0.2, 0.32)))
    draw = ImageDraw.Draw(image)
    for _ in range(5):
        x, h = rng.uniform(0, n), n * rng.uniform(0.1, 0.3)
        draw.line((x, n, x + n * 0.03, n - h / 2, x, n - h), fill=colour(rng, 0.36, light=(0.25, 0.4)), width=int(n * 0.025))
    x, y, w, side = n * rng.uniform(0.42, 0.58), n * rng.uniform(0.38, 0.58), n * rng.uniform(0.22, 0.3), rng.choice([-1, 1])
    body = colour(rng, rng.choice([0.05, 0.12, 0.0, 0.85]), light=(0.5, 0.62), strength=(0.8, 1))
    draw.polygon([(x - side * w * 0.75, y), (x - side * w * 1.45, y - w * 0.5), (x - side * w * 1.3, y), (x - side * w * 1.45, y + w * 0.5)], fill=mix(body, (90, 30, 0), 0.25))
    draw.polygon([(x - w * 0.3, y - w * 0.4), (x, y - w * 0.8), (x + w * 0.35, y - w * 0.35)], fill=mix(body, (90, 30, 0), 0.25))
    draw.ellipse((x - w, y - w * 0.55, x + w, y + w * 0.55), fill=body)
    for i in range(2):
        sx = x + side * w * (0.25 - 0.45 * i)
        draw.ellipse((sx - w * 0.07, y - w * 0.46, sx + w * 0.07, y + w * 0.46), fill=(250, 246, 236))
    disc(draw, x + side * w * 0.62, y - w * 0.12, w * 0.12, (255, 255, 255))
    disc(draw, x + side * w * 0.65, y - w * 0.12, w * 0.065, (20, 20, 30))
    return image


SUBJECTS = [mountains, house, tree, flower, face, boat, balloon, fish]


def spoil(rng, image):
    """(picture, what was done, sigma_min): the level from which noise hides the flaw, on pixels in [-1, 1]."""
    fate = rng.random()
    if fate < 0.6:
        return image, "clean", 0.0
    if fate < 0.8:
        radius = rng.uniform(0.8, 2.5)
        return image.filter(ImageFilter.GaussianBlur(radius)), f"blur {radius:.2f}", round(0.25 * radius**1.5, 4)
    level = rng.uniform(0.08, 0.35)
    pixels = numpy.asarray(image, numpy.float64) / 127.5 - 1
    noise = numpy.random.default_rng(rng.getrandbits(64)).standard_normal(pixels.shape)
    pixels = numpy.clip((pixels + level * noise + 1) * 127.5, 0, 255).round()
    return Image.fromarray(pixels.astype(numpy.uint8)), f"noise {level:.2f}", round(3 * level, 4)


def draw_sample(i, size, seed):
    rng = random.Random(20250600 + i + (seed << 32))
    label = i % len(SUBJECTS)
    subject = SUBJECTS[label]
    image = subject(rng, size * SCALE).resize((size, size), Image.LANCZOS)
    image, flaw, sigma_min = spoil(rng, image)
    data = io.BytesIO()
    image.save(data, "PNG", compress_level=3)
    return f"{subject.__name__}-{i:05d}", label, data.getvalue(), flaw, sigma_min


def describe(flaw):
    kind, _, strength = flaw.partition(" ")
    return {"flaw": kind, "strength": float(strength or 0), "corrupted": int(kind != "clean")}


def add_member(archive, name, data):
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(data), 1750000000
    archive.addfile(info, io.BytesIO(data))


def write_shard(path, first, count, size, seed):
    lines = []
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for i in range(first, first + count):
            key, label, png, flaw, sigma_min = draw_sample(i, size, seed)
            add_member(archive, key + ".png", png)
            add_member(archive, key + ".cls", str(label).encode())
            add_member(archive, key + ".json", json.dumps(describe(flaw)).encode())
            lines.append(json.dumps({"filename": key + ".png", "sigma_min": sigma_min, "sigma_max": 0.05 if sigma_min else None}))
    return count, lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--images", type=int, default=3200)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0, help="other pictures for another number, default 0")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    began, done, lines = time.monotonic(), 0, []
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = [
            pool.submit(write_shard, args.out / f"demo-{s:06d}.tar", first, min(SHARD, args.images - first), args.size, args.seed)
            for s, first in enumerate(range(0, args.images, SHARD))
        ]
        for job in concurrent.futures.as_completed(jobs):
            done += job.result()[0]
            rate = done / (time.monotonic() - began)
            print(f"\r  {done:5d} of {args.images} images, {rate:.0f}/s, {(args.images - done) / rate:.0f} s left ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for job in jobs:
        lines += job.result()[1]
    (args.out / "annotations.jsonl").write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

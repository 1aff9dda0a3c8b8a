#!/usr/bin/env python3
"""How well `adaptive` agrees with `dense`, and for how many evaluations: the tables of the README.

    search-agreement.py build/tests/bench/bench-search DATA [--images shipped|made] [--model FILE.onnx] [--seeds 20]
                        [--dense FILE.csv]

DATA is a folder with annotate/ (classifier, sigmas.txt, images.tar, expected.csv) and cifar-*.tar. `shipped` takes the
images of images.tar and both dense runs of expected.csv; `made` makes 112 others from cifar-000001.tar and runs dense
twice on them first, for many minutes (--dense keeps what it finds), as it does for another model. Each run has noise of its own. Needs numpy, pillow
and onnxruntime; the searches are those of lib/annotate, spoken to through bench-search.
"""

import argparse
import csv
import io
import os
import subprocess
import sys
import tarfile

import numpy as np
from PIL import Image, ImageFilter

N_EACH = 7  # images of each kind of `made`
SHIPPED = {345}  # numbers in cifar-000001.tar that images.tar shows too


def tar_images(path, suffix):
    with tarfile.open(path) as tar:
        members = [m for m in tar if m.name.endswith(suffix)]
        return [np.array(Image.open(io.BytesIO(tar.extractfile(m).read())).convert("RGB")) for m in members]


def to_u8(image):
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def gaussian(blur):
    """As images.tar was made: a Gaussian cut at 4 blur, edges mirrored."""
    reach = int(4 * blur + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / blur) ** 2)
    kernel /= kernel.sum()

    def apply(image, _):
        out = image.astype(float)
        for axis in (0, 1):
            out = np.pad(out, [(reach, reach) if a == axis else (0, 0) for a in range(3)], "symmetric")
            out = np.apply_along_axis(np.convolve, axis, out, kernel, "valid")
        return to_u8(out)

    return apply


def by_pillow(change):
    return lambda image, _: np.array(change(Image.fromarray(image)))


def jpeg(quality):
    def change(image):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(io.BytesIO(file.getvalue()))

    return by_pillow(change)


def motion(image, _):
    wide = np.pad(image.astype(float), ((0, 0), (1, 1), (0, 0)), "edge")
    return to_u8((wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]) / 3)


def noise(deviation):
    return lambda image, rng: to_u8(image + deviation * rng.standard_normal(image.shape))


def smaller(image):
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    return half.resize(image.size, Image.Resampling.BICUBIC)


KINDS = {
    "clean": lambda image, _: image,
    **{f"gaussian {b}": gaussian(b) for b in (0.45, 0.55, 0.65, 0.9, 1.2, 2.0)},
    "pillow gaussian 0.7": by_pillow(lambda image: image.filter(ImageFilter.GaussianBlur(0.7))),
    "box 3x3": by_pillow(lambda image: image.filter(ImageFilter.BoxBlur(1))),
    "motion 3": motion,
    "half size": by_pillow(smaller),
    **{f"jpeg {q}": jpeg(q) for q in (10, 25, 50)},
    **{f"noise {d}": noise(d) for d in (4, 12)},
}


def made_images(data):
    rng = np.random.default_rng(20251)
    source = tar_images(os.path.join(data, "cifar-000001.tar"), ".jpg")
    picks = iter([i for i in rng.permutation(len(source)) if i not in SHIPPED])
    return [change(source[next(picks)], rng) for change in KINDS.values() for _ in range(N_EACH)]


class Classifier:
    def __init__(self, path, n_threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(self, x, sigma):
        (logits,) = self.session.run(None, {"x": x, "sigma": sigma})
        return 1 / (1 + np.exp(-logits.astype(np.float32).ravel()))


class Bench:
    QUESTION = np.dtype([("subject", "u4"), ("draw", "u4"), ("sigma", "f8")])
    BLANK = 2**32 - 1  # no subject: a blank picture
    BATCH = 128
    POOL = 1024  # noises that all adaptive searches of a run share: AMB_CONTROL_DRAWS

    def __init__(self, program, data, images, model, n_threads):
        self.program, self.sigmas = program, os.path.join(data, "annotate/sigmas.txt")
        self.classifier = Classifier(model or os.path.join(data, "annotate/noise_classifier.onnx"), n_threads)
        self.x = np.stack([i.astype(np.float32) / 127.5 - 1 for i in images]).transpose(0, 3, 1, 2)

    def answer(self, questions, pool, rng):
        """`pool`: the noise of each draw; None: afresh for each question, since no search asks for one draw twice."""
        p = np.empty(len(questions), np.float32)
        for i in range(0, len(questions), self.BATCH):
            part = questions[i : i + self.BATCH]
            sigma = part["sigma"].astype(np.float32)
            noise = rng.standard_normal((len(part), *self.x.shape[1:]), np.float32) if pool is None else pool[part["draw"]]
            blank = part["subject"] == self.BLANK
            x = self.x[np.where(blank, 0, part["subject"])] * ~blank[:, None, None, None]
            p[i : i + self.BATCH] = self.classifier.run(x + sigma[:, None, None, None] * noise, sigma)
        return p

    def search(self, mode, seed):
        """Columns sigma_min, lo, hi, n_evaluations; a row for each image."""
        rng = np.random.Generator(np.random.SFC64([seed, len(self.x), len(mode)]))
        pool = rng.standard_normal((self.POOL, *self.x.shape[1:]), np.float32) if mode == "adaptive" else None
        args = [self.program, self.sigmas, mode, str(len(self.x)), str(seed)]
        with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            while n := int(np.frombuffer(process.stdout.read(4), "u4")[0]):
                questions = np.frombuffer(process.stdout.read(n * self.QUESTION.itemsize), self.QUESTION)
                process.stdin.write(self.answer(questions, pool, rng).tobytes())
                process.stdin.flush()
            return np.frombuffer(process.stdout.read(len(self.x) * 32), "f8").reshape(-1, 4)


def dense_runs(args, bench):
    """sigma_min of two dense runs [2, n], and evaluations an image that they took, where known."""
    shipped = args.images == "shipped" and args.model is None
    path = args.dense or (os.path.join(args.data, "annotate/expected.csv") if shipped else None)
    if path and os.path.exists(path):
        rows = list(csv.DictReader(open(path)))
        return np.array([[float(r[f"sigma_min_seed{k}"]) for r in rows] for k in (1, 2)])
    runs = np.stack([bench.search("dense", 1000 + k)[:, 0] for k in (1, 2)])
    if path:
        with open(path, "w") as file:
            file.write("key,sigma_min_seed1,sigma_min_seed2\n")
            file.writelines(f"{i:04},{a:.17g},{b:.17g}\n" for i, (a, b) in enumerate(runs.T))
    return runs


def spread(errors):
    return np.array([np.median(errors), np.quantile(errors, 0.9), errors.max()])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", help="bench-search of a build")
    parser.add_argument("data", help="folder of test data")
    parser.add_argument("--images", choices=("shipped", "made"), default="shipped")
    parser.add_argument("--model", help="another classifier than that of DATA")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--dense", help="file of the two dense runs, read if there, else written")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--each", action="store_true", help="a line for each image too")
    args = parser.parse_args()

    if args.images == "shipped":
        images = tar_images(os.path.join(args.data, "annotate/images.tar"), ".png")
    else:
        images = made_images(args.data)
    bench = Bench(args.program, args.data, images, args.model, args.threads)
    grid = np.loadtxt(bench.sigmas)
    dense = dense_runs(args, bench)
    if args.seeds == 0:
        return
    crossing = (dense > grid[0] * 1.0001).all(0)
    runs = []
    for seed in range(args.seeds):
        runs.append(bench.search("adaptive", seed))
        print(f"\rseed {seed + 1} of {args.seeds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    runs = np.stack(runs)
    errors = np.abs(np.log(runs[:, None, :, 0] / dense[None]))  # [seed, dense run, image]
    inside = (runs[:, None, :, 1] <= dense * 1.0001) & (dense * 0.9999 <= runs[:, None, :, 2])
    evaluations = runs[:, :, 3]

    agreement = [spread(np.abs(np.log(dense[0] / dense[1]))[crossing])]
    agreement.append(np.mean([spread(e[crossing]) for run in errors for e in run], axis=0))
    costs = [grid.size * 4, evaluations.mean()]
    print(f"{len(images)} images ({args.images}), {crossing.sum()} with a crossing above the first sigma, "
          f"{args.seeds} seeds, each against both dense runs\n")
    print("| | median abs log ratio | 90th percentile | largest | evaluations a sample |")
    print("|---|---|---|---|---|")
    for name, row, cost in zip(("dense against dense", "adaptive against dense"), agreement, costs):
        print(f"| {name} | {row[0]:.3f} | {row[1]:.3f} | {row[2]:.3f} | {cost:.1f} |")
    ratio = agreement[1] / agreement[0]
    print(f"| ratio | {ratio[0]:.2f} | {ratio[1]:.2f} | {ratio[2]:.2f} | 1/{costs[0] / costs[1]:.0f} |\n")
    print(f"and {Bench.POOL:,} evaluations of a blank picture for each run, whatever the number of samples")
    print(f"evaluations: {evaluations[:, crossing].mean():.1f} with a crossing, "
          f"{evaluations[:, ~crossing].mean() if (~crossing).any() else 0:.1f} without; at most {evaluations.max():.0f}")
    print(f"the 90 % interval holds dense's crossing in {inside.mean():.1%} of all, "
          f"{inside[:, :, crossing].mean():.1%} with a crossing")
    print(f"without a crossing: another answer than dense in {(errors[:, :, ~crossing] > 1e-3).mean():.2%}")
    if args.each:
        for i in range(len(images)):
            print(f"{i:3} dense {dense[0, i]:.4f} {dense[1, i]:.4f} adaptive {np.median(runs[:, i, 0]):.4f} "
                  f"error {errors[:, :, i].mean():.3f} at most {errors[:, :, i].max():.3f} "
                  f"evaluations {evaluations[:, i].mean():.0f} inside {inside[:, :, i].mean():.2f}")


if __name__ == "__main__":
    main()

"""images/s and CPU-seconds of ambientd beside a torch DataLoader that decodes and noises with torch, in one run.

Every contestant delivers x_t and x_tn (f32) and both sigmas; its consumer reads every byte of each batch once (a sum).
Same pictures, same number of worker processes or threads, one after the other. The table gives ratios; figures move
with the machine, ratios hardly do. Last, what decoding in sandboxed processes costs: with and without, by turns.

    python tests/bench/loaders.py [--seconds 6] [--workers 2] [--sizes 32 256 512] [--rounds 3]

Needs torch for the other side (tests/run.sh --with-torch installs it); without it only ambientd is measured.
"""

import argparse
import io
import os
import pathlib
import resource
import statistics
import sys
import tarfile
import tempfile
import time

import numpy
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "clients" / "python"))
import ambientd  # noqa: E402

BATCH = {32: 256, 256: 32, 512: 8}
COUNT = {32: 20000, 256: 600, 512: 200}


def make_shards(folder: pathlib.Path, size: int, count: int) -> list[pathlib.Path]:
    """JPEGs with the detail of photographs: octaves of noise over soft shapes; quality 90 (95 for the smallest)."""
    shards, per_shard = [], -(-count // 4)
    rng = numpy.random.default_rng(size)
    kinds = []
    for _ in range(min(count, 200)):
        pixels = numpy.zeros((size, size, 3))
        for octave in range(2, 8):
            n = min(size, 2**octave)
            grid = rng.normal(0, 1, (n, n, 3))
            band = [numpy.asarray(Image.fromarray(grid[..., c].astype(numpy.float32)).resize((size, size), Image.BICUBIC)) for c in range(3)]
            pixels += numpy.stack(band, -1) * 60 / 1.6**octave
        data = io.BytesIO()
        Image.fromarray(numpy.clip(pixels + 128, 0, 255).astype(numpy.uint8)).save(data, "JPEG", quality=95 if size == 32 else 90)
        kinds.append(data.getvalue())
    for s in range(4):
        path = folder / f"shard-{s:06d}.tar"
        with tarfile.open(path, "w") as archive:
            for i in range(s * per_shard, min(count, (s + 1) * per_shard)):
                info = tarfile.TarInfo(f"{i:08d}.jpg")
                info.size = len(kinds[i % len(kinds)])
                archive.addfile(info, io.BytesIO(kinds[i % len(kinds)]))
        shards.append(path)
    return shards


def children(pid: int) -> list[int]:
    """The daemon's decoder processes belong to the threads that started them."""
    try:
        return [int(c) for task in pathlib.Path(f"/proc/{pid}/task").iterdir() for c in (task / "children").read_text().split()]
    except OSError:
        return []


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of this process, of its ended children, and of those named."""
    own = sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    for pid in pids + [child for pid in pids for child in children(pid)]:
        try:
            fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        own += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own


def measure(batches, seconds: float, pids) -> tuple[float, float]:
    """(images/s, CPU-seconds per 1,000 images), from the second batch on."""
    images, began, cpu = 0, None, 0.0
    for count, arrays in batches:
        for array in arrays:
            array.sum()
        if began is None:
            began, cpu = time.monotonic(), cpu_seconds(pids())
            continue
        images += count
        if time.monotonic() - began > seconds:
            break
    elapsed = time.monotonic() - began
    return images / elapsed, 1000 * (cpu_seconds(pids()) - cpu) / images


def bench_ambientd(pattern: str, size: int, seconds: float, workers: int, cached: bool, framework: str, sandbox: bool = True) -> tuple[float, float]:
    where = {"sandbox": True} if sandbox else {"no_sandbox": True}
    with ambientd.start(pattern, size=size, workers=workers, cache_size="4G" if cached else "0", **where) as server:
        pid = ambientd.Client(server.address).status()["server"]["pid"]
        fields = ["x_t", "x_tn", "sigma_t", "sigma_tn"]
        with ambientd.Loader(server.address, batch_size=BATCH[size], fields=fields, framework=framework) as loader:
            if cached:
                warm = ambientd.Client(server.address)
                while warm.status()["cache"]["entries"] < COUNT[size]:
                    next(iter(loader))
            return measure(((batch.count, [batch[name] for name in fields]) for batch in loader), seconds, lambda: [pid])


def bench_torch(shards: list[pathlib.Path], size: int, seconds: float, workers: int) -> tuple[float, float]:
    import torch

    torch.set_num_threads(1)

    class Pictures(torch.utils.data.Dataset):
        """Offsets of the JPEGs in the tars; opened anew in each worker, as one does."""

        def __init__(self):
            self.rows, self.files = [], {}
            for path in shards:
                with tarfile.open(path) as archive:
                    self.rows += [(path, m.offset_data, m.size) for m in archive]

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, i):
            path, offset, length = self.rows[i]
            file = self.files.get(path) or self.files.setdefault(path, open(path, "rb"))
            file.seek(offset)
            x = torch.from_numpy(numpy.asarray(Image.open(io.BytesIO(file.read(length))).convert("RGB")).copy())
            x = x.permute(2, 0, 1).to(torch.float32) / 127.5 - 1
            sigma = (torch.randn(()) * 1.2 - 1.2).exp()
            sigma_tn = torch.zeros(())
            x_tn = x + torch.randn_like(x) * sigma_tn
            x_t = x_tn + torch.randn_like(x) * (sigma**2 - sigma_tn**2).sqrt()
            return x_t, x_tn, sigma, sigma_tn

    loader = torch.utils.data.DataLoader(Pictures(), BATCH[size], shuffle=True, num_workers=workers, persistent_workers=True, drop_last=True, prefetch_factor=4)

    def batches():
        while True:
            for batch in loader:
                yield len(batch[0]), batch

    children = lambda: [w.pid for w in getattr(loader._iterator, "_workers", [])]  # noqa: E731
    return measure(batches(), seconds, children)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3, help="of decoding with the sandbox and without, by turns")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 256, 512], choices=sorted(BATCH))
    args = parser.parse_args()
    try:
        import torch  # noqa: F401

        framework = "torch"
    except ImportError:
        framework = "numpy"
        print("torch is not installed: only ambientd is measured")
    print(f"{args.workers} workers, batches of {BATCH}, JPEG, x_t + x_tn + sigmas f32, every byte read once, {framework}\n")
    print(f"{'size':>5}  {'loader':34} {'images/s':>10} {'ratio':>7} {'CPU-s / 1,000':>14} {'ratio':>7}")
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            shards = make_shards(pathlib.Path(folder), size, COUNT[size])
            pattern = str(pathlib.Path(folder) / "shard-*.tar")
            base = bench_torch(shards, size, args.seconds, args.workers) if framework == "torch" else (float("nan"),) * 2
            rows = [("torch DataLoader, Pillow, torch noise", base)]
            for cached in (False, True):
                rows.append((f"ambientd, {'decoded images cached' if cached else 'decoding each'}", bench_ambientd(pattern, size, args.seconds, args.workers, cached, framework)))
            pairs = [[bench_ambientd(pattern, size, args.seconds / 2, args.workers, False, framework, s)[0] for s in (True, False)] for _ in range(args.rounds)]
        for name, (rate, cpu) in rows:
            print(f"{size:5d}  {name:34} {rate:10,.0f} {rate / base[0]:6.1f}x {cpu:14.3f} {base[1] / cpu:6.1f}x", flush=True)
        if pairs:
            inside, here = (statistics.median(column) for column in zip(*pairs))
            print(f"{size:5d}  decoding in sandboxed processes {inside:,.0f}, in the daemon's own {here:,.0f}: {100 * (inside / here - 1):+.1f} % (medians of {len(pairs)} by turns)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

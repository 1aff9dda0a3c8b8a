"""Train a noise-dependent classifier on batches that ambientd streams, and export it for `ambientctl annotate`.

A classifier that sees x + sigma n and sigma learns to tell pictures of low quality from clean ones, as long as the
noise leaves anything to tell (arXiv 2506.10038, section 3). Where it cannot tell any more, a sample may be used.

    python train_classifier.py 'shards/*.tar' -o classifier.onnx --corruption-key corrupted --size 32
    python train_classifier.py --address /run/ambientd/ambientd.sock -o c.onnx --positive source=web

With shards a private daemon is started on them; with --address a running one is used, whose dataset must then admit
every sample at every sigma (no annotations yet). What counts as of low quality:

    corruption     the sample's corruption_label is above 0 (default; --corruption-key names the field of its .json)
    source=NAME    it comes from that source (--address; the dataset has several)
    label=N        its label is N; several by commas

However many of the samples are of low quality, the exported network answers as if half were: 0.5 where it cannot tell,
which is what the rule for sigma_min expects.

Needs torch; onnx and onnxruntime for the export and its check.
"""

import argparse
import importlib.util
import math
import os
import sys
import time

import numpy
import torch

import ambientd


class Classifier(torch.nn.Module):
    """Four convolutions with log sigma mixed into each (FiLM); 20,000 parameters at the default width."""

    def __init__(self, channels, width):
        super().__init__()
        widths = [width, width, 2 * width, 2 * width]
        strides = [1, 2, 2, 1]
        self.embed = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.SiLU())
        self.convs, self.films = torch.nn.ModuleList(), torch.nn.ModuleList()
        before = channels
        for after, stride in zip(widths, strides):
            self.convs.append(torch.nn.Conv2d(before, after, 3, stride, 1))
            self.films.append(torch.nn.Linear(32, 2 * after))
            before = after
        self.head = torch.nn.Sequential(torch.nn.Linear(2 * sum(widths) + 32, 48), torch.nn.SiLU(), torch.nn.Linear(48, 1))
        self.register_buffer("frequencies", torch.tensor([0.5, 1.0, 2.0, 4.0]))

    def forward(self, x, sigma):
        """x [N,C,H,W] noisy, sigma [N] -> logits [N] of low quality."""
        noise = sigma.clamp(0.02).log()[:, None] / 4 * self.frequencies  # EDM's c_noise; below, noise is hardly drawn or seen
        embedded = self.embed(torch.cat([noise.sin(), noise.cos()], 1))
        h = x / (0.25 + sigma * sigma).sqrt()[:, None, None, None]  # EDM's c_in, sigma_data = 0.5
        pooled = [embedded]
        for conv, film in zip(self.convs, self.films):
            scale, shift = film(embedded)[:, :, None, None].chunk(2, 1)
            h = torch.nn.functional.silu(conv(h) * (1 + scale) + shift)
            # mean and energy of every layer: blur and grain are a matter of statistics, not of places
            pooled += [h.mean((2, 3)), ((h * h).mean((2, 3)) + 1e-6).log()]
        return self.head(torch.cat(pooled, 1))[:, 0]


def parse_arguments():
    description, _, rest = __doc__.partition("\n")
    parser = argparse.ArgumentParser(description=description, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", nargs="*", help="tar, zip or folder; globs and brace lists")
    parser.add_argument("-o", "--output", default="classifier.onnx", help="the ONNX file, default classifier.onnx")
    parser.add_argument("--address", help="socket of a running daemon, instead of shards")
    parser.add_argument("--dataset", help="of the running daemon, where it serves several")
    parser.add_argument("--size", default="32", help="side of the pictures, 32 by default; with shards only")
    parser.add_argument("--corruption-key", default="corrupted", help="field of the .json: 0 or absent for clean samples")
    parser.add_argument("--positive", default="corruption", help="corruption, source=NAME or label=N[,N]; see below")
    parser.add_argument("--steps", type=int, default=1500, help="default 1500")
    parser.add_argument("--batch-size", type=int, default=128, help="default 128")
    parser.add_argument("--width", type=int, default=16, help="channels of the first layers, default 16")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate at the start, falls to 0 by a cosine")
    parser.add_argument("--p-mean", type=float, default=-1.2, help="of log sigma, default -1.2 (EDM)")
    parser.add_argument("--p-std", type=float, default=1.6, help="of log sigma, default 1.6: EDM's 1.2 hardly draws the first sigmas "
                        "of the grid that annotations are searched on")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if bool(args.shards) == bool(args.address):
        parser.error("give either shards or --address")
    for name in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            parser.error(f"{name}, which the export needs, is not installed: pip install {name}")
    folder = os.path.dirname(args.output) or "."
    if not os.access(folder, os.W_OK | os.X_OK):
        parser.error(f"{args.output} cannot be written: {folder} is no folder that one may write to")
    return args


def positives(args, client):
    """(fields to stream, function of a batch -> bool [N])."""
    kind, _, value = args.positive.partition("=")
    if kind == "corruption" and not value:
        return ["corruption_label"], lambda batch: batch.corruption_label > 0
    if kind == "label" and all(word.isdigit() for word in value.split(",")):
        wanted = torch.tensor([int(word) for word in value.split(",")])
        return ["label"], lambda batch: torch.isin(batch.label, wanted)
    if kind == "source":
        for source in client.ls("sources", dataset=args.dataset)["rows"]:
            if source["name"] == value:
                first, last = source["first"], source["first"] + source["samples"]
                return ["index"], lambda batch: (batch.index >= first) & (batch.index < last)
        sys.exit(f"train_classifier.py: the dataset has no source {value!r}")
    sys.exit(f"train_classifier.py: --positive is {args.positive!r}, allowed: corruption, source=NAME, label=N[,N]")


def report(bands, where):
    print(f"\n{where}: share told right, by noise level")
    for (lo, hi), (right, total) in sorted(bands.items()):
        if total:
            print(f"  sigma {lo:6.3g} to {hi:6.3g}  {right / total:6.1%} of {total}")


def count(bands, sigma, logits, target):
    right = (logits > 0) == target
    for (lo, hi), row in bands.items():
        inside = (sigma >= lo) & (sigma < hi)
        row[0] += int((right & inside).sum())
        row[1] += int(inside.sum())


def train(args, address):
    client = ambientd.Client(address)
    fields, is_positive = positives(args, client)
    torch.manual_seed(args.seed)
    # a core for the daemon: torch's threads spin while they wait for one that it keeps from running
    torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 1) - 1)))
    edges = [0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 1e9]
    held_out = {band: [0, 0] for band in zip(edges, edges[1:])}
    model, began, losses, share = None, time.monotonic(), [], []
    loader = ambientd.Loader(address, dataset=args.dataset, batch_size=args.batch_size, seed=args.seed, steps=args.steps,
                             schedule=ambientd.LogNormal(args.p_mean, args.p_std), framework="torch",
                             fields=sorted({"x_t", "s_t", "s_tn", "index", *fields}))
    for step, batch in enumerate(loader):
        if (batch.s_tn > 0).any():
            sys.exit("train_classifier.py: samples of the dataset have annotations, which keep them from low noise levels; "
                     "train on one without")
        x, sigma, target = batch.x_t, batch.s_t.float(), is_positive(batch)
        if model is None:
            shape = tuple(x.shape[1:])
            model = Classifier(shape[0], args.width)
            optimiser = torch.optim.AdamW(model.parameters(), args.rate, weight_decay=0.01)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, args.rate, total_steps=args.steps, pct_start=0.1)
        # one sample in sixteen, the same ones for ever, is never trained on
        test = (batch.index * 2654435761 >> 16) % 16 == 0
        logits = model(x, sigma)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[~test], target[~test].float())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        share.append(target.float().mean().item())
        if step >= args.steps * 3 // 4:
            count(held_out, sigma[test], logits[test].detach(), target[test])
        if step % 50 == 49 or step + 1 == args.steps:
            if numpy.mean(share) in (0, 1):
                sys.exit(f"\ntrain_classifier.py: {'none' if share[0] == 0 else 'each'} of {len(share) * args.batch_size:,} samples "
                         "is of low quality, both kinds are needed; look at --positive and --corruption-key")
            rate = (step + 1) / (time.monotonic() - began)
            print(f"\r  step {step + 1:5d} of {args.steps}  loss {numpy.mean(losses[-50:]):.4f}  {rate:.1f} steps/s  "
                  f"{(args.steps - step - 1) / rate:.0f} s left ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters; {numpy.mean(share):.1%} of what was drawn is of low "
          f"quality; a blind guess has loss {entropy(numpy.mean(share)):.4f}")
    report(held_out, "held-out samples, over the last quarter of training")
    with torch.no_grad():
        # a network that has learnt from unequal shares answers with their odds where it cannot tell
        model.head[-1].bias -= math.log(numpy.mean(share) / (1 - numpy.mean(share)))
    return model, shape


def entropy(p):
    return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)


def main():
    args = parse_arguments()
    try:
        if args.address:
            model, shape = train(args, args.address)
        else:
            with ambientd.start(*args.shards, size=args.size, corruption_key=args.corruption_key) as server:
                model, shape = train(args, server.address)
        difference = ambientd.export_classifier(model, args.output, image_shape=shape)
    except ambientd.AmbientError as error:
        sys.exit(f"train_classifier.py: {error}")
    print(f"\n{args.output}: x [N, {', '.join(map(str, shape))}], logits differ from torch by {difference:.1g} at most")
    return 0


if __name__ == "__main__":
    sys.exit(main())

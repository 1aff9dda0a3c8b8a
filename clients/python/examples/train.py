"""Train a small U-Net on shards of mixed quality with the ambient loss, on the CPU or a GPU.

    python train.py 'shards/*.tar' --annotations a.jsonl --steps 400
    python train.py 'shards/*.tar' --annotations a.jsonl --steps 400 --resume     # goes on where it was

Every --save steps a checkpoint holds the model, the optimizer and the loader's state, written at once by rename. A
trainer that was killed goes on from it with --resume. A daemon that died is waited for (--reconnect) and asked for the
very batch that would have come next; without --socket the trainer starts a private daemon itself. Either way the loss
curve, one line of --curve for each step, is the one of a run that nobody disturbed.

The network, its preconditioning and the noise levels are those of EDM (arXiv 2206.00364), small; the loss is that of
arXiv 2404.10177 as in Ambient Diffusion Omni (arXiv 2506.10038).
"""
from __future__ import annotations

import argparse
import contextlib
import os
import time
from pathlib import Path

import torch
from torch import nn

import ambientd
from ambientd import loss

SIGMA_DATA = 0.5
FIELDS = ["x_t", "x_tn", "s_t", "s_tn"]


class Block(nn.Module):
    """Residual block, modulated by the noise level."""

    def __init__(self, n_in: int, n_out: int, n_embed: int) -> None:
        super().__init__()
        self.norm_in, self.norm_out = nn.GroupNorm(8, n_in), nn.GroupNorm(8, n_out)
        self.conv_in = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.conv_out = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.embed = nn.Linear(n_embed, 2 * n_out)
        self.skip = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        scale, shift = self.embed(embedding)[:, :, None, None].chunk(2, 1)
        h = self.conv_in(nn.functional.silu(self.norm_in(x)))
        h = nn.functional.silu(self.norm_out(h) * (1 + scale) + shift)
        return (self.skip(x) + self.conv_out(h)) / 2**0.5


class UNet(nn.Module):
    """Three resolutions, one block each way."""

    def __init__(self, n_channels: int, width: int) -> None:
        super().__init__()
        n_embed = 4 * width
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, 5, width // 2)))
        self.embed = nn.Sequential(nn.Linear(width, n_embed), nn.SiLU(), nn.Linear(n_embed, n_embed), nn.SiLU())
        self.enter = nn.Conv2d(n_channels, width, 3, padding=1)
        self.down = nn.ModuleList([Block(width, width, n_embed), Block(width, 2 * width, n_embed)])
        self.middle = Block(2 * width, 2 * width, n_embed)
        self.up = nn.ModuleList([Block(4 * width, width, n_embed), Block(2 * width, width, n_embed)])
        self.leave = nn.Conv2d(width, n_channels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        angle = level[:, None] * self.frequencies
        embedding = self.embed(torch.cat([angle.cos(), angle.sin()], 1))
        x = self.enter(x)
        skips = []
        for block in self.down:
            x = block(x, embedding)
            skips.append(x)
            x = nn.functional.avg_pool2d(x, 2)
        x = self.middle(x, embedding)
        for block in self.up:
            x = nn.functional.interpolate(x, scale_factor=2)
            x = block(torch.cat([x, skips.pop()], 1), embedding)
        return self.leave(nn.functional.silu(x))


class Denoiser(nn.Module):
    """Predicts x0 from x_t at level s, in EDM's preconditioning; x_t is scaled to the VE process first."""

    def __init__(self, n_channels: int, width: int) -> None:
        super().__init__()
        self.network = UNet(n_channels, width)

    def forward(self, x_t: torch.Tensor, s: torch.Tensor, process: str) -> torch.Tensor:
        s = s.float()
        x = x_t / loss.alpha(s, process).float()[:, None, None, None]
        total = (s**2 + SIGMA_DATA**2).sqrt()[:, None, None, None]
        of_x = SIGMA_DATA**2 / total**2
        of_network = s[:, None, None, None] * SIGMA_DATA / total
        return of_x * x + of_network * self.network(x / total, s.log() / 4)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", help="shards for a private daemon")
    parser.add_argument("--socket", help="of a daemon that runs already, instead of patterns")
    parser.add_argument("--annotations", help="annotations.jsonl, for the private daemon")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--process", choices=["ve", "vp", "flow"], default="ve")
    parser.add_argument("--steps", type=int, default=400, help="in all, those before a resume included")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--width", type=int, default=16, help="of the network, a multiple of 8")
    parser.add_argument("--s-max", type=float, default=4,
                        help="keeps samples away from their own trust level, so that the ambient factor of ve stays "
                             "below its square; 0 turns it off")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoint.pt"))
    parser.add_argument("--curve", type=Path, help="file of one line 'step loss' a step, written anew by each run")
    parser.add_argument("--save", type=int, default=50, help="steps between checkpoints")
    parser.add_argument("--resume", action="store_true", help="from the checkpoint, if there is one")
    parser.add_argument("--reconnect", type=float, default=60, help="seconds to wait for a daemon that went away")
    options = parser.parse_args()
    if bool(options.patterns) == bool(options.socket):
        parser.error("give patterns of shards, or --socket of a running daemon")
    return options


def save(path: Path, **parts: object) -> None:
    """At once: a kill leaves the old checkpoint or the new one."""
    fresh = path.with_name(path.name + ".new")
    with open(fresh, "wb") as file:
        torch.save(parts, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def train(address: str, options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    with ambientd.Client(address) as client:
        (shape,) = (dataset["shape"] for dataset in client.status()["datasets"].values())
    model = Denoiser(shape["channels"], options.width).to(options.device)
    optimizer = torch.optim.Adam(model.parameters(), options.rate)
    curve: list[float] = []
    state = None
    if options.resume and options.checkpoint.exists():
        saved = torch.load(options.checkpoint, map_location=options.device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        curve, state = saved["curve"], saved["loader"]
        print(f"resumed behind step {len(curve) - 1}", flush=True)
    if len(curve) >= options.steps:
        print(f"trained {len(curve)} steps already")
        return
    loader = ambientd.Loader(address, batch_size=options.batch_size, fields=FIELDS, process=options.process,
                             seed=options.seed, s_max=options.s_max or None, framework="torch", device=options.device,
                             steps=options.steps - len(curve), reconnect_timeout=options.reconnect)
    if state is not None:
        loader.load_state_dict(state)
    file = open(options.curve, "w") if options.curve else contextlib.nullcontext()
    with loader, file as lines:
        if lines:
            lines.writelines(f"{step} {value}\n" for step, value in enumerate(curve))
        began, first = time.monotonic(), len(curve)
        for batch in loader:
            assert batch.step == len(curve), "the loader and the optimizer disagree about the step"
            curve.append(step_of(model, optimizer, batch, options.process))
            if lines:
                print(batch.step, curve[-1], file=lines, flush=True)
            if len(curve) % 10 == 0:
                rate = (len(curve) - first) * options.batch_size / (time.monotonic() - began)
                print(f"step {batch.step:6d}  loss {sum(curve[-10:]) / 10:8.4f}  {rate:7.0f} images/s", flush=True)
            if len(curve) % options.save == 0 or len(curve) == options.steps:
                save(options.checkpoint, model=model.state_dict(), optimizer=optimizer.state_dict(),
                     loader=batch.state, curve=curve)
        print(f"trained {len(curve)} steps; the checkpoint is {options.checkpoint}", flush=True)


def step_of(model: Denoiser, optimizer: torch.optim.Optimizer, batch: ambientd.Batch, process: str) -> float:
    x0_pred = model(batch.x_t, batch.s_t, process)
    error = loss.ambient_loss(x0_pred, batch.x_t, batch.x_tn, batch.s_t, batch.s_tn, process).mean()
    optimizer.zero_grad()
    error.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return error.item()


def main() -> None:
    options = arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.socket:
        train(options.socket, options)
        return
    with ambientd.start(*options.patterns, annotations=options.annotations, size=options.size) as server:
        train(server.address, options)


if __name__ == "__main__":
    main()

"""A trainer small enough to read at a glance: it learns, for each noise level, how to shrink x_t towards the mean image.

The model is x0 = mean + gain[sigma] * (x_t - mean); gain has 24 knots over log sigma. It is trained by SGD with the
ambient loss, from batches that ambientd has already noised. For pictures of variance v the right gain is
v / (v + sigma^2), so one can see it learn.

    python train.py ADDRESS [SECONDS]
"""

import sys
import time

import numpy

import ambientd

KNOTS = numpy.linspace(numpy.log(0.01), numpy.log(50), 24)


class Shrink:
    def __init__(self, shape):
        self.mean = numpy.zeros(shape)
        self.gain = numpy.full(len(KNOTS), 0.5)
        self.seen = 0

    def step(self, batch, rate=0.3):
        x_t, x_tn = batch.x_t.astype(numpy.float64), batch.x_tn
        s_t, s_tn = batch.s_t.astype(numpy.float64), batch.s_tn.astype(numpy.float64)
        knot = numpy.abs(numpy.log(s_t)[:, None] - KNOTS).argmin(1)
        centred = x_t - self.mean
        x0_pred = self.mean + self.gain[knot][:, None, None, None] * centred
        # compare at the trust level: what is below it in a spoilt picture is never looked at
        shrink = (1 - (s_tn / s_t) ** 2)[:, None, None, None]
        error = shrink * x0_pred + (1 - shrink) * x_t - x_tn
        slope = (error * shrink * centred).mean((1, 2, 3)) / ((shrink * centred) ** 2).mean((1, 2, 3))
        for k in numpy.unique(knot):
            self.gain[k] -= rate * slope[knot == k].mean()
        clean = (s_tn == 0) & (s_t < 1)
        if clean.any():
            self.seen += 1
            self.mean += (x_tn[clean].mean(0) - self.mean) / self.seen
        weight = batch.weight / batch.weight.sum()
        return float((weight * (error**2).mean((1, 2, 3))).sum())


def main():
    address, seconds = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 6.0
    fields = ["x_t", "x_tn", "s_t", "s_tn", "weight"]
    with ambientd.Loader(address, batch_size=128, fields=fields, seed=1) as loader:
        model, losses = None, []
        began = shown = time.monotonic()
        for step, batch in enumerate(loader, 1):
            model = model or Shrink(batch.x_t.shape[1:])
            losses.append(model.step(batch))
            now = time.monotonic()
            if now - shown > 1 or now - began > seconds:
                rate = 128 * step / (now - began)
                print(f"  step {step:4d}   ambient loss {numpy.mean(losses[-20:]):.4f}   {rate:,.0f} images/s with training", flush=True)
                shown = now
            if now - began > seconds:
                break
    print("  learnt gain at sigma " + ", ".join(f"{numpy.exp(KNOTS[k]):.2g}: {model.gain[k]:.2f}" for k in (8, 12, 14, 16, 19)))


if __name__ == "__main__":
    main()

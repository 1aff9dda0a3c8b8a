"""Train in five lines: python five_lines.py 'shards/*.tar' [annotations.jsonl]"""
import sys

import ambientd

with ambientd.start(sys.argv[1], annotations=sys.argv[2] if len(sys.argv) > 2 else None, size=32) as server:
    for batch in ambientd.Loader(server.address, batch_size=256, fields="x_t x_tn s_t s_tn key".split(), steps=10):
        shrunk = batch.x_t * (0.25 / (0.25 + batch.s_t**2))[:, None, None, None]  # a denoiser would stand here
        loss = ambientd.loss.ambient_loss(shrunk, batch.x_t, batch.x_tn, batch.s_t, batch.s_tn).mean()
        print(f"step {batch.step}: loss {loss:.3f}, first of {batch.count} samples: {batch.key[0]}")

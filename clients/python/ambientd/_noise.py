"""The product's normals in plain numpy, bit for bit (proto/noise.md): for checks and for trainers that noise themselves.

Slow beside the daemon (about 5 million a second): the point is that these bits need no C. An f32 fused multiply-add is
made from f64: the product of two f32 is exact there, the sum is rounded to odd, and from 53 bits rounded to odd the
rounding to 24 bits is the right one.
"""

from __future__ import annotations

import numpy as np

GROUP = 64
_MASK = np.uint64(0xFFFFFFFF)
_Q = [float.fromhex(c) for c in ("0x1.543872p-3", "-0x1.5f9e28p-3", "0x1.4a752cp-3", "-0x1.954570p-3",
                                 "0x1.0048b0p-2", "-0x1.55613cp-2", "0x1.fffebap-2", "-0x1p0")]
_S = [float.fromhex(c) for c in ("0x1.407fa8p-4", "-0x1.328054p-1", "0x1.466b28p+1", "-0x1.4abbd8p+2",
                                 "0x1.921fb6p+1")]
_C = [float.fromhex(c) for c in ("0x1.c29304p-3", "-0x1.55020ap+0", "0x1.03bd9ap+2", "-0x1.3bd3b0p+2", "0x1p0")]


def philox(key: int, block: np.ndarray, counter: int) -> list[np.ndarray]:
    """Philox4x32-10: the four words, as uint64 arrays below 2^32, of each block number."""
    block = np.asarray(block, np.uint64)
    x = [block & _MASK, block >> np.uint64(32), np.uint64(counter & 0xFFFFFFFF), np.uint64(counter >> 32)]
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * x[0], np.uint64(0xCD9E8D57) * x[2]
        x = [(p1 >> np.uint64(32)) ^ x[1] ^ np.uint64(k0), p1 & _MASK,
             (p0 >> np.uint64(32)) ^ x[3] ^ np.uint64(k1), p0 & _MASK]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return x


def fma(a: np.ndarray | float, b: np.ndarray, c: np.ndarray | float) -> np.ndarray:
    """f32 a * b + c, rounded once. Arguments must be f32 values; nothing may overflow or be subnormal."""
    product = np.multiply(a, b, dtype=np.float64)
    c = np.broadcast_to(np.asarray(c, np.float64), product.shape)
    total = product + c
    back = total - product
    rest = (product - (total - back)) + (c - back)  # exact: Knuth's TwoSum
    bits = total.view(np.int64).copy()
    away = np.where((rest > 0) == (total > 0), 1, -1)  # an even last bit moves to the odd neighbour on the rest's side
    bits += np.where((rest != 0) & (bits & 1 == 0), away, 0)
    return bits.view(np.float64).astype(np.float32)


def _horner(coefficients: list[float], x: np.ndarray) -> np.ndarray:
    total: np.ndarray | float = coefficients[0]
    for c in coefficients[1:]:
        total = fma(total, x, c)
    return np.asarray(total, np.float32)


def box_muller(w0: np.ndarray, w1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of words to two arrays of normals."""
    w0, w1 = (np.atleast_1d(np.asarray(w)).astype(np.uint32) for w in (w0, w1))
    v = w0.view(np.int32).astype(np.float32)
    y = fma(v, v, 0.0625).view(np.uint32)
    k = (y - np.uint32(0x5E2AAAAB)) & np.uint32(0xFF800000)
    f = fma((y - k).view(np.float32), np.float32(2.0**-62), -1.0)
    ln2 = np.float32(-float.fromhex("0x1.62e430p-24"))
    r = np.sqrt(fma(f, _horner(_Q, f), k.view(np.int32).astype(np.float32) * ln2))
    r = (r.view(np.uint32) ^ (w0 & np.uint32(0x80000000))).view(np.float32)
    x = w1.view(np.int32).astype(np.float32) * np.float32(2.0**-32)
    z = x * x
    return r * _horner(_C, z), (r * x) * _horner(_S, z)


def normals(n: int, key: int, counter: int, first: int = 0) -> np.ndarray:
    """Elements first .. first + n of the array (key, counter), f32."""
    group = first // GROUP
    n_groups = -(-(first + n) // GROUP) - group
    w = philox(key, np.arange(16 * group, 16 * (group + n_groups), dtype=np.uint64), counter)
    out = np.stack([*box_muller(w[0], w[1]), *box_muller(w[2], w[3])])
    out = out.reshape(4, n_groups, 16).transpose(1, 0, 2).reshape(-1)
    return out[first - GROUP * group:][:n]

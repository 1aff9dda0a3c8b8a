"""The numpy normals against proto/golden/noise.json, bit for bit."""
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from ambientd import _noise

GOLDEN = Path(__file__).parents[3] / "proto" / "golden" / "noise.json"


def fnv1a64(data: bytes) -> str:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def test_golden_normals_are_made_bit_for_bit():
    if not GOLDEN.exists():
        pytest.skip("proto/golden/noise.json is not beside this package: tests run in the repository")
    rows = json.loads(GOLDEN.read_text())["normals"]
    assert len(rows) >= 5
    for row in rows:
        normals = _noise.normals(4096, int(row["key"], 16), int(row["counter"], 16))
        assert [f"{bits:08x}" for bits in normals[:16].view(np.uint32)] == row["bits"]
        assert fnv1a64(normals.tobytes()) == row["fnv1a64_4096"]


def test_a_part_of_an_array_is_that_part():
    whole = _noise.normals(1000, 5, 2**63 + 7)
    for first, n in ((0, 1), (63, 2), (64, 64), (700, 300)):
        np.testing.assert_array_equal(_noise.normals(n, 5, 2**63 + 7, first), whole[first:first + n])


def test_fma_rounds_once():
    """Against exact fractions, on operands whose f64 sum lies beside a midpoint of f32: where two roundings go wrong."""
    rng = np.random.default_rng(0)
    a = (1 + rng.integers(0, 1 << 12, 4000) * 2.0**-12).astype(np.float32)
    b = (1 + rng.integers(0, 1 << 12, 4000) * 2.0**-12).astype(np.float32)
    c = (rng.choice([-1, 1], 4000) * 2.0 ** rng.integers(-60, 3, 4000)).astype(np.float32)
    got = _noise.fma(a, b, c)
    twice = (a.astype(np.float64) * b + c).astype(np.float32)
    for i in range(4000):
        exact = Fraction(float(a[i])) * Fraction(float(b[i])) + Fraction(float(c[i]))
        error = abs(Fraction(float(got[i])) - exact)
        for side in (-np.inf, np.inf):
            beside = np.nextafter(got[i], np.float32(side))
            other = abs(Fraction(float(beside)) - exact)
            assert error < other or (error == other and int(got[i:i + 1].view(np.uint32)[0]) % 2 == 0)
    assert np.any(got != twice)  # the operands are such that rounding twice shows

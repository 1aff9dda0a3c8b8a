"""The numpy normals against proto/golden/noise.json, bit for bit."""
import json
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

"""Schedules: what goes out, what is refused."""
import math

import pytest

import ambientd


def test_what_goes_out():
    assert ambientd.LogNormal(-1.2, 1.2).to_json() == {"kind": "lognormal", "scale": "s", "mean": -1.2, "std": 1.2}
    assert ambientd.LogUniform(0.002, 80).to_json() == {"kind": "loguniform", "scale": "s", "lo": 0.002, "hi": 80.0}
    assert ambientd.Uniform(0, 1).to_json() == {"kind": "uniform", "scale": "s", "lo": 0.0, "hi": 1.0}
    assert ambientd.LogitNormal().to_json() == {"kind": "logitnormal", "scale": "t", "mean": 0.0, "std": 1.0}
    assert ambientd.Constant(0).to_json() == {"kind": "constant", "scale": "s", "level": 0.0}
    assert ambientd.Table([0, 1], [0, 1], scale="t").to_json() == {
        "kind": "table", "scale": "t", "points": [[0.0, 0.0], [1.0, 1.0]]}
    assert ambientd.LogNormal() == ambientd.LogNormal(-1.2, 1.2) != ambientd.LogNormal(-1.0, 1.2)
    assert repr(ambientd.Constant(1)) == "Constant(level=1.0, scale='s')"


@pytest.mark.parametrize("make", [
    lambda: ambientd.LogNormal(0, 0), lambda: ambientd.LogNormal(math.nan), lambda: ambientd.LogNormal(scale="x"),
    lambda: ambientd.LogUniform(0, 1), lambda: ambientd.LogUniform(2, 1), lambda: ambientd.Uniform(-1, 1),
    lambda: ambientd.Uniform(0, math.inf), lambda: ambientd.LogitNormal(scale="s"), lambda: ambientd.Constant(-1),
    lambda: ambientd.Constant(math.nan), lambda: ambientd.Table([0, 1], [1]), lambda: ambientd.Table([0, 0.5], [1, 2]),
    lambda: ambientd.Table([0, 0, 1], [1, 2, 3]), lambda: ambientd.Table([0, 1], [2, 1]),
    lambda: ambientd.Table([i / 64 for i in range(65)], range(65))])
def test_what_is_no_distribution_is_refused(make):
    with pytest.raises(ambientd.ConfigError):
        make()

"""Statistics of what comes over the wire, against exact expectation (issue 3, 6.3). Seeds are fixed: no flakes.

The limit of each test is a quantile of the exact distribution, so a wrong constant fails and luck cannot.
"""

import json
import math

import numpy
import pytest

import ambientd
import datasets

N = 2000


def normal_cdf(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


def chi2_limit(dof):
    """Wilson-Hilferty quantile at one in a million."""
    return dof * (1 - 2 / (9 * dof) + 4.75 * math.sqrt(2 / (9 * dof))) ** 3


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("statistics")
    pattern = datasets.tar_set(folder / "shards", N, size=8, per_shard=500)
    with ambientd.start(pattern, annotations=datasets.annotate(folder / "a.jsonl", N), size=8) as server:
        server.annotations = [json.loads(line) for line in open(folder / "a.jsonl")]
        yield server


@pytest.fixture(scope="module")
def limits(server):
    lo = numpy.array([row["sigma_min"] for row in server.annotations], numpy.float32)
    hi = numpy.array([row.get("sigma_max", 0.0) for row in server.annotations], numpy.float32)
    return lo, hi


@pytest.fixture(scope="module")
def million(server):
    """2^20 draws of each policy: s in f64, sample number, trust level."""
    return {policy: collect(server, policy) for policy in ("pass", "uniform")}


def collect(server, policy):
    out = []
    with ambientd.Loader(server.address, batch_size=4096, fields=["s_t:f64", "s_tn:f64", "index"], steps=256, policy=policy, seed=17) as loader:
        for batch in loader:
            out.append((numpy.array(batch.s_t), numpy.array(batch.s_tn), numpy.array(batch.index)))
    return tuple(numpy.concatenate(column) for column in zip(*out))


@pytest.mark.parametrize("policy", ["pass", "uniform"])
def test_sigma_follows_the_schedule(million, policy):
    """ln s ~ N(-1.2, 1.2^2): 100 bins of equal probability, chi-squared."""
    s = million[policy][0]
    u = numpy.array([normal_cdf(x) for x in (numpy.log(s) + 1.2) / 1.2])
    counts, _ = numpy.histogram(u, 100, (0, 1))
    chi2 = ((counts - len(s) / 100) ** 2 / (len(s) / 100)).sum()
    print(f"{policy}: chi2 {chi2:.1f} on 99 degrees, limit {chi2_limit(99):.1f}")
    assert chi2 < chi2_limit(99)


@pytest.mark.parametrize("policy", ["pass", "uniform"])
def test_no_inadmissible_pair(million, limits, policy):
    s, s_n, index = million[policy]
    lo, hi = limits[0][index].astype(float), limits[1][index].astype(float)
    assert ((s > lo) | (s < hi)).all()
    assert (s_n == numpy.where(s > lo, lo, 0)).all()


def test_uniform_is_uniform_over_the_admissible(million, limits):
    """For each sample, expected uses = sum over draws of admitted / number admitted."""
    s, _, index = million["uniform"]
    expected = expected_uses(s, limits)
    used = numpy.bincount(index, minlength=N)
    keep = expected > 20
    chi2 = ((used - expected)[keep] ** 2 / expected[keep]).sum()
    print(f"uniform: chi2 {chi2:.0f} over {keep.sum()} samples, limit {chi2_limit(keep.sum()):.0f}")
    assert chi2 < chi2_limit(int(keep.sum()))


def expected_uses(s, limits):
    lo, hi = limits[0].astype(float), limits[1].astype(float)
    s = numpy.sort(s)
    everywhere = hi > lo
    n_admit = numpy.searchsorted(numpy.sort(numpy.where(everywhere, 0, lo)), s, "left")
    closed = numpy.sort(hi[(~everywhere) & (hi > 0)])
    n_admit = n_admit + (len(closed) - numpy.searchsorted(closed, s, "right"))
    share = numpy.concatenate([[0], numpy.cumsum(1 / n_admit)])
    above = share[-1] - share[numpy.searchsorted(s, lo, "right")]
    below = share[numpy.searchsorted(s, hi, "left")]
    return numpy.where(everywhere, share[-1], above + below)


def test_pass_uses_samples_equally(million, limits):
    """Same expectation as uniform, far less variance: that is what passes are for."""
    s, _, index = million["pass"]
    expected = expected_uses(s, limits)
    used = numpy.bincount(index, minlength=N)
    keep = expected > 20
    ratio = ((used - expected)[keep] ** 2 / expected[keep]).mean()
    bias = used[keep].sum() / expected[keep].sum() - 1
    print(f"pass: variance {ratio:.2f} of independent draws, bias {bias:+.5f}")
    assert abs(bias) < 0.002 and ratio < 0.6


def test_pass_without_annotations_is_an_epoch(tmp_path):
    pattern = datasets.tar_set(tmp_path / "plain", 500, size=8)
    with ambientd.start(pattern, size=8) as server:
        with ambientd.Loader(server.address, batch_size=50, fields=["index"], passes=3) as loader:
            assert len(loader) == 30
            index = numpy.concatenate([numpy.array(batch.index) for batch in loader]).reshape(3, 500)
    for epoch in index:
        assert sorted(epoch) == list(range(500))
    assert (index[0] != index[1]).any()


def test_repeat_counts_in_each_pass(tmp_path):
    """Source weights 1 and 2.5: in a pass each sample of the second comes two or three times, half of them three."""
    one = datasets.tar_set(tmp_path / "one", 100, size=8)
    two = datasets.tar_set(tmp_path / "two", 100, size=8)
    config = {"datasets": {"main": {"sources": {"one": {"shards": [one]}, "two": {"shards": [two], "repeat": 2.5}},
                                    "image": {"size": 8}}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with ambientd.start(config=tmp_path / "config.json") as server:
        with ambientd.Loader(server.address, batch_size=70, fields=["index"], steps=15) as loader:
            index = numpy.concatenate([numpy.array(batch.index) for batch in loader]).reshape(3, 350)
    for one_pass in index:
        counts = numpy.bincount(one_pass, minlength=200)
        assert (counts[:100] == 1).all()
        assert set(counts[100:]) == {2, 3} and (counts[100:] == 3).sum() == 50


@pytest.mark.parametrize("process", ["ve", "vp", "flow"])
def test_noise_has_the_variance_of_the_process(server, process):
    """x_t - alpha_t x0 has variance t^2, x_tn - alpha_n x0 has tn^2; the two steps' noises are independent."""
    fields = ["x_t", "x_tn", "x0", "sigma_t", "sigma_tn", "s_t", "s_tn"]
    schedule = ambientd.LogNormal(-0.5, 1.0)
    ratio_t, ratio_n, cross, n = 0.0, 0.0, 0.0, 0
    rows_n = 0
    with ambientd.Loader(server.address, batch_size=512, fields=fields, steps=40, process=process, schedule=schedule, seed=2) as loader:
        for batch in loader:
            s, s_n = batch.s_t.astype(float), batch.s_tn.astype(float)
            t, tn = batch.sigma_t.astype(float), batch.sigma_tn.astype(float)
            alpha = {"ve": lambda v: numpy.ones_like(v), "vp": lambda v: 1 / numpy.sqrt(1 + v * v), "flow": lambda v: 1 / (1 + v)}[process]
            assert numpy.allclose(t, alpha(s) * s, rtol=1e-6) and numpy.allclose(tn, alpha(s_n) * s_n, rtol=1e-6)
            shape = (-1, 1, 1, 1)
            x0, x_tn, x_t = (batch[name].astype(float) for name in ("x0", "x_tn", "x_t"))
            first = x_tn - alpha(s_n).reshape(shape) * x0
            whole = x_t - alpha(s).reshape(shape) * x0
            a = (alpha(s) / alpha(s_n)).reshape(shape)
            second = x_t - a * x_tn
            sd2 = numpy.sqrt(numpy.maximum(t**2 - a.ravel() ** 2 * tn**2, 1e-30)).reshape(shape)
            low = tn > 0.02
            ratio_t += ((whole / t.reshape(shape)) ** 2).sum()
            n += whole.size
            ratio_n += ((first[low] / tn[low].reshape(shape)) ** 2).sum()
            rows_n += first[low].size
            cross += ((first[low] / tn[low].reshape(shape)) * (second / sd2)[low]).sum()
            assert (first[tn == 0] == 0).all()
    # variance of a mean of chi-squared(1): 2/n; f32 rounding is far below
    print(f"{process}: var_t {ratio_t / n:.5f} var_tn {ratio_n / rows_n:.5f} correlation {cross / rows_n:+.5f}")
    assert abs(ratio_t / n - 1) < 5 * math.sqrt(2 / n)
    # the fixed noise is one array for each sample: its sample variance has only N x 192 independent values
    assert abs(ratio_n / rows_n - 1) < 5 * math.sqrt(2 / (N * 192 * 0.5))
    assert abs(cross / rows_n) < 5 / math.sqrt(rows_n)


def test_fixed_noise_is_the_same_at_each_visit_flipped_or_not(server):
    seen, compared, flips = {}, 0, 0
    fields = ["x_tn", "x0", "s_tn", "index", "seeds"]
    with ambientd.Loader(server.address, batch_size=512, fields=fields, steps=40, xflip=True, seed=4) as loader:
        for batch in loader:
            flipped = (numpy.array(batch.seeds)[:, 2] & 1).astype(bool)
            for i in numpy.flatnonzero(batch.s_tn > 0.1):
                noise = (batch.x_tn[i].astype(float) - batch.x0[i]) / float(batch.s_tn[i])
                noise = noise[:, :, ::-1] if flipped[i] else noise
                key = int(batch.index[i])
                if key in seen:
                    assert numpy.abs(noise - seen[key][0]).max() < 1e-4
                    compared += 1
                    flips += seen[key][1] != flipped[i]
                seen[key] = (noise, flipped[i])
    print(f"{compared} visits compared, {flips} of them across a flip")
    assert compared > 1000 and flips > 300

"""Loss helpers against closed forms: a Gaussian toy in which every posterior is known, and the formulas as written."""
import math

import numpy as np
import pytest

import ambientd
from ambientd import loss

PROCESSES = ("ve", "vp", "flow")
PAIRS = [(0.002, 0.0), (0.05, 0.01), (0.5, 0.2), (0.5, 0.4999), (1.5, 0.0), (3.0, 2.0), (80.0, 5.0)]


def plain(s, process):
    """(alpha, t) as the table of the page has them."""
    alpha = {"ve": 1.0, "vp": 1 / math.sqrt(1 + s * s), "flow": 1 / (1 + s)}[process]
    return alpha, alpha * s


def levels():
    pairs = np.array(PAIRS)
    return pairs[:, 0], pairs[:, 1]


@pytest.mark.parametrize("process", PROCESSES)
def test_step_reaches_the_level_from_the_trust_level(process):
    s, s_n = levels()
    step = loss.step(s, s_n, process)
    for i, (one, one_n) in enumerate(PAIRS):
        alpha_t, t = plain(one, process)
        alpha_n, tn = plain(one_n, process)
        a = alpha_t / alpha_n
        wanted = (t, tn, alpha_t, alpha_n, a, math.sqrt(max(0.0, t * t - a * a * tn * tn)))
        assert [value[i] for value in step] == pytest.approx(wanted, rel=1e-9)
    assert loss.s_from_t(step.t, process) == pytest.approx(s, rel=1e-12)


def gaussian(process, s, s_n, mean=0.3, variance=0.7):
    """x0 ~ N(mean, variance); some x_t and the exact posterior means of x0, n, velocity and x_tn."""
    alpha_t, t = plain(s, process)
    alpha_n, tn = plain(s_n, process)
    x_t = np.linspace(-3, 3, 7) * math.sqrt(alpha_t**2 * variance + t**2) + alpha_t * mean
    x0 = mean + alpha_t * variance / (alpha_t**2 * variance + t**2) * (x_t - alpha_t * mean)
    noise = t / (alpha_t**2 * variance + t**2) * (x_t - alpha_t * mean)
    velocity = {"ve": noise, "vp": alpha_t * noise - t * x0, "flow": noise - x0}[process]
    a = alpha_t / alpha_n
    b2 = t**2 - a**2 * tn**2
    v_n = alpha_n**2 * variance + tn**2
    x_tn = alpha_n * mean + a * v_n / (a**2 * v_n + b2) * (x_t - a * alpha_n * mean)
    return x_t, {"x0": x0, "noise": noise, "velocity": velocity}, x_tn


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("prediction", loss.PREDICTIONS)
def test_exact_posteriors_are_carried_to_the_exact_posterior(process, prediction):
    for s, s_n in PAIRS:
        x_t, preds, x_tn = gaussian(process, s, s_n)
        # As in a batch: [n, ...] with a level for each sample.
        shape = (1, 1, 7)
        got = loss.x_tn_pred(preds[prediction].reshape(shape), x_t.reshape(shape), np.array([s]), np.array([s_n]), process,
                             prediction)
        assert got.shape == shape and got.reshape(-1) == pytest.approx(x_tn, rel=1e-9, abs=1e-9), (s, s_n)
        x0 = loss.x0_pred(preds[prediction], x_t, s, process, prediction)
        assert x0 == pytest.approx(preds["x0"], rel=1e-7, abs=1e-7), (s, s_n)


def test_ve_is_the_papers_formula():
    """arXiv 2404.10177: (1 - (tn/t)^2) x0 + (tn/t)^2 x_t, and the factor t^4 / (t^2 - tn^2)^2."""
    s, s_n = levels()
    x0, x_t = np.full(len(s), 0.25), np.full(len(s), -2.0)
    r2 = (s_n / s) ** 2
    assert loss.x_tn_pred(x0, x_t, s, s_n) == pytest.approx((1 - r2) * x0 + r2 * x_t, rel=1e-12)
    assert loss.ambient_factor(s, s_n) == pytest.approx(s**4 / (s**2 - s_n**2) ** 2, rel=1e-9)


@pytest.mark.parametrize("process", PROCESSES)
def test_the_factor_undoes_what_the_step_shrinks(process):
    """Moving x0_pred by d moves x_tn_pred by alpha_n b^2/t^2 d; the factor is one over its square."""
    s, s_n = levels()
    moved = loss.x_tn_pred(np.ones(len(s)), np.zeros(len(s)), s, s_n, process)
    assert loss.ambient_factor(s, s_n, process) * moved**2 == pytest.approx(1.0, rel=1e-12)
    step = loss.step(s, s_n, process)
    assert moved == pytest.approx(step.alpha_n * step.b**2 / step.t**2, rel=1e-9)


@pytest.mark.parametrize("process", PROCESSES)
def test_the_loss_is_least_for_the_clean_denoiser(process):
    """On 400,000 noisy pairs, without the clean image, least squares finds the posterior mean of the clean image."""
    rng = np.random.default_rng(7)
    s, s_n, mean, variance, n = 1.2, 0.6, 0.3, 0.7, 400_000
    step = loss.step(s, s_n, process)
    x0 = mean + math.sqrt(variance) * rng.standard_normal(n)
    x_tn = step.alpha_n * x0 + step.tn * rng.standard_normal(n)
    x_t = step.a * x_tn + step.b * rng.standard_normal(n)
    # x0_pred = p + q x_t; x_tn_pred is affine in p and q: solve the normal equations by its columns.
    base = loss.x_tn_pred(np.zeros(n), x_t, s, s_n, process)
    columns = np.stack([loss.x_tn_pred(np.ones(n), x_t, s, s_n, process) - base,
                        loss.x_tn_pred(x_t, x_t, s, s_n, process) - base], 1)
    p, q = np.linalg.lstsq(columns, x_tn - base, rcond=None)[0]
    exact = step.alpha_t * variance / (step.alpha_t**2 * variance + step.t**2)
    assert q == pytest.approx(exact, abs=0.02)
    assert p == pytest.approx(mean - exact * step.alpha_t * mean, abs=0.01)


@pytest.mark.parametrize("process", PROCESSES)
def test_the_ends_are_exact_and_silent(process):
    with np.errstate(all="raise"):
        zero, x_t, x0 = np.array([0.0]), np.array([0.7]), np.array([0.7])
        assert loss.x_tn_pred(x0, x_t, zero, zero, process) == 0.7
        assert loss.x_tn_pred(x0 * 9, x_t, zero, zero, process, "noise") == 0.7
        assert loss.ambient_factor(zero, zero, process) == 1
        assert loss.x0_weight(zero, process, "none") == 1
        if process == "ve":
            return
        inf, s_n = np.array([math.inf]), np.array([0.5])
        alpha_n = plain(0.5, process)[0]
        assert loss.x_tn_pred(x0, x_t, inf, s_n, process) == pytest.approx(alpha_n * 0.7)
        assert loss.ambient_factor(inf, s_n, process) == pytest.approx(alpha_n**-2)
        assert loss.step(inf, s_n, process)[4:] == (0.0, 1.0)
        assert loss.x0_weight(inf, process, "velocity") == 1 and loss.x0_weight(inf, process) == 4


def test_weights():
    s = np.array([0.5, 2.0])
    assert loss.x0_weight(s) == pytest.approx((s**2 + 0.25) / (s * 0.5) ** 2)  # EDM, table 1
    assert loss.x0_weight(s, sigma_data=1.0) == pytest.approx(1 / s**2 + 1)
    assert loss.x0_weight(s, "flow", "velocity") == pytest.approx(((1 + s) / s) ** 2)
    assert loss.ambient_weight(s, s / 2, "flow") == pytest.approx(loss.x0_weight(s) * loss.ambient_factor(s, s / 2, "flow"))
    with pytest.raises(ambientd.ConfigError, match="edm, velocity, none"):
        loss.x0_weight(s, weight="snr")
    with pytest.raises(ambientd.ConfigError, match="ve, vp, flow"):
        loss.alpha(s, "ddpm")
    with pytest.raises(ambientd.ConfigError, match="x0, noise, velocity"):
        loss.x_tn_pred(s, s, s, s, prediction="eps")


def test_flow_velocity_weight_makes_the_loss_that_of_velocity():
    """With clean data, velocity weight times squared error of x0 is the squared error of the velocity."""
    s = np.array([0.3, 4.0])
    t = loss.t_from_s(s, "flow")
    x0, noise, guess = np.array([0.1, -0.4]), np.array([1.1, 0.3]), np.array([0.9, 0.2])
    x_t = (1 - t) * x0 + t * noise
    got = loss.ambient_loss(guess, x_t, x0, s, 0 * s, "flow", "velocity", "velocity")
    assert got == pytest.approx((guess - (noise - x0)) ** 2)


def test_coefficients_are_f64_and_the_loss_has_the_predictions_dtype():
    s, s_n = np.array([0.5], np.float32), np.array([0.25], np.float32)
    image = np.ones((1, 3, 2, 2), np.float32)
    assert loss.ambient_weight(s, s_n).dtype == np.float64
    assert loss.ambient_loss(image, image, image, s, s_n).dtype == np.float32
    assert loss.x_tn_pred(image, image, s, s_n, "flow", "velocity").shape == image.shape


def test_torch_tensors_agree_with_numpy_and_carry_gradients():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    s, s_n = levels()
    rng = np.random.default_rng(1)
    pred, x_t, x_tn = rng.standard_normal((3, len(s), 1, 2, 2)).astype(np.float32)
    for process in PROCESSES:
        for prediction in loss.PREDICTIONS:
            wanted = loss.ambient_loss(pred, x_t, x_tn, s, s_n, process, prediction)
            tensor = torch.from_numpy(pred.copy()).requires_grad_()
            got = loss.ambient_loss(tensor, torch.from_numpy(x_t), torch.from_numpy(x_tn), torch.from_numpy(s),
                                    torch.from_numpy(s_n), process, prediction)
            assert got.dtype == torch.float32 and got.detach().numpy() == pytest.approx(wanted, rel=1e-4, abs=1e-4)
            got.sum().backward()
            assert torch.isfinite(tensor.grad).all() and (tensor.grad != 0).any()
    half = loss.x_tn_pred(tensor.detach().bfloat16(), torch.from_numpy(x_t).bfloat16(), torch.from_numpy(s), 0.0)
    assert half.dtype == torch.bfloat16


def test_jax_arrays_agree_with_numpy_also_when_traced():
    jax = pytest.importorskip("jax", reason="jax is not installed")
    s, s_n = (value.astype(np.float32) for value in levels())
    rng = np.random.default_rng(1)
    pred, x_t, x_tn = rng.standard_normal((3, len(s), 1, 2, 2)).astype(np.float32)
    for process in PROCESSES:
        wanted = loss.ambient_loss(pred, x_t, x_tn, s, s_n, process)
        arrays = [jax.numpy.asarray(value) for value in (pred, x_t, x_tn, s, s_n)]
        for function in (loss.ambient_loss, jax.jit(loss.ambient_loss, static_argnums=5)):
            assert np.asarray(function(*arrays, process)) == pytest.approx(wanted, rel=2e-3, abs=1e-4)

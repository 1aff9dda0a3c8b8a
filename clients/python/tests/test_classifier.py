"""Export of classifiers to ONNX."""
import sys

import numpy as np
import pytest

import ambientd

SHAPE = (3, 8, 8)


def test_what_is_missing_is_named_with_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ambientd.UnsupportedError, match="torch is needed.*pip install torch"):
        ambientd.export_classifier(None, tmp_path / "m.onnx", image_shape=SHAPE)


@pytest.fixture
def torch():
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    module = pytest.importorskip("torch", reason="torch is not installed")
    module.manual_seed(0)
    return module


@pytest.fixture
def network(torch):
    """network(what it returns, given its logits [N, 2] and the inputs): sees x, sigma of any shape, labels."""
    class Network(torch.nn.Module):
        def __init__(self, returns):
            super().__init__()
            self.conv, self.norm, self.drop = torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Dropout(0.5)
            self.head = torch.nn.Linear(8, 2)
            self.returns = returns

        def forward(self, x, sigma, labels=None):
            h = self.drop(self.norm(self.conv(x / (1 + sigma.reshape(-1, 1, 1, 1)))).mean((2, 3)))
            logits = self.head(h) + sigma.reshape(-1, 1).log1p()
            if labels is not None:
                logits = logits + (labels if labels.ndim == 2 else labels[:, None])[:, :1]
            return self.returns(logits)
    return lambda returns=lambda logits: logits[:, :1]: Network(returns)


def run(path, x, sigma, *labels):
    import onnxruntime
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(("x", "sigma", "labels"), (x, sigma, *labels))))[0]


def picture(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, *SHAPE), dtype=np.float32), rng.uniform(0.1, 9, n).astype(np.float32)


@pytest.mark.parametrize("labels", [None, "integer", 4])
def test_the_file_is_what_the_daemon_expects(network, torch, tmp_path, labels):
    module = network().eval()
    assert ambientd.export_classifier(module, tmp_path / "m.onnx", image_shape=SHAPE, labels=labels) < 1e-4
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]  # no weights beside it
    x, sigma = picture(7)
    more = {None: [], "integer": [np.arange(7)], 4: [np.eye(4, dtype=np.float32)[np.arange(7) % 4]]}[labels]
    with torch.no_grad():
        expected = module(*map(torch.from_numpy, (x, sigma, *more))).numpy()[:, 0]
    np.testing.assert_allclose(run(tmp_path / "m.onnx", x, sigma, *more), expected, atol=1e-4)


@pytest.mark.parametrize("returns", [lambda logits: logits[:, 0].half(), lambda logits: logits.double()])
def test_a_network_that_passes_over_sigma_and_one_of_another_dtype_fit_the_daemon(torch, tmp_path, returns):
    """The daemon refuses a file without the input sigma, and logits that are not float32."""
    import onnxruntime

    class Network(torch.nn.Module):
        def forward(self, x, sigma):
            return returns(x.mean(3)[:, 0, :2])

    ambientd.export_classifier(Network(), tmp_path / "m.onnx", image_shape=SHAPE)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    assert [slot.name for slot in session.get_inputs()] == ["x", "sigma"]
    assert session.get_outputs()[0].type == "tensor(float)"


def test_a_compiled_network_is_exported_as_what_it_was_made_of(network, torch, tmp_path):
    assert ambientd.export_classifier(torch.compile(network()), tmp_path / "m.onnx", image_shape=SHAPE) < 1e-4


def test_softmax_networks_keep_their_columns(network, tmp_path):
    ambientd.export_classifier(network(lambda logits: logits), tmp_path / "m.onnx", image_shape=SHAPE)
    assert run(tmp_path / "m.onnx", *picture(3)).shape == (3, 2)


@pytest.mark.parametrize("output,returns", [
    (1, lambda logits: (logits.mean(), logits)), ("y", lambda logits: {"y": logits, "z": logits * 2}),
    (lambda got: got[0] - got[1], lambda logits: (2 * logits, logits))])
def test_logits_are_picked_out_of_more(network, torch, tmp_path, output, returns):
    module = network(returns)
    ambientd.export_classifier(module, tmp_path / "m.onnx", image_shape=SHAPE, output=output)
    x, sigma = picture(3)
    module.returns = lambda logits: logits
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(x), torch.from_numpy(sigma)).numpy()
    np.testing.assert_allclose(run(tmp_path / "m.onnx", x, sigma), expected, atol=1e-4)


@pytest.mark.parametrize("sigma_shape,shape", [("N", (5,)), ("N111", (5, 1, 1, 1))])
@pytest.mark.parametrize("sigma_data", [None, 0.5])
def test_edm_networks_get_what_they_want(torch, tmp_path, sigma_shape, shape, sigma_data):
    """The network tells by its logits what it was given; EDM's formulas are written out here once more."""
    class Edm(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.seen = []

        def forward(self, x, noise, class_labels):
            self.seen.append(tuple(noise.shape))
            return torch.stack([x.mean((1, 2, 3)), noise.reshape(-1), class_labels.sum(1)], 1)

    module = Edm()
    ambientd.export_classifier(module, tmp_path / "m.onnx", image_shape=SHAPE, labels=6, sigma_shape=sigma_shape,
                               sigma_data=sigma_data)
    assert shape in module.seen
    x, sigma = picture(4)
    got = run(tmp_path / "m.onnx", x, sigma, np.eye(6, dtype=np.float32)[[0, 1, 2, 3]])
    scale = 1 if sigma_data is None else 1 / np.sqrt(0.25 + sigma**2)
    np.testing.assert_allclose(got[:, 0], x.mean((1, 2, 3)) * scale, atol=1e-5)
    np.testing.assert_allclose(got[:, 1], sigma if sigma_data is None else np.log(sigma) / 4, atol=1e-5)
    assert got[:, 2].tolist() == [1] * 4


def test_the_mode_of_every_part_is_restored(network, tmp_path):
    """A frozen norm in a network that trains stays frozen, also where the export fails."""
    module = network().train()
    module.norm.eval()
    before = module.norm.running_mean.clone()
    ambientd.export_classifier(module, tmp_path / "m.onnx", image_shape=SHAPE)
    with pytest.raises(ambientd.ConfigError):
        ambientd.export_classifier(module, tmp_path / "m.onnx", image_shape=SHAPE, tolerance=-1)
    assert (module.training, module.drop.training, module.norm.training) == (True, True, False)
    assert (module.norm.running_mean == before).all()


def broken(torch, network, how):
    class Broken(torch.nn.Module):
        def forward(self, x, sigma):
            logits = x.mean((1, 2, 3))
            if how == "batch size":
                return logits + torch.zeros(int(x.shape[0]))
            if how == "nan":
                return torch.where(sigma > 10, sigma * float("nan"), logits)
            if how == "squeeze":
                return logits[:, None].squeeze()
            if how == "one for all":
                return logits.mean()[None]
            if how == "fft":
                return torch.fft.rfft2(x).abs().mean((1, 2, 3))
            if how == "bf16":
                return torch.nn.functional.conv2d(x.bfloat16(), torch.ones(1, 3, 8, 8).bfloat16()).flatten()
            if how == "raises":
                raise ValueError("oh")
            if how == "branch":
                return logits if float(sigma[-1]) > 40 else -logits
            return x if how == "picture" else logits.sum()
    return Broken()


@pytest.mark.parametrize("how,message", [
    ("batch size", "traced at 2|a size was a constant"), ("nan", "not finite at sigma 80"), ("branch", "differ from torch"),
    ("squeeze", r"returns \[\] for a batch of 1"), ("one for all", r"returns \[1\] for a batch of 2"),
    ("fft", "torch cannot export the network.*fft"), ("bf16", "onnxruntime cannot load"),
    ("raises", r"cannot be called with x \[2, 3, 8, 8\], sigma \[2\]: ValueError: oh; image_shape="),
    ("picture", r"returns \[2, 3, 8, 8\] for a batch of 2.*output="), ("scalar", r"returns \[\] for a batch of 2")])
def test_a_network_that_does_not_fit_is_refused_and_the_old_file_stays(torch, network, tmp_path, how, message):
    (tmp_path / "m.onnx").write_bytes(b"old")
    with pytest.raises(ambientd.ConfigError, match=message):
        ambientd.export_classifier(broken(torch, network, how), tmp_path / "m.onnx", image_shape=SHAPE)
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"] and (tmp_path / "m.onnx").read_bytes() == b"old"


@pytest.mark.parametrize("options,message", [
    ({"labels": -1}, "labels is -1"), ({"labels": True}, "labels is True"), ({"labels": "one-hot"}, "labels is 'one-hot'"),
    ({"sigma_shape": "1"}, "sigma_shape is '1'"), ({"sigma_data": 0}, "sigma_data is 0"),
    ({"example_sigma": (0, 80)}, "example_sigma is"), ({"image_shape": (3, 8)}, "image_shape is"),
    ({"image_shape": "8x8"}, "image_shape is '8x8'"), ({"image_shape": 8}, "image_shape is 8"),
    ({"image_shape": (1, 8, 8)}, r"cannot be called with x \[2, 1, 8, 8\]")])
def test_options_say_what_is_allowed(network, tmp_path, options, message):
    with pytest.raises(ambientd.ConfigError, match=message):
        ambientd.export_classifier(network(), tmp_path / "m.onnx", **{"image_shape": SHAPE, **options})


def test_only_float32_is_exported(network, torch, tmp_path):
    with pytest.raises(ambientd.ConfigError, match="conv.weight is torch.float64, allowed: torch.float32"):
        ambientd.export_classifier(network().double(), tmp_path / "m.onnx", image_shape=SHAPE)


def test_only_modules_are_exported(torch, tmp_path):
    with pytest.raises(ambientd.ConfigError, match="module is a function, allowed: a torch.nn.Module"):
        ambientd.export_classifier(lambda x, sigma: sigma, tmp_path / "m.onnx", image_shape=SHAPE)


def test_without_the_check_onnxruntime_is_not_needed(network, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ambientd.UnsupportedError, match="onnxruntime is needed.*check=False"):
        ambientd.export_classifier(network(), tmp_path / "m.onnx", image_shape=SHAPE)
    assert ambientd.export_classifier(network(), tmp_path / "m.onnx", image_shape=SHAPE, check=False) == 0.0
    assert (tmp_path / "m.onnx").stat().st_size > 100

"""Torch tensors and jax arrays: shared memory, leases, dtypes; device= with a stand-in for CUDA."""
import gc
import types

import pytest

import ambientd
import ambientd.device
from .test_lease import eventually
from .test_loader import make

FIELDS = ["x_t", "x_tn:bf16", "s_t", "index", "label", "seeds", "key", "member:clip.npy"]


def torch_module():
    return pytest.importorskip("torch", reason="torch is not installed")


def test_torch_tensors_share_the_slot_and_hold_it(daemon):
    torch = torch_module()
    loader = make(daemon, fields=FIELDS, framework="torch")
    batch = next(iter(loader))
    assert batch.x_t.dtype == torch.float32 and batch.x_t.shape == (4, 1, 2, 2)
    assert batch.x_tn.dtype == torch.bfloat16 and batch.x_tn[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert batch.index.dtype == torch.int64 and batch.index.tolist() == [0, 1, 2, 3]
    assert batch.seeds.dtype == torch.uint64 and batch.key[1] == "key-1"
    assert batch["member:clip.npy"].shape == (4, 2) and batch.missing("member:clip.npy").tolist() == [0, 0, 1, 0]
    batch.x_t.mul_(2)  # writable, in place
    view = batch.x_t[2:, 0, 0]
    del batch
    gc.collect()
    assert daemon.done == [] and view[1, 0] == 6
    del view
    eventually(lambda: daemon.done == [0])


def test_a_tensor_in_an_autograd_graph_holds_the_slot(daemon):
    torch = torch_module()
    loader = make(daemon, framework="torch")
    iterator = iter(loader)
    weight = torch.ones(1, requires_grad=True)
    loss = (next(iterator).x_t * weight).sum()
    for _ in range(30):
        next(iterator)
    loss.backward()
    assert weight.grad.item() == 4 * (0 + 1 + 2 + 3)  # of step 0, unchanged


def test_auto_takes_what_the_program_has_imported(daemon, monkeypatch):
    import sys
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    assert make(daemon, framework="auto").framework == "numpy"


def test_jax_arrays_are_right_and_hold_the_slot(daemon):
    jax = pytest.importorskip("jax", reason="jax is not installed")
    loader = make(daemon, fields=FIELDS, framework="jax")
    iterator = iter(loader)
    kept = [next(iterator).x_t]
    held = daemon.done == []
    for _ in range(30):
        batch = next(iterator)
    assert isinstance(batch.x_t, jax.Array) and batch.x_t.shape == (4, 1, 2, 2)
    assert batch.x_tn.dtype == jax.numpy.bfloat16 and batch.x_tn[:, 0, 0, 0].tolist() == [120, 121, 122, 123]
    assert batch.index.tolist() == [120, 121, 122, 123]
    assert kept[0][:, 0, 0, 0].tolist() == [0, 1, 2, 3] and held


def test_without_cuda_device_cuda_is_a_clear_error(daemon):
    torch = torch_module()
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ambientd.ConfigError, match="CUDA is not available: this torch is built without it"):
        make(daemon, framework="torch", device="cuda")
    with pytest.raises(ambientd.ConfigError, match="device='gpu'"):
        make(daemon, framework="torch", device="gpu")


def test_device_cpu_is_no_copy(daemon):
    torch_module()
    loader = make(daemon, framework="torch", device="cpu")
    assert not next(iter(loader)).x_t.numpy().flags.owndata


def test_other_devices_are_copied_to_and_let_go(daemon):
    torch_module()
    loader = make(daemon, framework="torch", device="meta", fields=FIELDS)
    batch = next(iter(loader))
    assert batch.x_t.device.type == "meta" and batch.x_t.shape == (4, 1, 2, 2)
    assert batch.key == ["key-0", "key-1", "key-2", "key-3"]
    assert batch.missing("member:clip.npy").tolist() == [False, False, True, False]
    eventually(lambda: daemon.done == [0])  # while the batch lives


class FakeCuda:
    """What device.Cuda uses of torch.cuda: copies "run" only when an event is waited for or `run` is called."""

    def __init__(self, torch):
        self.torch, self.log, self.ran = torch, [], 0
        self.registered = {}
        cuda = self

        class Event:
            def record(self, stream):
                cuda.log.append(self)
                self.number = len(cuda.log)

            def query(self):
                return cuda.ran >= self.number

            def synchronize(self):
                cuda.ran = max(cuda.ran, self.number)

        class Context:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                pass

        class Stream(Context):
            waited = ()

            def wait_event(self, event):
                self.waited = (*self.waited, event)

        self.Event, self.current = Event, Stream()
        self.Stream = lambda device: Stream()
        self.device = lambda device: Context()
        self.stream = lambda stream: stream
        self.is_available = lambda: True
        self.current_device = lambda: 0
        self.current_stream = lambda device=None: self.current
        self.cudart = lambda: self

    def cudaHostRegister(self, address, n_bytes, flags):
        self.registered[address] = n_bytes
        return 0

    def cudaHostUnregister(self, address):
        del self.registered[address]


@pytest.fixture
def cuda(monkeypatch):
    """device.Cuda over a torch whose CUDA is a record of what was asked; "GPU" tensors are CPU copies."""
    torch = torch_module()
    fake = FakeCuda(torch)

    class Tensor(torch.Tensor):
        pass

    def to(tensor, device, non_blocking=False, **_):
        assert non_blocking
        copy = tensor.clone()
        copy.record_stream = lambda stream: None
        return copy

    monkeypatch.setattr(torch.Tensor, "to", to)
    module = types.SimpleNamespace(cuda=fake, device=torch.device)
    monkeypatch.setattr(ambientd.loader, "mover",
                        lambda framework, device: ambientd.device.Cuda(module, torch.device("cuda")))
    return fake


def test_cuda_slots_go_back_behind_their_event_only(daemon, cuda):
    loader = make(daemon, framework="torch", device="cuda", slots=4, fields=FIELDS)
    iterator = iter(loader)
    batch = next(iterator)
    slab = loader._session.slab
    assert cuda.registered == {slab.address: slab.n_bytes}
    assert len(cuda.current.waited) == 1  # the consumer's stream waits for this batch's copies, the host does not
    assert batch.x_t[:, 0, 0, 0].tolist() == [0, 1, 2, 3] and batch.key[3] == "key-3"
    del batch
    gc.collect()
    next(iterator)
    assert daemon.done == []  # nothing has been waited for: both copies may still read their slots
    cuda.ran = 1
    next(iterator)
    eventually(lambda: daemon.done == [0])


def test_cuda_waits_for_a_copy_where_the_alternative_is_a_hoard(daemon, cuda):
    loader = make(daemon, framework="torch", device="cuda", slots=2)
    for n, batch in zip(range(30), loader):
        assert batch.step == n and batch.x_t[0, 0, 0, 0] == 4 * n
        assert loader.state_dict()["step"] == n + 1  # a batch copied ahead does not count
    slab_registered = len(cuda.registered) == 1
    loader.close()
    del loader, batch
    gc.collect()
    assert slab_registered and cuda.registered == {}


def test_cuda_a_batch_copied_ahead_counts_the_requests_before_it(daemon, cuda):
    loader = make(daemon, framework="torch", device="cuda", slots=4)
    iterator = iter(loader)
    next(iterator)
    loader.request([1.0]), loader.request([1.0])
    assert next(iterator).state["q"] == 2 == loader.state_dict()["q"]


def test_cuda_goes_on_after_a_repair(daemon, cuda):
    daemon.die_at = 7
    loader = make(daemon, framework="torch", device="cuda", reconnect_timeout=5)
    steps = [batch.step for _, batch in zip(range(20), loader)]
    assert steps == list(range(20))

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from .fakedaemon import FakeDaemon


@pytest.fixture
def daemon(tmp_path):
    """A fake daemon; the test fails where a client broke the protocol."""
    with FakeDaemon(str(tmp_path / "s")) as fake:
        yield fake
        assert fake.bad == []


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No launcher's variables."""
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                 "PMI_RANK", "PMI_SIZE", "AMBIENTD_SOCKET"):
        monkeypatch.delenv(name, raising=False)

"""Ranks: which part of the global batch is this process's, from arguments or from what the launcher set."""
from __future__ import annotations

import os
import sys
from typing import Mapping

from .errors import ConfigError

# (rank, world size) as launchers name them, in the order in which they are asked.
_VARIABLES = (
    ("RANK", "WORLD_SIZE"),                                  # torchrun, accelerate, deepspeed
    ("SLURM_PROCID", "SLURM_NTASKS"),                        # srun
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),        # Open MPI
    ("PMI_RANK", "PMI_SIZE"),                                # MPICH, Intel MPI
)


def resolve(rank: int | None, world_size: int | None, environ: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """(rank, world size); arguments win over torch.distributed, that over the environment; alone is (0, 1)."""
    if rank is None and world_size is None:
        rank, world_size = _from_torch() or _from_environment(environ) or (0, 1)
    elif rank is None or world_size is None:
        raise ConfigError(f"rank is {rank} and world_size {world_size}; give both or neither")
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank is {rank} of {world_size}; it must be at least 0 and below the world size")
    return rank, world_size


def _from_torch() -> tuple[int, int] | None:
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed.get_rank(), distributed.get_world_size()


def _from_environment(environ: Mapping[str, str]) -> tuple[int, int] | None:
    for rank_name, size_name in _VARIABLES:
        if rank_name in environ and size_name in environ:
            try:
                return int(environ[rank_name]), int(environ[size_name])
            except ValueError:
                raise ConfigError(f"{rank_name}={environ[rank_name]!r} and {size_name}={environ[size_name]!r} are no "
                                  "integers; give rank= and world_size=") from None
    return None

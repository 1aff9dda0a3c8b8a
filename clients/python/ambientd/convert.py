"""Convert: slot arrays as numpy arrays, torch tensors, jax arrays; on the CPU without a copy wherever that can be.

Each converter keeps its numpy base alive, and with it the lease of the slot.
"""
from __future__ import annotations

from typing import Any, Callable

import numpy as np

from .errors import ConfigError
from .fields import bfloat16

Converter = Callable[[np.ndarray, str], Any]


def converter(framework: str) -> Converter:
    """A function (array, dtype name of the field) -> what the framework calls an array."""
    if framework == "numpy":
        return _numpy_converter()
    if framework == "torch":
        return _torch_converter()
    return _jax_converter()


def _numpy_converter() -> Converter:
    brain = bfloat16()

    def convert(array: np.ndarray, dtype: str) -> np.ndarray:
        return array.view(brain) if dtype == "bf16" and brain is not None else array

    return convert


def _torch_converter() -> Converter:
    try:
        import torch
    except ImportError as error:
        raise ConfigError(f'framework="torch", but torch cannot be imported: {error}') from None
    # Bit patterns that from_numpy does not know, or not in every release: view as the signed type, then as what it is.
    signed: dict[str, tuple[Any, Any]] = {"bf16": (np.int16, torch.bfloat16)}
    for name, kind in (("u16", np.int16), ("u32", np.int32), ("u64", np.int64)):
        unsigned = getattr(torch, "uint" + name[1:], None)
        signed[name] = (kind, unsigned if unsigned is not None else getattr(torch, "int" + name[1:]))

    def convert(array: np.ndarray, dtype: str) -> Any:
        if dtype in signed:
            kind, target = signed[dtype]
            return torch.from_numpy(array.view(kind)).view(target)
        return torch.from_numpy(array)

    return convert


def _jax_converter() -> Converter:
    try:
        import jax
        import jax.numpy as jnp
    except ImportError as error:
        raise ConfigError(f'framework="jax", but jax cannot be imported: {error}') from None
    config: Any = jax.config
    brain = bfloat16()  # jax depends on ml_dtypes

    def convert(array: np.ndarray, dtype: str) -> Any:
        if dtype == "bf16":
            return jnp.array(array.view(np.dtype(brain)))
        if array.dtype.itemsize == 8 and not config.jax_enable_x64:
            return jnp.array(array)  # jax narrows to 32 bits by its own rule
        try:
            return jax.dlpack.from_dlpack(array)
        except Exception:  # a dtype, alignment or release that cannot share: copy
            return jnp.array(array)

    return convert

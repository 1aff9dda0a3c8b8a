"""Batch: the fields of one lent slot. Views are made when asked for; the slot goes back with the last of them."""
from __future__ import annotations

import json
from typing import Any, Iterator

import numpy as np

from . import wire
from .convert import Converter
from .fields import Field, Keys, Members, nearest


class Batch:
    """What one step delivers: batch.x_t, batch["x_t"], and about the step itself:

    step        its number in the stream, from 0 (of a request: q)
    count       samples; less than the batch size only at the end of `sequential`, and in requests
    state       the stream's state after this batch, a dict for Loader(...).load_state_dict()
    q           requests that the loader had yielded before it
    moved       True if it is the first batch drawn under new fingerprints
    last        True if the stream ends behind it
    n_replaced  samples that stand for a bad one
    fill_ns     what the daemon took to fill it
    """

    __slots__ = ("step", "count", "k", "q", "moved", "last", "n_replaced", "fill_ns", "_fields", "_slot", "_convert",
                 "_made", "_lengths", "_state", "__weakref__")

    def __init__(self, lend: wire.Lend, fields: dict[str, Field], slot: Any, convert: Converter,
                 state: bytes | None = None) -> None:
        object.__setattr__(self, "_fields", fields)
        self.step = lend.step
        self.count = lend.count
        self.k = lend.k
        self.q = 0
        self.moved = bool(lend.flags & wire.LEND_MOVED)
        self.last = bool(lend.flags & wire.LEND_LAST)
        self.n_replaced = lend.n_replaced
        self.fill_ns = lend.fill_ns
        self._slot = slot
        self._convert = convert
        self._made: dict[str, Any] = {}
        self._lengths: dict[str, np.ndarray] = {}  # of a batch that has let go of its slot
        self._state = state

    @property
    def state(self) -> dict[str, Any]:
        """The stream's state after this batch."""
        if self._state is None:
            raise AttributeError("state")
        return counted(parse_state(self._state), self.q)

    def __getitem__(self, name: str) -> Any:
        try:
            return self._made[name]
        except KeyError:
            pass
        field = self._fields.get(name)
        if field is None:
            raise KeyError(self._unknown(name))
        value = self._made[name] = self._make(field)
        return value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._fields:
            return self[name]
        for other in self._fields:  # member:txt is batch.member_txt
            if ":" in other and "".join(c if c.isalnum() else "_" for c in other) == name:
                return self[other]
        if name == "state":
            raise AttributeError("the batch of a request carries no state; the loader's state_dict() counts it")
        raise AttributeError(self._unknown(name))

    def __setitem__(self, name: str, value: Any) -> None:
        """Replace a field in this batch alone, as in batch["x_t"] *= 2."""
        if name not in self._fields:
            raise KeyError(self._unknown(name))
        self._made[name] = value

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._fields:
            self._made[name] = value
        else:
            object.__setattr__(self, name, value)

    def _unknown(self, name: str) -> str:
        return (f"this batch has no field {name!r}{nearest(name, list(self._fields))}; it has "
                f"{', '.join(self._fields)}: ask for more with Loader(fields=[...])")

    def _make(self, field: Field) -> Any:
        if field.ragged:
            return _list_of(field, field.array(self._slot, self.count), field.lengths(self._slot, self.count))
        return self._convert(field.array(self._slot, self.count), field.dtype)

    @property
    def slot(self) -> Any:
        """The slot's bytes; who holds this holds the slot."""
        return self._slot

    def array_names(self) -> list[str]:
        """Fields that are arrays, as against keys and members kept as bytes."""
        return [field.name for field in self._fields.values() if not field.ragged]

    def detach(self, made: dict[str, Any]) -> None:
        """Stand on `made` (the arrays, elsewhere) and on copies of the rest; the slot is let go."""
        for field in self._fields.values():
            if field.has_lengths:
                lengths = field.lengths(self._slot, self.count).copy()
                self._lengths[field.name] = lengths
                if field.ragged:
                    made[field.name] = _list_of(field, field.array(self._slot, self.count).copy(), lengths)
        self._made = made
        self._slot = None

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy elsewhere, pickled or not, has its fields made and no slot."""
        lengths = {field.name: self._lengths.get(field.name) if self._slot is None else field.lengths(self._slot, self.count).copy()
                   for field in self._fields.values() if field.has_lengths}
        rest = {name: getattr(self, name) for name in self.__slots__
                if name not in ("_fields", "_slot", "_convert", "_made", "_lengths", "__weakref__")}
        return _restore, (self._fields, {name: self[name] for name in self._fields}, lengths, rest)

    def missing(self, name: str) -> np.ndarray:
        """Which samples lack a member, as bool[count]; the rows of a stacked member are zero there."""
        field = self._fields.get(name)
        if field is None:
            raise KeyError(self._unknown(name))
        if not field.has_lengths:
            return np.zeros(self.count, np.bool_)
        lengths = self._lengths.get(name)
        return (field.lengths(self._slot, self.count) if lengths is None else lengths) < 0

    def keys(self) -> list[str]:
        """Names of the fields."""
        return list(self._fields)

    def values(self) -> list[Any]:
        return [self[name] for name in self._fields]

    def items(self) -> list[tuple[str, Any]]:
        return [(name, self[name]) for name in self._fields]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __len__(self) -> int:
        return len(self._fields)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._fields]

    def __repr__(self) -> str:
        return f"<Batch step={self.step} count={self.count} fields={list(self._fields)}>"


def _restore(fields: dict[str, Field], made: dict[str, Any], lengths: dict[str, np.ndarray], rest: dict[str, Any]) -> Batch:
    batch = Batch.__new__(Batch)
    for name, value in {"_fields": fields, "_made": made, "_lengths": lengths, "_slot": None, "_convert": None, **rest}.items():
        object.__setattr__(batch, name, value)
    return batch


def _list_of(field: Field, cells: np.ndarray, lengths: np.ndarray) -> Members:
    return Keys(cells, lengths) if field.name == "key" else Members(cells, lengths)


def parse_state(state: bytes) -> dict[str, Any]:
    """The state as the daemon wrote it: opaque, kept as it is."""
    value: dict[str, Any] = json.loads(state)
    return value


def counted(state: dict[str, Any], q: int) -> dict[str, Any]:
    """The state with the number of requests yielded, which the daemon does not know; as the daemon writes numbers."""
    return {**state, "q": q if q < wire.INT_MAX else str(q)}

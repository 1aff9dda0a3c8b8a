"""Loader: an endless, numbered stream of batches, resumable from the state of any of them.

What the loader remembers is the last batch it yielded. Everything else follows from that: whatever was prefetched, lost
to an interruption or to a daemon that died is drawn again, the same bytes, by subscribing anew with that batch's state.
So there is one repair for all troubles, and `_take` checks that steps follow each other without a hole.
"""
from __future__ import annotations

import json
import operator
import warnings
from types import TracebackType
from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence, TypeVar

import numpy as np

from . import ranks, wire
from .address import default_address
from .batch import Batch, counted, parse_state
from .connection import CutError
from .convert import converter
from .device import mover
from .errors import (AmbientError, AmbientTimeoutError, AmbientWarning, ConfigError, DisconnectedError, ForkError,
                     HoardError, ProtocolError, StateError)
from .fields import field_request, framework_name
from .options import is_number, stream_options
from .outage import Outage
from .schedule import LogNormal, Schedule
from .server import has_ended
from .session import Session
from .slab import Lease

T = TypeVar("T")

DEFAULT_FIELDS = ("x_t", "x_tn", "sigma_t", "sigma_tn")


class Loader:
    """Batches of one stream, by iteration. Connects when first needed, so errors of the daemon come then.

    address       the daemon's socket (None: AMBIENTD_SOCKET, else this user's default), or a Server
    batch_size    samples of this rank in each step; or global_batch_size, which world_size divides
    fields        "x_t", "x_t:f16", "member:txt", {"name", "dtype", "max_bytes", "overflow"}
    schedule, process ("ve", "vp", "flow"), policy ("pass", "uniform", "sequential"), seed, s_max, gaps, xflip
                  what decides the draws: part of the state, compared at resume
    framework     what arrays are: "numpy", "torch", "jax", "auto"
    rank, world_size   else from torch.distributed, RANK/WORLD_SIZE, SLURM, Open MPI, MPICH
    slots         batches in shared memory: those you hold, the others are filled ahead
    weight        of the field "weight": "edm", "velocity", "none"
    follow        take new generations as they come; only ever done by a single rank
    moves         make exactly these moves ({"step", "dataset", "annotations"}), as `loader.moves` reported them. They say
                  nothing of what the stream began on: load its state of then, or name it by a move at step 0 before them
    steps, passes end each iteration behind so many steps, or passes over the data
    device        copy the arrays there ("cuda": asynchronously, out of pinned slots)
    strict        refuse a state of other codec versions instead of warning
    on_generation_change   where the dataset or annotations of a state cannot be had again: "error", or "continue" on the
                  present ones, at the state's step, in new passes (warned of)
    hoard         when your arrays hold every slot: "error", or "copy" the batch that would take the last one
    timeout       seconds to wait for a batch, None for ever
    reconnect     where the daemon goes away, wait for the next one and go on at the exact next draw
    reconnect_timeout   seconds to wait so; the first connection of all is never waited for

    An iteration over an endless stream goes on where the last one stopped. With `steps` or `passes` each iteration is
    as long, from the present state on. With policy "sequential" each one begins at the first sample.
    """

    def __init__(self, address: Any = None, batch_size: int | None = None,
                 fields: Iterable[str | dict[str, Any]] = DEFAULT_FIELDS, *,
                 schedule: Schedule | None = LogNormal(-1.2, 1.2), process: str = "ve", policy: str = "pass",
                 seed: int = 0, framework: str = "numpy", rank: int | None = None,
                 world_size: int | None = None, global_batch_size: int | None = None, slots: int = 4,
                 weight: str | None = None, s_max: float | None = None, gaps: str = "truncate", xflip: bool = False,
                 follow: bool = True, moves: Sequence[Mapping[str, Any]] | None = None, steps: int | None = None,
                 passes: float | None = None, device: Any = None, dataset: str | None = None, strict: bool = False,
                 on_generation_change: str = "error", hoard: str = "error", timeout: float | None = 300.0, reconnect: bool = True,
                 reconnect_timeout: float = 300.0) -> None:
        self.address = default_address(address)
        self._server = address  # a private daemon lives as long as whoever needs it
        self.rank, self.world_size = ranks.resolve(rank, world_size)
        if (batch_size is None) == (global_batch_size is None):
            raise ConfigError("give batch_size (of each rank) or global_batch_size, one of them")
        if steps is not None and passes is not None:
            raise ConfigError(f"steps={steps} and passes={passes}; give one of them")
        for name, value in (("passes", passes), ("timeout", timeout), ("reconnect_timeout", reconnect_timeout)):
            if value is None and name != "reconnect_timeout":
                continue
            if not is_number(value) or not value > 0:
                raise ConfigError(f"{name} is {value!r}; it must be a number above 0")
        made = None if moves is None else _items("moves", moves)
        if not all(isinstance(move, Mapping) for move in made or ()):
            raise ConfigError(f"moves is {moves!r}; it is a list as of loader.moves")
        sizes = {"batch_size": batch_size, "global_batch_size": global_batch_size, "slots": slots, "steps": steps}
        sizes = {name: _whole(name, size) for name, size in sizes.items() if size is not None}
        if hoard not in ("error", "copy"):
            raise ConfigError(f'hoard is {hoard!r}; it is "error" or "copy"')
        if on_generation_change not in ("error", "continue"):
            raise ConfigError(f'on_generation_change is {on_generation_change!r}; it is "error" or "continue"')
        if not isinstance(reconnect, bool):
            raise ConfigError(f"reconnect is {reconnect!r}; it is True or False, and the seconds are reconnect_timeout=")
        self.framework = framework_name(framework)
        self.steps, self.policy = sizes.pop("steps", None), policy
        self.passes = None if passes is None else float(passes)
        self.timeout, self.reconnect, self.reconnect_timeout = timeout, reconnect, float(reconnect_timeout)
        self.moves: list[dict[str, Any]] = []  # made so far: what Loader(moves=...) replays
        self._copy = hoard == "copy"
        self._convert = converter(self.framework)
        self._mover = mover(self.framework, device)
        self._subscribe: dict[str, Any] = {
            "options": stream_options(schedule=schedule, process=process, policy=policy, seed=seed, s_max=s_max,
                                      gaps=gaps, xflip=xflip),
            "fields": [field_request(field) for field in _items("fields", [fields] if isinstance(fields, str) else fields)],
            "rank": self.rank, "world_size": self.world_size, **sizes,
            "follow": bool(follow) and self.world_size == 1 and moves is None,
            **{key: value for key, value in (("dataset", dataset), ("weight", weight), ("strict", strict or None),
                                             ("on_generation_change", None if on_generation_change == "error"
                                              else on_generation_change),
                                             ("moves", None if made is None else [dict(move) for move in made]))
               if value is not None},
        }
        self._met = False                           # a daemon has answered before
        self._outage: Outage | None = None          # under way
        self._session: Session | None = None        # the stream
        self._requests: Session | None = None       # mode "request"
        self._base: dict[str, Any] | None = None    # the state to start from; None: the beginning
        self._yielded: wire.Lend | None = None      # the last batch since then
        self._continued: dict[str, Any] | None = None  # what the daemon put in the place of the state behind it
        self._q = 0                                 # requests yielded
        self._under: tuple[str, str] | None = None  # fingerprints of the batch last yielded
        self._staged: tuple[wire.Lend, Batch] | None = None  # on its way to the device
        self._resumed = False                       # a loaded state waits for its iteration
        self._iteration: object | None = None       # the newest one's token
        self._end_step: int | None = None           # behind which this iteration ends
        self._length: int | None = None             # of this iteration
        self._advances: dict[int, dict[str, Any]] = {}  # accepted by the daemon
        self._warned: set[str] = set()

    # -- iteration --------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Batch]:
        if self._ends:
            self._retry(self._restart)
        self._resumed = False
        self._iteration = token = object()
        return _Iteration(self, token)

    def __len__(self) -> int:
        if not self._ends:
            raise TypeError("the stream is endless and has no len(); give steps= or passes=")
        if self.steps is not None and self.policy != "sequential":
            return self.steps
        if self._length is None:
            self._retry(self._restart)
        if self._length is None:  # else of this iteration, or of the last one
            raise TypeError("the daemon does not know the length of this stream")
        return self._length

    @property
    def _ends(self) -> bool:
        return self.steps is not None or self.passes is not None or self.policy == "sequential"

    def _restart(self) -> None:
        """Be at the start of a finite iteration; a session that has yielded nothing is as good as new."""
        self._check_process()
        session = self._session
        if self.policy == "sequential" and not self._resumed and (self._yielded or self._base) is not None:
            self._close_stream()
            self._base = self._yielded = self._under = self._continued = None
        elif session is not None and (self._expected(session) != session.first_step or session.end is not None):
            self._close_stream()
        self._end_step = None
        session = self._stream()
        steps = session.reply.get("steps")
        self._length = None if steps is None else int(steps)
        self._end_step = None if steps is None else session.first_step + int(steps)

    def _next(self) -> Batch | None:
        """The next batch, None at the end of the iteration."""
        for repaired in (False, True):
            if self._end_step is not None and self._yielded is not None and self._yielded.step + 1 >= self._end_step:
                break
            session = self._stream()
            taken = self._take(session)
            if taken is None and self._expected(session) > session.last_step:
                break
            if taken is not None and taken[0].step == self._expected(session):
                return self._yield(session, *taken)
            # An interruption lost a batch on its way here: draw it again.
            self._close_stream()
            if repaired:
                raise ProtocolError(f"the daemon lent {f'step {taken[0].step}' if taken else 'no more'}, expected "
                                    f"step {self._expected(session)}")
        self._end_step = None
        return None

    def _expected(self, session: Session) -> int:
        return session.first_step if self._yielded is None else self._yielded.step + 1

    def _take(self, session: Session) -> tuple[wire.Lend, Batch] | None:
        staged, self._staged = self._staged, None
        taken = staged or self._make(session)
        if taken is None or self._mover is None:
            return taken
        if staged is None:
            self._mover.start(taken[1])
        self._mover.finish(taken[1])
        if self._mover.ahead and session.pending:  # copy the next one while this one is trained on
            self._staged = self._make(session)
            if self._staged is not None:
                self._mover.start(self._staged[1])
        return taken

    def _make(self, session: Session) -> tuple[wire.Lend, Batch] | None:
        try:
            taken = session.take(self.timeout)
        except (AmbientTimeoutError, HoardError, ForkError):
            raise
        except AmbientError:  # the session is over; iterating again makes another
            self._close_stream()
            raise
        if taken is None:
            return None
        lend, lease = taken
        return lend, Batch(lend, session.fields, self._slot(session, lease), self._convert, lend.state)

    def _slot(self, session: Session, lease: Lease) -> np.ndarray:
        slot = lease.bytes()
        return slot.copy() if self._copy and session.held() - len(session.pending) >= session.n_slots else slot

    def _yield(self, session: Session, lend: wire.Lend, batch: Batch) -> Batch:
        if batch.moved or self._under is None or lend.step == session.first_step:
            under = _under(self._present(session))
            # A move that was settled just before a repair comes without a flag.
            batch.moved = batch.moved or self._under not in (None, under)
            if batch.moved:
                self.moves.append({"step": lend.step, "dataset": under[0], "annotations": under[1]})
            self._under = under
        batch.q = self._q
        self._continued = None
        self._yielded = lend  # from here on it counts as yielded
        return batch

    # -- state ------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch yielded, whatever was prefetched: JSON values, at most 8 KiB."""
        if self._yielded is None and self._base is None:
            self._retry(self._stream)
        return counted(self._present(self._session), self._q)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on behind the batch that this state came with. Iterations begun before are over."""
        if not isinstance(state, Mapping) or "k" not in state:
            raise StateError(f"a state is the dict of batch.state or state_dict(); found {type(state).__name__}")
        self.close()
        self._base = json.loads(wire.dumps(dict(state)))
        self._q = int(state.get("q", 0))
        self._yielded = self._under = self._continued = self._iteration = self._length = self._end_step = None
        self._resumed = True
        self._advances.clear()
        step = int(state.get("step", 0))
        self.moves = [move for move in self.moves
                      if move["step"] < step or move["step"] == step and _under(move) == _under(state)]

    get_state = state_dict
    set_state = load_state_dict

    def _present(self, session: Session | None) -> dict[str, Any]:
        """The state after the last batch yielded, q aside."""
        if self._continued is not None:
            return dict(self._continued)
        if self._yielded is not None:
            return parse_state(self._yielded.state)
        if self._base is not None:
            return dict(self._base)
        assert session is not None
        return dict(session.reply["state"])

    # -- requests and generations -----------------------------------------------------------------------------

    def request(self, sigmas: Any, scale: str = "s") -> Batch:
        """Samples that fit the given noise levels, at most batch_size; scale "s" (VE) or "t" (native).

        A sequence apart: the stream does not move. GapError.sigmas lists levels that no sample admits.
        """
        if scale not in ("s", "t"):
            raise ConfigError(f'scale is {scale!r}; it is "s" (VE scale) or "t" (native level)')
        levels = np.asarray(sigmas, dtype=np.float64).reshape(-1).tolist()
        lend, lease, session = self._retry(lambda: self._ask(levels, ("s", "t").index(scale)))
        batch = Batch(lend, session.fields, self._slot(session, lease), self._convert)
        if self._mover is not None:
            self._mover.start(batch)
            self._mover.finish(batch)
        batch.q = self._q
        self._q += 1  # from here on it counts as yielded
        return batch

    def _ask(self, levels: list[float], scale: int) -> tuple[wire.Lend, Lease, Session]:
        self._check_process()
        session = self._requests
        if session is None or not session.usable:
            session = self._requests = self._open({"mode": "request"})
        state = self._present(session)
        under = _under(state)
        try:
            lend, lease = session.request(levels, scale, self._q, *session.instead.get(under, under), self.timeout)
        except DisconnectedError:
            self._requests = None
            raise
        if lend.step != self._q or lend.count != len(levels):
            raise ProtocolError(f"request {self._q} of {len(levels)} sigmas was answered by {lend.step}, {lend.count}")
        if self._base is None and self._yielded is None:
            self._base = state  # what requests were made under: the next daemon must serve the same
        return lend, lease, session

    def generations(self) -> dict[str, Any]:
        """Generations of the dataset and of its annotations, oldest first."""
        dataset = self._subscribe.get("dataset")
        answer: dict[str, Any] = self._retry(lambda: self._stream().query(wire.GENERATIONS, dataset=dataset))
        return answer

    def advance(self, step: int, dataset: str | None = None, annotations: str | None = None) -> dict[str, Any]:
        """Move to other generations from `step` on; None keeps the present one. Every rank must call it alike.

        Only with follow=False (several ranks are) and without moves=. `step` must be at least the number of the step
        last yielded + slots + 1. Returns once the daemon has prepared and checked them. On an error nothing moves:
        then every rank calls cancel_advance(step).
        """
        self._check_no_moves()
        asked = {"step": step, "dataset": dataset, "annotations": annotations}
        try:
            move: dict[str, Any] = self._retry(
                lambda: self._stream().call(wire.ADVANCE, wire.dumps(asked), timeout=self.timeout))
            self._advances[step] = {**asked, **move}
        except BaseException as error:
            if not isinstance(error, AmbientError) or isinstance(error, (AmbientTimeoutError, ProtocolError)):
                self._advances.pop(step, None)
                self._close_stream()  # may have been set: with its session it is gone
            raise
        return move

    def _check_no_moves(self) -> None:
        if "moves" in self._subscribe:
            raise ConfigError("this loader makes the moves of moves=, and no others: advance() is for one without")

    def cancel_advance(self, step: int) -> None:
        """Take back an advance that some rank could not make."""
        self._check_no_moves()
        self._check_process()
        move = self._advances.pop(step, None)  # the next session comes without it
        try:
            self._retry(lambda: self._cancel(step, move))
        except StateError:
            raise
        except BaseException:
            self._close_stream()
            raise

    def _cancel(self, step: int, move: dict[str, Any] | None) -> None:
        session = self._stream()
        try:
            session.query(wire.CANCEL_ADVANCE, step=step)
        except StateError:
            if move is not None:  # made, or about to be
                self._advances[step] = move
            raise

    # -- sessions ---------------------------------------------------------------------------------------------

    def _stream(self) -> Session:
        """The stream's session; a new one, behind the last batch yielded, where there is none that works."""
        session = self._session
        if session is not None:
            session.check_process()
            if session.usable or session.failed:  # what a failed one still has pending comes first
                return session
            self._close_stream()
        session = self._session = self._open(self._bounds())
        return session

    def _check_process(self) -> None:
        for session in (self._session, self._requests):
            if session is not None:
                session.check_process()

    def _bounds(self) -> dict[str, Any]:
        """Where a subscription ends, and the moves that lie ahead."""
        bounds: dict[str, Any] = {}
        left = 0 if self._end_step is None or self._yielded is None else self._end_step - self._yielded.step - 1
        if left > 0:
            bounds["steps"] = left
        elif self.steps is not None:
            bounds["steps"] = self.steps
        elif self.passes is not None:
            bounds["passes"] = self.passes
        ahead = self._moves_ahead()
        if ahead:  # accepted by a daemon that went away since
            bounds.update(moves=ahead, follow=False)
        return bounds

    def _moves_ahead(self) -> list[dict[str, Any]]:
        made = -1 if self._yielded is None else self._yielded.step
        return [move for step, move in sorted(self._advances.items()) if step > made]

    def _open(self, more: dict[str, Any]) -> Session:
        subscribe = {**self._subscribe, **more}
        if more.get("mode") == "request":  # moves are the stream's
            subscribe = {key: value for key, value in subscribe.items() if key not in ("follow", "moves")}
        if self._yielded is not None or self._base is not None:
            subscribe["state"] = counted(self._present(None), self._q)
        session = self._connect(subscribe)
        was, under = _under(subscribe.get("state", session.reply["state"])), _under(session.reply["state"])
        if was != under:  # on_generation_change="continue"
            session.instead[was] = under
            if more.get("mode") != "request":
                self._continued = dict(session.reply["state"])
        for warning in session.reply.get("warnings", []):
            if warning not in self._warned:
                self._warned.add(warning)
                warnings.warn(str(warning), AmbientWarning, stacklevel=2)
        if self._mover is not None:
            self._mover.attach(session.slab)
            session.reclaim = self._mover.wait
        return session

    def _connect(self, subscribe: dict[str, Any]) -> Session:
        """In an outage a daemon that takes the connection and stays silent is none."""
        outage = self._outage
        if outage is None:
            session = Session(self.address, subscribe, self.timeout)
        else:
            left = outage.left if self.timeout is None else min(outage.left, self.timeout)
            try:
                session = Session(self.address, subscribe, left)
            except AmbientTimeoutError as error:
                raise DisconnectedError(f"the daemon at {self.address} takes connections and does not answer") from error
            session.timeout = self.timeout
        self._met = True
        return session

    def _retry(self, action: Callable[[], T]) -> T:
        """Do it again: at once behind an interruption, after a while where the daemon went away."""
        outage: Outage | None = None
        try:
            while True:
                try:
                    return self._attempt(action, outage)
                except CutError:
                    self._close_stream()
                except DisconnectedError as error:
                    self._close_stream()
                    if not self._met:
                        raise
                    if not self.reconnect or has_ended(self.address):
                        raise DisconnectedError(f"{error}; the loader's state is kept: iterate again once the daemon runs",
                                                code=error.code) from error
                    if outage is None:
                        outage = self._outage = Outage(self.address, error, self.reconnect_timeout)
                    error.__traceback__ = error.__context__ = None  # whose frames hold the dead session and its memory
                    outage.wait(error)
        finally:
            self._outage = None

    @staticmethod
    def _attempt(action: Callable[[], T], outage: Outage | None) -> T:
        """In a frame of its own: one that met an error lives as long as that error, and must hold no batch."""
        done = action()
        if outage is not None:
            outage.over()
        return done

    def _close_stream(self) -> None:
        self._staged = None
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def close(self) -> None:
        """Close the connections; arrays in use stay valid. The state is kept, and iterating connects again."""
        self._close_stream()
        session, self._requests = self._requests, None
        if session is not None:
            session.close()
        if self._mover is not None:
            self._mover.close()

    @property
    def info(self) -> dict[str, Any]:
        """What the daemon answered to the subscription: fields, keys of the noise, gap, steps, entries of a pass."""
        return self._retry(self._stream).reply

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Loader {self.address} rank {self.rank} of {self.world_size}>"


class _Iteration:
    """One `for` loop. A newer one ends it."""

    def __init__(self, loader: Loader, token: object) -> None:
        self._loader = loader  # which does not hold this: no cycle
        self._token = token
        self._ended = False

    def __iter__(self) -> _Iteration:
        return self

    def __next__(self) -> Batch:
        loader = self._loader
        if loader._iteration is not self._token:
            raise RuntimeError("this iteration is over: another one of the same loader, or load_state_dict(), came "
                               "after it")
        batch = None if self._ended else loader._retry(loader._next)
        if batch is None:
            self._ended = True
            raise StopIteration
        return batch

    def __len__(self) -> int:
        return len(self._loader)


def _items(name: str, value: Any) -> list[Any]:
    try:
        return list(value)
    except TypeError:
        raise ConfigError(f"{name} is {value!r}; it is a list") from None


def _under(state: Mapping[str, Any]) -> tuple[Any, Any]:
    """The fingerprints of a state, or of a move."""
    return state.get("dataset"), state.get("annotations")


def _whole(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1 or isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}; it must be a whole number from 1 on")
    return number

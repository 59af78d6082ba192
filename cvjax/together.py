"""Many arms in one program: runs that differ in numbers only train as one vmapped step, each with its own loop, files and promises.

Every arm is an ordinary `train` in a thread of its own; only its update is shared. An arm that calls it waits until all arms have, then
one program advances all states at once. So metrics, evaluations, checkpoints, resuming and failing are those of a run alone.

    python -m cvjax.together RUN RUN ...      what `--executor=vmap` starts for each group of arms
"""

import contextlib
import dataclasses
import functools
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cvjax import environment

environment.prepare()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from cvjax import config as configs  # noqa: E402
from cvjax import parallel, step, train  # noqa: E402
from cvjax.build import make_optimiser  # noqa: E402
from cvjax.errors import UserError  # noqa: E402
from cvjax.executors.vmap import NUMBERS  # noqa: E402
from cvjax.reporting.runs import flatten  # noqa: E402
from cvjax.state import State  # noqa: E402


class Part:
    """One arm's part of stacked arrays, arms first: a tree that is cut out when somebody looks at it, and otherwise costs nothing."""

    def __init__(self, stacked: Any, number: int, cut: Callable[[Any, int], Any]):
        self.stacked, self.number, self._cut = stacked, number, cut

    @functools.cached_property
    def whole(self) -> Any:
        return self._cut(self.stacked, self.number)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)


def _children(part: Part) -> tuple[list[tuple[Any, Any]], tuple]:
    """What JAX sees: a State, or a dict of values."""
    fields = part.whole if isinstance(part.whole, dict) else {field.name: getattr(part.whole, field.name) for field in FIELDS}
    key = jax.tree_util.DictKey if isinstance(part.whole, dict) else jax.tree_util.GetAttrKey
    return [(key(name), value) for name, value in fields.items()], (type(part.whole), tuple(fields))


FIELDS = dataclasses.fields(State)
jax.tree_util.register_pytree_with_keys(Part, _children, lambda kind, values: kind[0](**dict(zip(kind[1], values, strict=True))))


class Together:
    """The update that arms share. `update(number, state, rows, data)` is called by the thread of each arm."""

    def __init__(self, values: list[dict[str, Any]]):
        kinds = {"seed": np.int32}
        self.numbers = {name: np.array([arm[name] for arm in values], kinds.get(name, np.float32)) for name in values[0]}
        self.count = len(values)
        self.active = set(range(len(values)))
        self.turn = threading.Condition()
        self.waiting: dict[int, Any] = {}
        self.results: dict[int, tuple] = {}
        self.stacked: Any = None
        self.failure: BaseException | None = None
        self.joint: Callable | None = None

    def update_of(self, number: int) -> Callable:
        """What `train` takes as `update_of` in the arm's thread: makes its update from its experiment."""

        def make(e: Any, optimiser: Any, schedule: Any) -> Callable:
            with self.turn:
                self.joint = self.joint or joint_update(e)
            return lambda state, rows, data: self.update(number, state, rows, data)

        return make

    def update(self, number: int, state: Any, rows: Any, data: dict) -> tuple:
        """This arm's new state and values of the step, once every arm that still trains has called."""
        with self.turn:
            self.waiting[number] = state
            self._run_when_all_wait(rows, data)
            self.turn.wait_for(lambda: number in self.results or self.failure is not None)
            if number not in self.results:
                raise UserError(f"another arm's program failed: {self.failure}")
            return self.results.pop(number)

    def leave(self, number: int) -> None:
        """The arm has ended, well or badly; the others go on without it."""
        with self.turn:
            self.active.discard(number)
            if self.waiting:
                self._run_when_all_wait(*self.batch)
            self.turn.notify_all()

    def _run_when_all_wait(self, rows: Any, data: dict) -> None:
        self.batch = (rows, data)
        if set(self.waiting) != self.active or not self.active:
            return
        try:
            assert self.joint is not None
            self.stacked, values = self.joint(self._stack(), self.numbers, rows, data)
        except BaseException as failure:
            self.failure = failure
            self.turn.notify_all()
            raise
        fetch = functools.cache(lambda: jax.device_get(values))  # once for all arms, when the first wants to write it down
        for number in self.waiting:
            state = Part(self.stacked, number, _cut)
            self.results[number] = (state, Part(None, number, lambda _, number: {name: x[number] for name, x in fetch().items()}))
        self.waiting = {}
        self.turn.notify_all()

    def _stack(self) -> Any:
        """All arms' states, arms first; the arrays of the last step, where nobody has restored another state."""
        if all(isinstance(state, Part) and state.stacked is self.stacked for state in self.waiting.values()):
            return self.stacked
        states = {number: state.whole if isinstance(state, Part) else state for number, state in self.waiting.items()}
        filler = next(iter(states.values()))  # in the places of arms that have ended
        filled = [states.get(number, filler) for number in range(self.count)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *filled)


def joint_update(e: Any) -> Callable:
    """`(states, numbers, rows, data) -> (states, values)`: the step of `e` for all arms at once, each with its own numbers."""

    def one(state: Any, numbers: dict, rows: Any, data: dict) -> tuple:
        given = {name.removeprefix("optim."): x for name, x in numbers.items() if name.startswith("optim.")}
        optimiser, schedule = make_optimiser(e, state.params, **given)
        arm = dataclasses.replace(e, seed=numbers["seed"])
        return step.update(arm, optimiser, schedule)(state, rows, data)

    return parallel.per_device(jax.vmap(one, in_axes=(0, 0, None, None)), (None, None, 0, None), donate=True)


def train_together(folders: list[Path]) -> int:
    """Trains the runs in these folders in one program. Returns the exit code of the worst of them."""
    configurations = [configs.read(folder) for folder in folders]
    flats = [flatten(config.to_dict()) for config in configurations]
    together = Together([{name: flat[name] for name in NUMBERS if name in flat} for flat in flats])
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stop.append(number) if not stop else None)
    codes = [0] * len(folders)

    def run(number: int) -> None:
        try:
            train.train(configurations[number], folders[number], together.update_of(number), lambda: contextlib.nullcontext(stop))
        except BaseException as reason:
            codes[number] = getattr(reason, "exit_code", 1)
            print(f"{folders[number].name}: {type(reason).__name__}: {reason}", file=sys.stderr, flush=True)
        finally:
            together.leave(number)

    jax.devices()  # before the threads, which would race for it
    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(len(folders))]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():  # a join without an end would keep signals waiting
            thread.join(0.2)
    environment.deaf()
    return max(codes)


@jax.jit
def _cut(stacked: Any, number: int) -> Any:
    return jax.tree.map(lambda x: x[number], stacked)


if __name__ == "__main__":
    sys.exit(train_together([Path(word) for word in sys.argv[1:]]))

"""What the solver of a network's equations costs and is worth, once it is trained (Chen et al. 2018, arXiv:1806.07366, Figure 3).

Of a gradient through the network of at most 64 pictures: memory and time. Of the equations, where the network has a `solve`: for
tolerances from 0.1 to 1e-5 the numerical error against fine steps of RK4, evaluations forward and backward, and time; for 1 to 64 steps of
Euler and RK4 the error, whose slope over the number of steps is the solver's order where the equation has no kinks; and the error of the
network's own solve.
"""

import itertools
import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cvjax.ops.ode import TALLIES

EXAMPLES = 64
TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
STEPS, SOLVERS = (1, 2, 4, 8, 16, 32, 64), ("euler", "rk4")
ROUNDING = 3e-6  # relative errors below it are float32's
MEMORY_STEPS = 16
REFERENCE = {"solver": "rk4", "steps": 128}


def measure(model: nn.Module, variables: dict, inputs: dict) -> dict[str, Any]:
    """Numbers to compare, and curves `{"x", "y", "xlabel"}`; of a network without equations only what a gradient costs."""
    inputs = {name: x[:EXAMPLES] for name, x in inputs.items()}
    _, seconds, megabytes = _backward(model, variables, inputs)
    parameters = sum(x.size for x in jax.tree.leaves(variables["params"]))
    found: dict[str, Any] = {"parameters": parameters, "gradient_megabytes": megabytes, "gradient_seconds": seconds}
    solve = getattr(model, "solve", None)
    if solve is None or "metric/nfe_forward" not in jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, inputs):
        return found
    exact = _forward(_solving(model, REFERENCE), variables, inputs, 1)[0]
    found["adjoint_over_direct"] = _kept(model, variables, inputs, "adjoint") / _kept(model, variables, inputs, "direct")
    return found | _of_tolerance(model, variables, inputs, exact) | _of_steps(model, variables, inputs, exact)


def _of_tolerance(model: nn.Module, variables: dict, inputs: dict, exact: jax.Array) -> dict[str, Any]:
    rows = []
    for tol in TOLERANCES:
        asked = _solving(model, {"tol": tol, "steps": 0, "solver": _adaptive(model)})
        state, evaluations, seconds = _forward(asked, variables, inputs)
        backward = float(_backward(asked, variables, inputs)[0])
        rows.append((tol, float(_distance(state, exact)), evaluations, backward, seconds))
    tol, error, forward, backward, seconds = np.transpose(rows)
    return {
        "error_slope": _slope(tol, error),
        "nfe_rises": float(all(a <= b for a, b in itertools.pairwise(forward))),
        "time_correlation": float(np.corrcoef(forward, seconds)[0, 1]),
        "backward_over_forward": float(np.mean(np.divide(backward, forward))),
        "numerical_error": _curve(tol, error, "tolerance"),
        "evaluations_forward": _curve(tol, forward, "tolerance"),
        "seconds_forward": _curve(forward, seconds, "evaluations forward"),
        "evaluations_backward": _curve(forward, backward, "evaluations forward"),
    }


def _of_steps(model: nn.Module, variables: dict, inputs: dict, exact: jax.Array) -> dict[str, Any]:
    found: dict[str, Any] = {"solver_error": float(_distance(_forward(model, variables, inputs, 1)[0], exact))}
    for solver in SOLVERS:
        states = [_forward(_solving(model, {"solver": solver, "steps": steps}), variables, inputs, 1)[0] for steps in STEPS]
        errors = [float(_distance(state, exact)) for state in states]
        found |= {f"{solver}_slope": _order(STEPS, errors), f"error_of_{solver}": _curve(STEPS, errors, "steps")}
    return found


def _kept(model: nn.Module, variables: dict, inputs: dict, gradient: str) -> float:
    """Megabytes that a gradient through MEMORY_STEPS steps needs; it is compiled and not run."""
    return _megabytes(_compiled(_solving(model, {"gradient": gradient, "solver": "rk4", "steps": MEMORY_STEPS}), variables, inputs))


def _adaptive(model: Any) -> str:
    """The network's own solver, dopri5 where it only takes steps of a given size."""
    own = dict(model.solve).get("solver", "dopri5")
    return "dopri5" if own in ("euler", "midpoint", "rk4") else own


def _solving(model: Any, changed: dict) -> nn.Module:
    solver: nn.Module = model.clone(solve={**model.solve, **changed})
    return solver


def _forward(model: nn.Module, variables: dict, inputs: dict, turns: int = 4) -> tuple[jax.Array, float, float]:
    """The state at the equation's end, of a network of several its features, NaN where a solve gave up; evaluations; seconds."""
    run = jax.jit(lambda v, x: model.apply(v, x, train=False)).lower(variables, inputs).compile()
    out, seconds = _timed(run, variables, inputs, turns=turns)
    state = out.get("body", out["features"])
    return state if not out["metric/unfinished"] else jnp.full_like(state, jnp.nan), float(out["metric/nfe_forward"]), seconds


def _backward(model: nn.Module, variables: dict, inputs: dict) -> tuple[float, float, float]:
    """Evaluations of the backward pass, an example; seconds and megabytes of a gradient."""
    gradient = _compiled(model, variables, inputs)
    (_, counted), seconds = _timed(gradient, variables["params"], jnp.zeros(len(TALLIES)), inputs)
    return float(counted[0]) / len(inputs["image"]), seconds, _megabytes(gradient)


def _compiled(model: nn.Module, variables: dict, inputs: dict) -> Any:
    """The gradient of a loss by parameters and tally."""

    def loss(params: Any, tally: jax.Array, inputs: dict) -> jax.Array:
        out, _ = model.apply({**variables, "params": params}, inputs | {"tally": tally}, train=True, mutable=["batch_stats"])
        return -jax.nn.log_softmax(out["logits"]).max(-1).sum()

    return jax.jit(jax.grad(loss, (0, 1))).lower(variables["params"], jnp.zeros(len(TALLIES)), inputs).compile()


def _megabytes(compiled: Any) -> float:
    return float(compiled.memory_analysis().temp_size_in_bytes / 1e6)


def _timed(function: Any, *args: Any, turns: int = 4) -> tuple[Any, float]:
    """What it returns, and the shortest of its times."""
    times = []
    for _ in range(turns):
        start = time.perf_counter()
        out = jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - start)
    return out, min(times)


def _distance(x: jax.Array, exact: jax.Array) -> jax.Array:
    return jnp.linalg.norm(x - exact) / jnp.linalg.norm(exact)


def _slope(x: Any, y: Any) -> float:
    """Of the line through log y over log x; NaN where one is."""
    return float(np.polyfit(np.log(x), np.log(np.maximum(y, 1e-12)), 1)[0]) if np.isfinite(y).all() else float("nan")


def _order(steps: Any, errors: Any) -> float:
    """The slope at the most steps whose error is not rounding: an order shows where steps are small."""
    last = max(2, sum(error > ROUNDING for error in errors))
    return _slope(steps[last - 2 : last], errors[last - 2 : last])


def _curve(x: Any, y: Any, xlabel: str) -> dict[str, Any]:
    return {"x": list(map(float, x)), "y": list(map(float, y)), "xlabel": xlabel}

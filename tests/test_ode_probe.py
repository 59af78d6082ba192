"""The probe of ODE nets, on an equation whose solution is known: errors of Euler and RK4, evaluations, memory, tolerance."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from cvjax.ops.ode import Solve, odeint
from cvjax.probes import ode


class Growth(nn.Module):
    """dy/dt = rate * y of an image's mean."""

    solve: dict

    @nn.compact
    def __call__(self, inputs, *, train):
        rate = self.param("rate", nn.initializers.constant(4.0), ())
        y = inputs["image"].mean((1, 2))
        end, stats = odeint(lambda p, t, y: p * y, rate, y, Solve.of(self.solve), inputs.get("tally"))
        return {
            "features": end,
            "logits": end,
            "metric/nfe_forward": stats.evaluations.mean(),
            "metric/unfinished": stats.unfinished.mean(),
        }


@pytest.fixture(scope="module")
def found():
    inputs = {"image": jax.random.uniform(jax.random.key(0), (3, 4, 4, 64))}
    model = Growth({"solver": "euler", "steps": 4})
    with pytest.MonkeyPatch.context() as patched:  # fewer of each: every one is compiled
        patched.setattr(ode, "TOLERANCES", (1e-1, 1e-3, 1e-5))
        patched.setattr(ode, "STEPS", (4, 16, 32))
        return ode.measure(model, model.init(jax.random.key(0), inputs, train=False), inputs)


def error(steps, order):
    """Of a Runge-Kutta method of this order with as many stages: one step is the exponential's series cut off."""
    z = 4.0 / steps
    return 1 - sum(z**i / math.factorial(i) for i in range(order + 1)) ** steps / math.exp(4)


@pytest.mark.parametrize("solver, order", [("euler", 1), ("rk4", 4)])
def test_errors_and_orders_are_the_solvers(found, solver, order):
    curve = found[f"error_of_{solver}"]
    assert curve["y"] == pytest.approx([error(steps, order) for steps in curve["x"]], rel=0.02, abs=1e-6)
    assert found[f"{solver}_slope"] == pytest.approx(math.log2(error(32, order) / error(16, order)), abs=0.05)


def test_the_networks_own_error_is_that_of_its_steps(found):
    assert found["solver_error"] == pytest.approx(error(4, 1), rel=1e-3)


def test_what_a_tolerance_costs(found):
    forward, backward = found["evaluations_forward"]["y"], found["evaluations_backward"]["y"]
    assert found["nfe_rises"] == 1 and forward[0] < forward[-1]
    assert found["numerical_error"]["y"][-1] < 1e-4 and found["error_slope"] > 0.5
    assert all(evaluations > 0 for evaluations in backward)


def test_steps_kept_need_more_memory_than_the_adjoint(found):
    assert found["adjoint_over_direct"] < 1 and found["gradient_megabytes"] > 0 and found["parameters"] == 1


def test_a_network_without_equations_has_only_a_gradients_cost():
    class Sum(nn.Module):
        @nn.compact
        def __call__(self, inputs, *, train):
            out = nn.Dense(2)(inputs["image"].mean((1, 2)))
            return {"features": out, "logits": out}

    inputs = {"image": jnp.ones((2, 4, 4, 3))}
    found = ode.measure(Sum(), Sum().init(jax.random.key(0), inputs, train=False), inputs)
    assert set(found) == {"parameters", "gradient_megabytes", "gradient_seconds"} and found["parameters"] == 8

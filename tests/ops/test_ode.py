"""Solvers against closed forms and diffrax; three gradients against each other; what is counted against calls that happened."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.ops import adaptive
from cvjax.ops.ode import Solve, odeint
from cvjax.ops.tableau import tableau

KEYS = jax.random.split(jax.random.key(0), 3)
PARAMS = {"w": jax.random.normal(KEYS[0], (4, 4)), "v": jax.random.normal(KEYS[1], (1, 4))}
Y = jax.random.normal(KEYS[2], (8, 4)) * jnp.array([[0.1], [1], [2], [3], [0.5], [0.01], [1], [5]])


def field(params, t, y):
    return 3 * jnp.tanh(y @ params["w"] + t[:, None] * params["v"])


def swing(params, t, y):
    return (1 + jnp.cos(3 * t))[:, None] * y


EXACT = Y * np.exp(1 + np.sin(3) / 3)  # of dy/dt = (1 + cos(3t)) y


def gradient(how, y=Y, f=field):
    def loss(params, y, tally):
        end, stats = odeint(f, params, y, how, tally)
        return jnp.square(end).sum(), stats

    return jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(PARAMS, y, jnp.zeros(2))


def distance(a, b):
    a, b = (jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree)]) for tree in (a, b))
    return float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))


@pytest.mark.parametrize(("solver", "steps", "order"), [("euler", 32, 1), ("midpoint", 16, 2), ("rk4", 4, 4), ("dopri5", 1, 5)])
def test_order_of_convergence(solver, steps, order):
    errors = [distance(odeint(swing, {}, Y, Solve(solver, n))[0], EXACT) for n in (steps, 2 * steps)]
    assert order - 0.4 < np.log2(errors[0] / errors[1]) < order + 0.8


@pytest.mark.parametrize("solver", ["bosh3", "dopri5", "tsit5"])
def test_error_stays_near_the_tolerance(solver):
    for tol in (1e-3, 1e-5):
        assert distance(odeint(swing, {}, Y, Solve(solver, tol=tol))[0], EXACT) < 5 * tol


@pytest.mark.parametrize("solver", ["dopri5", "bosh3"])
def test_adaptive_steps_are_those_of_diffrax(solver):
    import diffrax

    how = Solve(solver, tol=1e-4)
    first = adaptive._start(lambda t, y: field(PARAMS, t, y), Y, tableau(solver), how).h  # diffrax's own rule is a little different

    def one(y, first):
        term = diffrax.ODETerm(lambda t, y, _: field(PARAMS, jnp.reshape(t, 1), y[None])[0])
        controller = diffrax.PIDController(rtol=how.tol, atol=how.tol)
        found = diffrax.diffeqsolve(term, getattr(diffrax, solver.capitalize())(), 0.0, 1.0, first, y, stepsize_controller=controller)
        return found.ys[0], found.stats["num_steps"]

    theirs, steps = jax.jit(jax.vmap(one))(Y, first)
    ours, stats = odeint(field, PARAMS, Y, how)
    np.testing.assert_allclose(ours, theirs, rtol=how.tol, atol=how.tol)
    np.testing.assert_array_equal(stats.evaluations, 2 + {"dopri5": 6, "bosh3": 3}[solver] * steps)


def test_gradients_agree():
    (direct, of_y, _), _ = gradient(Solve("rk4", 128, gradient="direct"))
    for how in (Solve(tol=1e-6), Solve(tol=1e-6, gradient="checkpointed"), Solve("rk4", 64), Solve("rk4", 128, gradient="checkpointed")):
        (ours, ours_of_y, _), stats = gradient(how)
        assert distance(ours, direct) < 1e-3 and distance(ours_of_y, of_y) < 1e-3, how
        assert not stats.unfinished.any()


@pytest.mark.parametrize("gradient_by", ["adjoint", "checkpointed", "direct"])
@pytest.mark.parametrize("steps", [{"solver": "rk4", "steps": 3}, {"tol": 1e-3, "max_steps": 20}], ids=["rk4", "dopri5"])
def test_evaluations_counted_are_calls_made(gradient_by, steps):
    calls = []

    def watched(params, t, y):
        jax.debug.callback(lambda _: calls.append(1), t)
        return field(params, t, y)

    how, y = Solve(**steps, gradient=gradient_by), Y[1:2]
    _, stats = jax.jit(lambda y: odeint(watched, PARAMS, y, how))(y)
    jax.effects_barrier()
    assert len(calls) == float(stats.evaluations[0]) > 0
    calls.clear()
    (_, _, tally), stats = gradient(how, y, watched)
    jax.effects_barrier()
    assert len(calls) == float(stats.evaluations[0] + tally[0])
    assert (tally[0] > 0) == (gradient_by != "direct")


@pytest.mark.parametrize("control", ["example", "batch"])
def test_eight_devices_equal_one(control):
    how = Solve(tol=1e-4, control=control)
    (params, of_y, tally), stats = gradient(how)

    def one(y):
        (params, of_y, tally), stats = jax.grad(lambda *x: (lambda z, s: (jnp.square(z).sum(), s))(*odeint(field, x[0], x[1], how, x[2])),
                                                (0, 1, 2), has_aux=True)(PARAMS, y, jnp.zeros(2))  # fmt: skip
        return jax.lax.psum((params, tally), "batch"), of_y, stats

    (theirs, theirs_tally), theirs_of_y, theirs_stats = jax.pmap(one, axis_name="batch")(Y.reshape(8, 1, 4))
    first = jax.tree.map(lambda x: x[0], theirs)
    assert distance(first, params) < 1e-4 and distance(theirs_of_y.reshape(8, 4), of_y) < 1e-4
    np.testing.assert_array_equal(theirs_stats.evaluations.ravel(), stats.evaluations)
    assert abs(float(theirs_tally[0, 0]) - float(tally[0])) <= 8, "one attempt may hang on rounding"


def test_the_adjoints_quadrature_has_order_4():
    """Of dy/dt = p cos(t) the derivative by p is the integral of cos(t), in the large steps that such an equation takes."""
    rate = jnp.array([1.0])
    end = lambda p: odeint(lambda p, t, y: p[None] * jnp.cos(t)[:, None], p, jnp.zeros((1, 1)), Solve(tol=1e-3))[0].sum()  # noqa: E731
    assert float(jax.grad(end)(rate)[0]) == pytest.approx(np.sin(1), rel=1e-3)


def test_a_solve_that_gives_up_says_so():
    (_, _, tally), stats = gradient(Solve(tol=1e-6, max_steps=3))
    assert stats.unfinished.sum() > 0 and tally[1] > 0
    assert float(stats.evaluations.max()) == 2 + 3 * 6


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"solver": "dopri"}, "no solve.solver 'dopri'; have 'euler'"),
        ({"gradient": "backprop"}, "no solve.gradient"),
        ({"tol": 0.0}, "solve.tol is 0.0; it must be below 1 and at least"),
        ({"tol": -1e-3}, "solve.tol is -0.001; it must be below 1 and at least"),
        ({"tol": 1e-30}, "what float32 can tell"),
        ({"tol": float("nan")}, "solve.tol"),
        ({"steps": -1}, "solve.steps is -1"),
        ({"steps": 2.5}, "solve.steps is 2.5"),
        ({"solver": "rk4"}, "rk4 has no error estimate to choose steps by; set solve.steps"),
        ({"max_steps": 0}, "from 1 to"),
        ({"max_steps": 10**12}, "from 1 to"),
        ({"step": 3}, "solve has no 'step'; have solver, steps"),
        ({"control": "device"}, "no solve.control"),
    ],
)
def test_mistakes_are_one_line(wrong, says):
    with pytest.raises(ValueError, match=says) as error:
        Solve.of(wrong)
    assert "\n" not in str(error.value)

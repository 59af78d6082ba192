"""Matching against scipy, and against all permutations where these can be counted."""

from functools import partial
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from cvjax.ops.matching import assign

compiled = jax.jit(assign)


def drawn(kind: str, q: int, n: int, examples: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Costs and, of 0 to n targets an example, which are real; padding is full of what must not be read."""
    rng = np.random.default_rng(q * 100 + n)
    costs = rng.normal(0, 5, (examples, q, n))
    if kind == "tied":
        costs = rng.integers(-1, 2, costs.shape)
    if kind == "equal":
        costs = np.full(costs.shape, 2.5)
    if kind == "contested":  # all want the same queries
        costs = costs[:, :, :1] + costs / 10
    if kind == "products":
        costs = np.sort(costs[:, :, :1]) * np.sort(costs[:, :1])
    valid = rng.random((examples, n)) < np.linspace(0, 1.1, examples)[:, None]
    return np.where(valid[:, None], costs, np.nan).astype(np.float32), valid


def total(costs: np.ndarray, query: np.ndarray, valid: np.ndarray) -> float:
    """Of a legal matching: every query once, as many targets as can be, none of the padding."""
    matched = query >= 0
    assert not matched[~valid].any() and matched.sum() == min(len(costs), valid.sum())
    assert len(set(query[matched])) == matched.sum() and query.max(initial=-1) < len(costs)
    return costs[query[matched], np.flatnonzero(matched)].astype(np.float64).sum()


def same_as_scipy(costs: np.ndarray, found: np.ndarray, valid: np.ndarray) -> None:
    for cost, query, real in zip(costs, np.asarray(found), valid, strict=True):
        rows, columns = linear_sum_assignment(cost[:, real])
        np.testing.assert_allclose(total(cost, query, real), cost[:, real][rows, columns].astype(np.float64).sum(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("q", "n"), [(100, 63), (12, 12), (5, 9), (1, 4), (7, 1)])
def test_costs_as_little_as_scipys(q, n):
    for kind in ("normal", "tied", "equal", "contested", "products"):
        costs, valid = drawn(kind, q, n)
        same_as_scipy(costs, compiled(costs, valid), valid)


@pytest.mark.parametrize(("q", "n"), [(6, 6), (6, 4), (3, 5)])
def test_no_permutation_is_cheaper(q, n):
    costs = np.random.default_rng(n).integers(0, 9, (20, q, n)).astype(np.float32)
    found = np.asarray(compiled(costs, np.ones((20, n), bool)))
    for cost, query in zip(costs, found, strict=True):
        cheapest = min(sum(cost[i, j] for i, j in zip(range(q), order, strict=False)) for order in permutations(range(n), min(q, n)))
        if q > n:
            cheapest = min(sum(cost[i, j] for j, i in enumerate(order)) for order in permutations(range(q), n))
        assert total(cost, query, np.ones(n, bool)) == cheapest


def test_a_cheap_neighbour_gives_way():
    """Both want query 0; the second has nowhere else to go that is not dear."""
    costs = jnp.array([[[0.0, 0.0], [1.0, 9.0], [5.0, 5.0]]])
    np.testing.assert_array_equal(compiled(costs, jnp.ones((1, 2), bool)), [[1, 0]])


def test_targets_in_another_order_keep_their_queries():
    costs, valid = drawn("contested", 12, 12)
    order = np.random.default_rng(0).permutation(12)
    np.testing.assert_array_equal(compiled(costs[..., order], valid[:, order]), np.asarray(compiled(costs, valid))[:, order])


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_costs_that_are_no_numbers_are_taken_last(odd):
    rng = np.random.default_rng(1)
    costs, valid = rng.normal(0, 5, (20, 12, 12)).astype(np.float32), np.ones((20, 12), bool)
    off = rng.random(costs.shape) < 0.4
    off[:, np.arange(12), np.arange(12)] = False  # so that there is a way without them
    found = compiled(np.where(off, odd, costs), valid)
    same_as_scipy(np.where(off, np.inf, costs), found, valid)
    for cost in (np.full((12, 12), odd, np.float32), np.where(np.eye(12) > 0, odd, np.float32(3e38)), np.where(off[0], odd, -3e38)):
        query = np.asarray(compiled(np.broadcast_to(cost, (20, 12, 12)).astype(np.float32), valid))
        assert all(sorted(row) == list(range(12)) for row in query)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_one_that_is_no_number_is_dearer_than_all_others_together(odd):
    cost = np.full((6, 6), 9, np.float32)
    cost[np.arange(5), np.arange(5)] = 0
    cost[5, 5] = odd  # with the zeros it would be nearly free; the way around it costs 18
    assert total(cost, np.asarray(compiled(cost[None], np.ones((1, 6), bool)))[0], np.ones(6, bool)) == 18


def test_nothing_to_match():
    assert assign(jnp.zeros((3, 4, 0)), jnp.zeros((3, 0), bool)).shape == (3, 0)
    assert (assign(jnp.zeros((3, 0, 2)), jnp.ones((3, 2), bool)) == -1).all()
    assert (assign(jnp.ones((2, 4, 3)), jnp.zeros((2, 3), bool)) == -1).all()


def test_half_precision_is_searched_in_float32():
    costs, valid = drawn("normal", 12, 12)
    rough = jnp.asarray(costs, jnp.bfloat16)
    found = compiled(rough, valid)
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, compiled(rough.astype(jnp.float32), valid))


def test_in_pmap_vmap_scan_and_under_a_gradient():
    costs, valid = drawn("contested", 12, 12, examples=16)
    costs = np.nan_to_num(costs)
    want = np.asarray(compiled(costs, valid))
    parts, real = costs.reshape(8, 2, 12, 12), valid.reshape(8, 2, 12)
    for mapped in (jax.pmap(assign), jax.vmap(assign), lambda *x: jax.lax.scan(lambda _, part: (None, assign(*part)), None, x)[1]):
        np.testing.assert_array_equal(np.asarray(mapped(parts, real)).reshape(16, 12), want)

    @partial(jax.jit, static_argnums=1)
    def gradient(costs, scale):
        def matched(costs):
            query = assign(costs * scale, jnp.asarray(valid))
            return jnp.where(query >= 0, jnp.take_along_axis(costs, query[:, None].clip(0), 1)[:, 0], 0).sum()

        return jax.grad(matched)(costs)

    chosen = np.asarray(gradient(costs, 1.0))
    np.testing.assert_array_equal(chosen, (want[:, None] == np.arange(12)[None, :, None]).astype(np.float32))

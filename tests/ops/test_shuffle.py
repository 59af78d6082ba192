"""The table-free shuffle: a bijection, the same on NumPy and JAX, and as random as it needs to be."""

import jax
import numpy as np
import pytest
from scipy import stats

from cvjax.ops.shuffle import indices, shuffle

SIZES = [1, 2, 3, 7, 10, 64, 97, 1000, 4099]


@pytest.mark.parametrize("n", SIZES)
def test_it_is_a_bijection(n):
    for epoch in range(3):
        assert sorted(shuffle(np.arange(n), n, 5, epoch).tolist()) == list(range(n))


def test_positions_of_a_large_deck_stay_inside_and_differ():
    n = 2**31 - 1
    cards = shuffle(np.arange(n - 50_000, n), n, 0, 0)
    assert cards.min() >= 0 and len(set(cards.tolist())) == 50_000


@pytest.mark.parametrize("n", [1, 2, 97, 4099])
def test_jax_and_numpy_give_the_same_cards(n):
    traced = jax.jit(lambda position, seed, epoch: shuffle(position, n, seed, epoch))
    for seed, epoch in ((0, 0), (123456, 7)):
        np.testing.assert_array_equal(traced(np.arange(n), seed, epoch), shuffle(np.arange(n), n, seed, epoch))


def test_batches_of_a_compiled_step_are_those_of_the_host():
    traced = jax.jit(lambda step: indices(step, 1000, 128, 3))
    for step in (0, 6, 7, 8, 10_000):
        np.testing.assert_array_equal(traced(step), indices(step, 1000, 128, 3))
    assert traced(0).dtype == indices(0, 1000, 128, 3).dtype == np.int32


def test_an_epoch_shows_every_example_once_and_the_next_in_another_order():
    first, second = (np.concatenate([indices(epoch * 7 + k, 1000, 128, 3) for k in range(7)]) for epoch in (0, 1))
    assert len(set(first.tolist())) == len(set(second.tolist())) == 7 * 128
    assert (first != second).mean() > 0.98
    assert set(first.tolist()) != set(second.tolist())  # not always the same examples fall under the table


def test_other_seeds_give_other_orders():
    different = {tuple(shuffle(np.arange(100), 100, seed, 0).tolist()) for seed in (0, 1, 2, -1, 2**31, 2**32 - 2)}
    assert len(different) == 6


def orders(n, seed, epochs):
    """The orders of many epochs, from JAX: epoch, position -> card."""
    return np.asarray(jax.jit(jax.vmap(lambda epoch: shuffle(np.arange(n), n, seed, epoch)))(np.arange(epochs)))


def test_every_card_lands_everywhere_equally_often():
    n, trials = 11, 4000
    table = np.stack([np.bincount(cards, minlength=n) for cards in orders(n, 1, trials).T])
    chi2 = ((table - trials / n) ** 2 / (trials / n)).sum()
    assert stats.chi2.sf(chi2, (n - 1) ** 2) > 1e-3, chi2


def test_all_orders_of_five_cards_are_equally_frequent():
    seen = np.unique(orders(5, 2, 12_000), axis=0, return_counts=True)[1]
    assert len(seen) == 120
    assert stats.chisquare(seen).pvalue > 1e-3


def test_neighbours_are_torn_apart():
    n = 50_000
    cards = shuffle(np.arange(n), n, 4, 0).astype(np.int64)
    assert abs(np.corrcoef(cards[:-1], cards[1:])[0, 1]) < 0.02
    steps = np.histogram((cards[1:] - cards[:-1]) % n, 50)[0]
    assert stats.chisquare(steps).pvalue > 1e-3


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match="at least as many"):
        indices(0, 10, 11, 0)

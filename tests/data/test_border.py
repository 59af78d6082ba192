"""U-Net's border weights against the paper's equation, evaluated the slow way."""

import time

import numpy as np
import pytest

from cvjax.data._border import border_weights, components


def by_the_equation(instances, w0, sigma):
    """Every pixel against every pixel of every object."""
    numbers = [k for k in np.unique(instances) if k]
    places = [np.argwhere(instances == k) for k in numbers]
    weights = np.ones(instances.shape)
    for y, x in np.argwhere(instances == 0):
        d = sorted(np.hypot(*(place - (y, x)).T).min() - 1 for place in places)
        weights[y, x] += w0 * np.exp(-((d[0] + d[1]) ** 2) / (2 * sigma**2))
    return weights


def test_a_gap_of_one_pixel_has_the_full_weight_and_objects_have_none():
    instances = np.zeros((9, 21), int)
    instances[:, :10], instances[:, 11:] = 1, 2
    weights = border_weights(instances)
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights[:, 10], 11)  # d1 = d2 = 0: 1 + w0
    np.testing.assert_array_equal(weights[instances > 0], 1)


@pytest.mark.parametrize(("w0", "sigma"), [(10.0, 5.0), (3.0, 2.0)])
def test_the_equation_holds_for_objects_of_any_shape_and_number(w0, sigma):
    rng = np.random.default_rng(0)
    instances = np.zeros((40, 60), np.uint16)
    for number in (7, 300, 2, 65535, 9):
        y, x = rng.integers(0, (34, 54))
        instances[y : y + rng.integers(1, 7), x : x + rng.integers(1, 7)] = number
    np.testing.assert_allclose(border_weights(instances, w0, sigma), by_the_equation(instances, w0, sigma), rtol=1e-5)


@pytest.mark.parametrize("instances", [np.zeros((5, 5), int), np.eye(1, 25, 12, int).reshape(5, 5), np.full((5, 5), 3)])
def test_fewer_than_two_objects_leave_every_weight_at_one(instances):
    np.testing.assert_array_equal(border_weights(instances), np.ones((5, 5)))


def test_two_objects_without_background():
    np.testing.assert_array_equal(border_weights(np.array([[4, 4, 9]])), np.ones((1, 3)))


def test_distances_are_exact_to_the_last_bit():
    """OpenCV's own differ with the place of an array in memory; a resumed run must see the same weights."""
    instances = np.zeros((60, 70), int)
    instances[31, 20], instances[28, 27] = 1, 2
    y, x = np.mgrid[:60, :70]
    squares = (np.square(y - row) + np.square(x - column) for row, column in ((31, 20), (28, 27)))
    one, two = (np.sqrt(square.astype(np.float32)) for square in squares)
    near = (np.maximum(one, two) <= 30) & (instances == 0)
    expected = 1 + 10.0 * np.exp(-np.square(one + two - 2) / 50.0)
    np.testing.assert_array_equal(border_weights(instances)[near], expected[near])


def test_hundreds_of_nuclei_take_less_than_a_second():
    y, x = np.mgrid[:1024, :1024]
    instances = np.where((y % 51 < 40) & (x % 51 < 40), (y // 51) * 21 + x // 51 + 1, 0)
    assert len(np.unique(instances)) > 400
    start = time.process_time()
    border_weights(instances)
    assert time.process_time() - start < 1


def test_pieces_that_meet_at_a_corner_are_two():
    assert components(np.array([[1, 0], [0, 1]]) > 0).tolist() == [[1, 0], [0, 2]]

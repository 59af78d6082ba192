"""Boxes: numbers worked by hand for every convention and measure, their laws, and what happens where there is no area."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.ops import boxes

BOX = np.array([10, 20, 50, 100.0])  # 40 wide, 80 high, its centre at (30, 60)
SIZE = (200, 400)  # height, width
CONVENTIONS = {  # of BOX in an image of SIZE
    "coco": ([10, 20, 40, 80], ()),
    "centre": ([30, 60, 40, 80], ()),
    "fractions": ([0.025, 0.1, 0.125, 0.5], (SIZE,)),
    "detr": ([0.075, 0.3, 0.1, 0.4], (SIZE,)),
    "tfds": ([0.1, 0.025, 0.5, 0.125], (SIZE,)),
    "inclusive": ([10, 20, 49, 99], ()),
    "voc": ([11, 21, 50, 100], ()),
}
MEASURES = [boxes.iou, boxes.giou, boxes.diou, boxes.ciou]


def some(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 60, (*shape, 2))
    return np.concatenate([start, start + rng.uniform(1, 60, (*shape, 2))], -1).astype(np.float32)


# ---- conventions


@pytest.mark.parametrize("name", CONVENTIONS)
def test_conventions_by_hand(name):
    theirs, size = CONVENTIONS[name]
    np.testing.assert_allclose(getattr(boxes, f"to_{name}")(BOX, *size), theirs, rtol=1e-12)
    np.testing.assert_allclose(getattr(boxes, f"from_{name}")(np.array(theirs, float), *size), BOX, rtol=1e-12)


def test_the_whole_image_as_its_first_and_last_pixel():
    whole = np.array([0, 0, 400, 200.0])
    np.testing.assert_array_equal(boxes.to_voc(whole), [1, 1, 400, 200])
    np.testing.assert_array_equal(boxes.to_inclusive(whole), [0, 0, 399, 199])


def test_yolo_cells_by_hand():
    cell, inside = boxes.to_cells(BOX, 7, SIZE)  # centre (.075, .3) of the image: (.525, 2.1) cells
    np.testing.assert_array_equal(cell, [2, 0])
    np.testing.assert_allclose(inside, [0.525, 0.1, 0.1, 0.4])
    np.testing.assert_allclose(boxes.from_cells(cell, inside, 7, SIZE), BOX)
    cell, inside = boxes.to_cells(np.array([399, 199, 401, 201.0]), 7, SIZE)  # centred on the corner
    np.testing.assert_array_equal(cell, [6, 6])
    np.testing.assert_allclose(inside[:2], 1)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_round_trips_keep_kind_type_and_sizes_of_each_image(kind):
    x, size = kind(some(3, 5)), kind(np.array([[100, 120], [140, 130], [333, 200]], np.int32))
    for name, (_, takes) in CONVENTIONS.items():
        args = (size,) if takes else ()
        there = getattr(boxes, f"to_{name}")(x, *args)
        back = getattr(boxes, f"from_{name}")(there, *args)
        assert type(there) is type(back) is type(x) and there.dtype == back.dtype == np.float32
        np.testing.assert_allclose(back, x, atol=1e-4)
    cell, inside = boxes.to_cells(x, 7, size)
    assert cell.dtype == np.int32 and inside.dtype == np.float32 and ((cell >= 0) & (cell < 7)).all()
    assert ((inside[..., :2] >= 0) & (inside[..., :2] <= 1)).all()
    np.testing.assert_allclose(boxes.from_cells(cell, inside, 7, size), x, atol=1e-4)
    np.testing.assert_allclose(boxes.to_detr(x, size)[1], boxes.to_detr(x[1], (140, 130)), rtol=1e-6)


def test_float64_stays():
    for name, (_, size) in CONVENTIONS.items():
        assert getattr(boxes, f"to_{name}")(BOX, *size).dtype == getattr(boxes, f"from_{name}")(BOX, *size).dtype == np.float64
    assert boxes.giou(BOX, BOX).dtype == boxes.clip(BOX, SIZE).dtype == boxes.decode(BOX / 100, BOX).dtype == np.float64


def test_an_image_of_no_size_gives_no_nan():
    assert np.isfinite(boxes.to_detr(np.zeros((2, 3, 4), np.float32), np.zeros((2, 2), np.int32))).all()


def test_workers_need_not_import_jax():
    subprocess.run([sys.executable, "-c", "import sys, cvjax.ops.boxes; assert 'jax' not in sys.modules"], check=True)


# ---- one box


def test_area_and_clip():
    x = np.array([[-10, -10, 30, 40], [350, 150, 500, 300], [500, 10, 600, 20], [30, 30, 10, 10]], np.float32)
    np.testing.assert_array_equal(boxes.area(x), [2000, 22500, 1000, 0])
    inside = boxes.clip(x, SIZE)
    np.testing.assert_array_equal(inside[:3], [[0, 0, 30, 40], [350, 150, 400, 200], [400, 10, 400, 20]])
    np.testing.assert_array_equal(boxes.area(inside), [1200, 2500, 0, 0])
    each = boxes.clip(np.full((2, 1, 4), 50, np.float32), np.array([[20, 30], [40, 10]]))
    np.testing.assert_array_equal(each[:, 0], [[30, 20, 30, 20], [10, 40, 10, 40]])
    sizes = jnp.array([[20, 30], [40, 10]])
    np.testing.assert_array_equal(jax.vmap(boxes.clip)(jnp.full((2, 1, 4), 50.0), sizes), each)


# ---- two boxes

ATAN = 4 / np.pi**2 * (np.arctan(1) - np.arctan(2)) ** 2
BY_HAND = [  # a, b, IoU, what GIoU and DIoU take off, v of CIoU
    ((0, 0, 2, 2), (0, 0, 2, 2), 1, 0, 0, 0),
    ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7, 2 / 9, 2 / 18, 0),  # hull 3 x 3, union 7, centres (1, 1) and (2, 2)
    ((0, 0, 1, 1), (2, 0, 3, 1), 0, 1 / 3, 4 / 10, 0),  # apart
    ((0, 0, 1, 1), (1, 0, 2, 1), 0, 0, 1 / 5, 0),  # side by side
    ((0, 0, 4, 4), (1, 1, 2, 2), 1 / 16, 0, 0.5 / 32, 0),  # one in the other: the hull is no help to GIoU
    ((0, 0, 2, 2), (0, 0, 4, 2), 1 / 2, 0, 1 / 20, ATAN),
]


@pytest.mark.parametrize(("a", "b", "iou", "empty", "apart", "v"), BY_HAND)
def test_measures_by_hand(a, b, iou, empty, apart, v):
    a, b = np.array(a, float), np.array(b, float)
    alpha = v / (1 - iou + v) if v else 0
    want = [iou, iou - empty, iou - apart, iou - apart - alpha * v]
    for measure, value in zip(MEASURES, want, strict=True):
        np.testing.assert_allclose(measure(a, b), value, rtol=1e-12)
        np.testing.assert_allclose(measure(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)), value, rtol=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
def test_laws_of_measures(measure):
    a, b = jnp.asarray(some(2, 30)), jnp.asarray(some(2, 20, seed=1))
    table = boxes.pairwise(measure, a, b)
    assert table.shape == (2, 30, 20)
    np.testing.assert_allclose(boxes.pairwise(measure, b, a), table.swapaxes(1, 2), atol=1e-5)
    np.testing.assert_allclose(measure(a[:, :20], b), jnp.diagonal(table, axis1=1, axis2=2), atol=1e-6)
    np.testing.assert_allclose(boxes.pairwise(measure, np.asarray(a), np.asarray(b)), table, atol=1e-5)
    np.testing.assert_allclose(measure(a, a), 1, atol=1e-5)
    np.testing.assert_allclose(boxes.pairwise(measure, a * 3 + 7, b * 3 + 7), table, atol=1e-4)  # of no unit and no origin
    low = {boxes.iou: 0, boxes.giou: -1, boxes.diou: -1, boxes.ciou: -2}[measure]
    assert (table >= low).all() and (table <= 1).all() and (table <= boxes.pairwise(boxes.iou, a, b) + 1e-6).all()


@pytest.mark.parametrize("measure", MEASURES)
def test_gradients_are_the_slopes(measure):
    a, b = some(6).astype(np.float64), some(6, seed=1).astype(np.float64)
    got = jax.grad(lambda a: measure(a, jnp.asarray(b, jnp.float32)).sum())(jnp.asarray(a, jnp.float32))
    alpha = [boxes.ciou, boxes.diou].index(measure) if measure in (boxes.ciou, boxes.diou) else 1
    for k in range(4):
        step = 1e-5 * np.eye(4)[k]
        slope = (measure(a + step, b) - measure(a - step, b)) / 2e-5
        if alpha == 0:  # its weight alpha is held: (DIoU - CIoU) = alpha v = v^2 / (1 - IoU + v)
            v = lambda a: 4 / np.pi**2 * (np.arctan2(*sides(a)) - np.arctan2(*sides(b))) ** 2  # noqa: E731
            held = v(a) / (1 - boxes.iou(a, b) + v(a))
            free = (boxes.diou(a + step, b) - boxes.diou(a - step, b)) / 2e-5
            slope = free - held * (v(a + step) - v(a - step)) / 2e-5
        np.testing.assert_allclose(got[:, k], slope, rtol=2e-3, atol=1e-5)


def sides(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x[..., 2] - x[..., 0], x[..., 3] - x[..., 1]


FLAT = [(0, 0, 0, 0), (5, 5, 5, 5), (1, 2, 1, 9), (1, 2, 9, 2), (9, 9, 1, 1)]  # none has an area


@pytest.mark.parametrize("measure", MEASURES)
def test_no_nan_and_no_gradient_without_area(measure):
    flat, real = jnp.array(FLAT, jnp.float32), jnp.array([[0, 0, 4, 8], [0, 0, 20, 20.0]])
    for a, b in ((flat, flat), (flat, real), (real, flat)):
        table, back = jax.vjp(lambda a, b: boxes.pairwise(measure, a, b), a, b)
        assert jnp.isfinite(table).all() and np.isfinite(boxes.pairwise(measure, np.asarray(a), np.asarray(b))).all()
        assert all((gradient == 0).all() for gradient in back(jnp.ones_like(table)))
    both = jnp.concatenate([flat, real])  # the real ones learn beside them as they would alone
    got, alone = (jax.grad(lambda x: boxes.pairwise(measure, x, real + 1).sum())(x)[-2:] for x in (both, real))
    np.testing.assert_allclose(got, alone, rtol=1e-6)
    assert (alone != 0).any()
    assert (boxes.pairwise(boxes.iou, flat, both) == 0).all()


# ---- deltas


def test_deltas_by_hand():
    anchor, box = np.array([0, 0, 10, 20.0]), np.array([5, 5, 25, 15.0])  # centres (5, 10) and (15, 10); 10 x 20 and 20 x 10
    want = np.array([1, 0, np.log(2), -np.log(2)])
    np.testing.assert_allclose(boxes.encode(box, anchor), want)
    np.testing.assert_allclose(boxes.encode(box, anchor, (10, 10, 5, 5)), want * [10, 10, 5, 5])
    np.testing.assert_allclose(boxes.decode(want, anchor), box)


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (10, 10, 5, 5)])
def test_deltas_lead_back(weights):
    for kind in (np.asarray, jnp.asarray):
        box, anchors = kind(some(2, 30)), kind(some(2, 30, seed=1))
        deltas = boxes.encode(box, anchors, weights)
        assert type(deltas) is type(box) and deltas.dtype == np.float32
        np.testing.assert_allclose(boxes.decode(deltas, anchors, weights), box, atol=1e-3)
    several = boxes.decode(jnp.zeros((2, 30, 3, 4)), anchors[:, :, None], weights)  # a set for each class
    np.testing.assert_allclose(several[:, :, 2], anchors, atol=1e-4)


def test_sizes_are_held_at_a_thousand_sixteenths():
    anchor = jnp.array([0, 0, 16, 16.0])
    for weight in (1, 5):
        decode = lambda deltas, weight=weight: boxes.decode(deltas, anchor, (1, 1, weight, weight))  # noqa: E731
        np.testing.assert_allclose(decode(jnp.array([0, 0, 99, 99.0])), [-492, -492, 508, 508], rtol=1e-5)
        assert (jax.jacobian(decode)(jnp.array([0, 0, 99, 99.0]))[:, 2:] == 0).all()


def test_deltas_without_area():
    flat = jnp.array(FLAT, jnp.float32)
    real = jnp.broadcast_to(jnp.array([0, 0, 4, 8.0]), flat.shape)
    for box, anchor in ((flat, real), (real, flat), (flat, flat)):
        deltas, back = jax.vjp(boxes.encode, box, anchor)
        assert (deltas == 0).all() and all((gradient == 0).all() for gradient in back(jnp.ones_like(deltas)))
        assert jnp.isfinite(boxes.decode(deltas, anchor)).all()

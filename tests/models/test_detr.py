"""DETR: sizes of the paper, a loss written down again in NumPy, and what padding, order and empty pictures may not change."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import _detr_loss, detr
from cvjax.state import flat

SIZES = [("resnet50", 6, 41.3), ("resnet50-dc5", 0, 33.4), ("resnet50", 3, 37.4), ("resnet50", 12, 49.2), ("resnet101", 6, 60)]


@pytest.mark.parametrize(("variant", "encoder", "millions"), SIZES)
def test_as_many_parameters_as_in_the_paper(variant, encoder, millions):
    """Tables 1 and 2, which count what is trained: no normalisation of the ResNet, nor its stem and first stage."""
    model = detr.Model(91, variant, encoder=encoder)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), {"image": jnp.zeros((1, 32, 32, 3))}, train=False))
    trained = sum(x.size for path, x in flat(shapes["params"]).items() if not path.startswith(("stem", "stage1")))
    assert round(trained / 1e6, 1 if millions != 60 else 0) == millions
    assert not any("stage" in path and "norm" in path for path in flat(shapes["params"]))


def tiny(cls=detr.Model, **settings):
    return cls(3, "tiny", **settings)


class OfMaps(detr.Model):
    """The image is the map."""

    def _maps(self, net, image, train):
        return {"stage4": image}


def ran(model, inputs, variables=None, **kw):
    variables = variables or jax.jit(lambda: model.init(jax.random.key(0), inputs, train=False))()
    return jax.jit(lambda v, x: model.apply(v, x, train=False, **kw))(variables, inputs), variables


@pytest.mark.parametrize("position", detr.POSITIONS)
def test_padding_changes_nothing_of_the_transformer(position):
    model = tiny(OfMaps, position=position)
    image = jax.random.normal(jax.random.key(1), (2, 3, 5, 16))
    alone, variables = ran(model, {"image": image})
    padded = jnp.full((2, 6, 7, 16), 9.0).at[:, :3, :5].set(image)
    mask = jnp.zeros((2, 6, 7), bool).at[:, :3, :5].set(True)
    among, _ = ran(model, {"image": padded, "mask": mask}, variables)
    for name in ("logits", "boxes", "auxiliary_logits", "auxiliary_boxes"):
        np.testing.assert_allclose(among[name], alone[name], rtol=1e-5, atol=1e-5, err_msg=name)
    seen, _ = ran(model, {"image": padded, "mask": jnp.ones_like(mask)}, variables)
    assert float(jnp.abs(seen["logits"] - alone["logits"]).max()) > 1e-3


def test_positions_differ_and_none_makes_a_bag_of_places():
    image = jax.random.normal(jax.random.key(1), (1, 4, 4, 16))
    answers = {}
    for position in detr.POSITIONS:
        model = tiny(OfMaps, position=position)
        straight, variables = ran(model, {"image": image})
        mirrored, _ = ran(model, {"image": image[:, ::-1]}, variables)
        answers[position] = straight["logits"]
        same = np.allclose(straight["logits"], mirrored["logits"], atol=1e-5)
        assert same == (position == "none"), position
    assert not np.allclose(answers["sine"], answers["sine_in_decoder"], atol=1e-4)
    assert not np.allclose(answers["sine"], answers["sine_at_input"], atol=1e-4)


def test_mask_of_a_map_is_that_of_its_upper_left_pixels():
    mask = jnp.arange(20)[None, :, None] * jnp.ones((1, 20, 9), int) < 11
    found = detr.shrunk(mask, 5, 3)
    assert found.shape == (1, 5, 3) and found[0, :, 0].tolist() == [True, True, True, False, False]


def test_pictures_of_another_size_and_a_batch_of_padding_are_finite():
    inputs = {"image": jnp.ones((2, 20, 33, 3)), "mask": jnp.zeros((2, 20, 33), bool)}
    out, _ = ran(tiny(), inputs)
    assert all(bool(jnp.isfinite(x).all()) for x in out.values())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"variant": "resnet51"}, "detr: no variant 'resnet51'"),
        ({"position": "cosine"}, "detr: no position 'cosine'; have 'sine', 'learned'"),
        ({"queries": 0}, "detr: queries 0; at least 1"),
        ({"decoder": 0}, "detr: decoder 0; at least 1"),
        ({"encoder": -2}, "detr: encoder -2; at least 0"),
        ({"dropout": 1.0}, "detr: dropout 1.0"),
    ],
)
def test_impossible_settings_are_named(settings, words):
    model = detr.Model(**{"num_classes": 3, "variant": "tiny", **settings})
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(lambda: model.init(jax.random.key(0), {"image": jnp.ones((1, 8, 8, 3))}, train=False))


# ---- the loss


def outputs_of(rng, b=3, q=6, k=4):
    """Random answers of three decoder layers."""
    logits = rng.standard_normal((b, 3, q, k + 1)).astype(np.float32)
    boxes = np.concatenate([rng.uniform(0.2, 0.8, (b, 3, q, 2)), rng.uniform(0.05, 0.4, (b, 3, q, 2))], -1).astype(np.float32)
    whole = {"logits": logits[:, -1], "boxes": boxes[:, -1], "auxiliary_logits": logits[:, :-1], "auxiliary_boxes": boxes[:, :-1]}
    return jax.tree.map(jnp.asarray, whole)


def batch_of(rng, counts=(3, 0, 2), n=4, k=4):
    """Pictures of 80 x 100 pixels with so many objects."""
    b = len(counts)
    corners = np.sort(rng.uniform(0, 1, (b, n, 2, 2)), 2).reshape(b, n, 4) * [100, 80, 100, 80]
    valid = np.arange(n)[None] < np.array(counts)[:, None]
    boxes = np.where(valid[..., None], corners, 0).astype(np.float32)
    batch = {"boxes": boxes, "classes": rng.integers(0, k, (b, n)).astype(np.int32), "box_valid": valid,
             "size": np.array([[80, 100]] * b, np.int32), "valid": np.ones(b, bool)}  # fmt: skip
    return jax.tree.map(jnp.asarray, batch)


def total(terms):
    return sum(weight * x / jnp.maximum(count, 1e-9) for x, count, weight in terms.values() if weight)


def giou(a, b):
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a, b
    common = max(0, min(ax2, bx2) - max(ax1, bx1)) * max(0, min(ay2, by2) - max(ay1, by1))
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - common
    hull = (max(ax2, bx2) - min(ax1, bx1)) * (max(ay2, by2) - min(ay1, by1))
    return common / union - (hull - union) / hull


def by_hand(logits, boxes, batch, no_object=0.1):
    """Class, L1 and GIoU losses of one layer, with the best of all one-to-one matchings."""
    logits, boxes = np.asarray(logits, np.float64), np.asarray(boxes)
    b, q, k = logits.shape
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    nats = weights = distance = overlap = objects = 0.0
    for i in range(b):
        chosen = np.flatnonzero(batch["box_valid"][i] & batch["valid"][i])
        corners = np.asarray(batch["boxes"][i], np.float64)[chosen] / [100, 80, 100, 80]
        centres = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], -1)
        found = np.concatenate([boxes[i, :, :2] - boxes[i, :, 2:] / 2, boxes[i, :, :2] + boxes[i, :, 2:] / 2], -1)
        classes = np.asarray(batch["classes"][i])[chosen]
        l1 = np.array([[np.abs(boxes[i, j] - t).sum() for t in centres] for j in range(q)]).reshape(q, -1)
        agree = np.array([[giou(found[j], t) for t in corners] for j in range(q)]).reshape(q, -1)
        cost = 5 * l1 - 2 * agree - p[i][:, classes]
        best = min(itertools.permutations(range(q), len(chosen)), key=lambda order: sum(cost[j, t] for t, j in enumerate(order)))
        target = dict(zip(best, classes, strict=True))
        for j in range(q if batch["valid"][i] else 0):
            weight = 1 if j in target else no_object
            weights += weight
            nats -= weight * np.log(p[i, j, target.get(j, k - 1)])
        distance += sum(l1[j, t] for t, j in enumerate(best))
        overlap += sum(1 - agree[j, t] for t, j in enumerate(best))
        objects += len(chosen)
    return nats / weights, distance / objects, overlap / objects


@pytest.mark.parametrize("spread", [1.0, 0.01])
@pytest.mark.parametrize("last", [True, False])
def test_the_loss_is_the_papers(last, spread):
    """All matchings of six queries tried; three pictures, one without objects, and perhaps one that pads the batch.

    Where boxes are spread they decide on the matching; where all are about the same, classes do.
    """
    rng = np.random.default_rng(0)
    outputs, batch = outputs_of(rng), batch_of(rng)
    outputs |= {name: 0.5 + spread * (outputs[name] - 0.5) for name in ("boxes", "auxiliary_boxes")}
    batch["valid"] = jnp.array([True, True, last])
    terms = jax.jit(detr.loss)(outputs, batch)
    early = outputs["auxiliary_logits"].swapaxes(0, 1), outputs["auxiliary_boxes"].swapaxes(0, 1)
    *earlier, end = (by_hand(*layer, batch) for layer in [*zip(*early, strict=True), (outputs["logits"], outputs["boxes"])])
    for i, name in enumerate(("class_loss", "box_loss", "giou_loss")):
        total, count, weight = terms[name]
        np.testing.assert_allclose(total / count, end[i], rtol=1e-5, err_msg=name)
        assert weight == (1.0, 5.0, 2.0)[i]
        total, count, weight = terms[f"auxiliary_{name}"]
        np.testing.assert_allclose(total / count, earlier[0][i] + earlier[1][i], rtol=1e-5, err_msg=f"auxiliary {name}")
    assert not any(name.startswith("auxiliary") for name in detr.loss(outputs, batch, auxiliary=False))


def test_order_and_padding_of_objects_do_not_matter():
    rng = np.random.default_rng(1)
    outputs, batch = outputs_of(rng), batch_of(rng)
    names = ("boxes", "classes", "box_valid")
    moved = batch | {name: batch[name][:, jnp.array([2, 3, 0, 1])] for name in names}
    more = batch | {name: jnp.pad(batch[name], [(0, 0), (0, 3), (0, 0)][: batch[name].ndim]) for name in names}
    first = jax.jit(detr.loss)(outputs, batch)
    for other in (moved, more):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), jax.jit(detr.loss)(outputs, other), first)


def test_sums_of_halves_are_those_of_the_whole():
    rng = np.random.default_rng(2)
    outputs, batch = outputs_of(rng, b=4), batch_of(rng, (3, 0, 2, 1))
    halves = [jax.jit(detr.loss)(*jax.tree.map(lambda x, i=i: x[i : i + 2], (outputs, batch))) for i in (0, 2)]
    whole = jax.jit(detr.loss)(outputs, batch)
    for name, (x, count, _) in whole.items():
        for found, parts in ((x, [half[name][0] for half in halves]), (count, [half[name][1] for half in halves])):
            np.testing.assert_allclose(sum(parts), found, rtol=1e-5, atol=1e-6, err_msg=name)


def test_pictures_without_objects_learn_that_there_are_none_and_padding_learns_nothing():
    rng = np.random.default_rng(3)
    outputs, batch = outputs_of(rng), batch_of(rng, (0, 0, 3))
    batch["valid"] = jnp.array([True, False, False])
    slopes = jax.jit(jax.grad(lambda out: total(detr.loss(out, batch))))(outputs)
    assert all(bool(jnp.isfinite(x).all()) for x in slopes.values())
    for name, x in slopes.items():
        assert not x[1:].any(), name
        assert bool(x[0].any()) == ("logits" in name), name
    assert (slopes["logits"][0, :, -1] < 0).all()  # more of "no object" is less loss


def test_more_objects_than_queries_and_boxes_of_no_size_are_finite():
    rng = np.random.default_rng(4)
    outputs, batch = outputs_of(rng, q=2), batch_of(rng, (4, 1, 0))
    outputs["boxes"] = outputs["boxes"].at[:, 0, 2:].set(0.0)
    value, slope = jax.jit(jax.value_and_grad(lambda out: total(detr.loss(out, batch))))(outputs)
    assert bool(jnp.isfinite(value)) and all(bool(jnp.isfinite(x).all()) for x in slope.values())
    chosen = _detr_loss.matched(outputs["logits"][:, None], outputs["boxes"][:, None], batch["classes"],
                                _detr_loss.normalised(batch["boxes"], batch["size"], batch["box_valid"]), batch["box_valid"])  # fmt: skip
    assert sorted(chosen[0, 0].tolist()) == [-1, -1, 0, 1] and chosen[2, 0].tolist() == [-1] * 4


def test_what_is_reported():
    """Two pictures: queries that are right, and queries that all say one box."""
    corners = jnp.array([[0.0, 0, 20, 20], [60, 50, 100, 80]])
    boxes = jnp.array([[0.1, 0.125, 0.2, 0.25], [0.8, 0.8125, 0.4, 0.375], [0.5, 0.5, 0.1, 0.1]])
    batch = {"boxes": jnp.stack([corners] * 2), "classes": jnp.array([[0, 1]] * 2), "box_valid": jnp.ones((2, 2), bool),
             "size": jnp.array([[80, 100]] * 2), "valid": jnp.ones(2, bool)}  # fmt: skip
    sure = 9 * jax.nn.one_hot(jnp.array([[0, 1, 2], [0, 0, 0]]), 3)
    outputs = {"logits": sure, "boxes": jnp.stack([boxes, jnp.broadcast_to(boxes[:1], boxes.shape)]),
               "auxiliary_logits": sure[:, None][:, :0], "auxiliary_boxes": jnp.zeros((2, 0, 3, 4))}  # fmt: skip
    terms = detr.loss(outputs, batch)
    assert [float(x) for x in terms["collapse"]] == [1, 2, 0]
    assert [float(x) for x in terms["class_error"]] == [1, 4, 0]
    assert [float(x) for x in terms["cardinality_error"]] == [1, 2, 0]
    assert "auxiliary_class_loss" not in terms


@pytest.mark.parametrize("settings", [{"box": -1.0}, {"no_object": float("nan")}])
def test_impossible_weights_are_named(settings):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=f"detr: loss.{next(iter(settings))} is"):
        detr.loss(outputs_of(rng), batch_of(rng), **settings)


def test_decoding_keeps_every_query_with_its_likeliest_class():
    logits = jnp.log(jnp.array([[[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]]]))
    found = detr.decode({"logits": logits, "boxes": jnp.array([[[0.5, 0.5, 0.2, 0.4], [0.9, 0.5, 0.4, 1.0]]])})
    np.testing.assert_allclose(found["scores"], [[0.2, 0.6]], rtol=1e-5)
    assert found["classes"].tolist() == [[1, 0]] and found["classes"].dtype == jnp.int32
    np.testing.assert_allclose(found["boxes"], [[[0.4, 0.3, 0.6, 0.7], [0.7, 0, 1.1, 1]]], atol=1e-6)

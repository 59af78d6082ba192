"""DETR's set loss and its decoding (Carion et al. 2020, arXiv:2005.12872, section 3.1, A.1 and A.2).

The objects of a picture are given each to a query of its own, so that -p(class) and the box loss sum to least; box loss is `box` times the
L1 distance of normalised centre, width and height, and `giou` times 1 - GIoU. Then queries with an object learn its class and box, and
all others "no object", with a weight of `no_object`. Every decoder layer is matched and learns by itself.

Where we depart from the authors' code: its weighted mean of the class loss is one for each device, and here one over all.

b batch · l layers · q queries · k classes · n objects of a picture, padding among them
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cvjax.ops import boxes, losses, matching

SAME, APART = 0.7, 0.5  # IoU above which two answers are one, and below which two objects are not
Sum = tuple[Array, Array, float]  # a sum, how many went into it, and its weight in the loss


def loss(
    outputs: dict, batch: dict, *, box: float = 5.0, giou: float = 2.0, no_object: float = 0.1, auxiliary: bool = True
) -> dict[str, Sum]:
    """Sums, counts and weights of "class_loss" (nats, a mean weighted by `no_object`), "box_loss" and "giou_loss" (of an object), those of
    the earlier layers ("auxiliary_...", summed over layers), and, with weight 0, of what is reported:

    class_error: share of objects whose query says another class, or none. cardinality_error: by how much the number of queries that say
    a class misses that of the objects, mean of pictures. collapse: share of the pairs of objects of a picture, IoU below 0.5, whose two
    queries answer with one box, IoU above 0.7; near 1 the queries do not tell objects apart.

    Args:
        outputs: of `detr.Model`.
        batch: boxes (b n 4, x1 y1 x2 y2 in pixels), classes (b n), box_valid (b n, False for padding), size (b 2, height and width of the
            picture without padding) and valid (b, False for pictures that only pad the batch: they count nothing and give no gradient).
        box, giou: weights, in the loss and in the matching.
        no_object: weight of queries without an object in the class loss.
        auxiliary: whether the earlier layers learn by a loss of their own.
    """
    _check(box=box, giou=giou, no_object=no_object)
    logits, found = outputs["logits"][:, None], outputs["boxes"][:, None]
    if auxiliary:
        logits = jnp.concatenate([outputs["auxiliary_logits"], logits], 1)
        found = jnp.concatenate([outputs["auxiliary_boxes"], found], 1)
    valid = batch["box_valid"] & batch["valid"][:, None]
    true = normalised(batch["boxes"], batch["size"], valid)
    classes = jnp.where(valid, batch["classes"], 0)
    chosen = matched(logits, found, classes, true, valid, box, giou)

    _, layers, q, k = logits.shape
    pairs = (chosen >= 0) & valid[:, None]
    answers = jnp.take_along_axis(found, jnp.maximum(chosen, 0)[..., None], 2)  # b l n 4
    target, weight = _targets(chosen, pairs, classes, q, k - 1, no_object)
    weight = jnp.where(batch["valid"][:, None, None], weight, 0.0)
    nats = jnp.where(weight > 0, weight * losses.softmax_cross_entropy(logits, target), 0.0).sum((0, 2))
    apart = _apart(answers, true, pairs)
    objects = pairs[:, -1].sum(dtype=jnp.float32)  # those that have a query, of every layer as many

    terms = {"class": (nats, weight[:, -1].sum(), 1.0), "box": (apart[0], objects, box), "giou": (apart[1], objects, giou)}
    found_terms: dict[str, Sum] = {f"{name}_loss": (sums[-1], count, by) for name, (sums, count, by) in terms.items()}
    if layers > 1:
        # Of every layer the count is the same: objects and pictures are, and of each picture as many queries have an object.
        found_terms |= {f"auxiliary_{name}_loss": (sums[:-1].sum(), count, by) for name, (sums, count, by) in terms.items()}
    last = [jax.lax.stop_gradient(x[:, -1]) for x in (logits, answers, chosen, pairs)]
    return found_terms | _reported(last[0], last[1], last[2], last[3], classes, true, valid, batch["valid"])


def normalised(xyxy: Float[Array, "b n 4"], size: Int[Array, "b 2"], valid: Bool[Array, "b n"]) -> Float[Array, "b n 4"]:
    """Pixels as centre, width and height, 0-1 of the picture; the whole picture where a box is padding, so that nothing divides by 0."""
    whole = jnp.array([[[0.5, 0.5, 1.0, 1.0]]], jnp.float32)
    return jnp.where(valid[..., None], boxes.to_detr(xyxy.astype(jnp.float32), size), whole)


def matched(
    logits: Float[Array, "b l q k1"],
    found: Float[Array, "b l q 4"],
    classes: Int[Array, "b n"],
    true: Float[Array, "b n 4"],
    valid: Bool[Array, "b n"],
    box: float = 5.0,
    giou: float = 2.0,
) -> Int[Array, "b l n"]:
    """The query that each object is given to, in every layer; -1 for padding, and where there are more objects than queries."""
    (b, layers, q, _), n = logits.shape, true.shape[1]
    logits, found = jax.lax.stop_gradient((logits.astype(jnp.float32), found))
    probability = jnp.take_along_axis(jax.nn.softmax(logits), jnp.broadcast_to(classes[:, None, None], (b, layers, q, n)), -1)
    overlap = boxes.pairwise(boxes.giou, boxes.from_centre(found), jnp.broadcast_to(boxes.from_centre(true)[:, None], (b, layers, n, 4)))
    distance = jnp.abs(found[:, :, :, None] - true[:, None, None]).sum(-1)
    costs = box * distance - giou * overlap - probability
    chosen = matching.assign(costs.reshape(b * layers, q, n), jnp.repeat(valid, layers, 0))
    return chosen.reshape(b, layers, n)


def _targets(
    chosen: Int[Array, "b l n"], pairs: Bool[Array, "b l n"], classes: Int[Array, "b n"], q: int, nothing: int, no_object: float
) -> tuple[Int[Array, "b l q"], Float[Array, "b l q"]]:
    """The class that each query learns, and its weight."""
    given = (chosen[:, :, None] == jnp.arange(q).reshape(1, 1, q, 1)) & pairs[:, :, None]  # b l q n
    some = given.any(-1)
    target = jnp.where(given, classes[:, None, None], 0).sum(-1, dtype=jnp.int32)
    return jnp.where(some, target, nothing), jnp.where(some, 1.0, no_object).astype(jnp.float32)


def _apart(answers: Float[Array, "b l n 4"], true: Float[Array, "b n 4"], pairs: Bool[Array, "b l n"]) -> tuple[Array, Array]:
    """Sums of L1 distances and of 1 - GIoU of each layer (l)."""
    answers = jnp.where(pairs[..., None], answers, 0.5)
    true = jnp.broadcast_to(true[:, None], answers.shape)
    distance = jnp.abs(answers - true).sum(-1)
    overlap = boxes.giou(boxes.from_centre(answers), boxes.from_centre(true))
    return jnp.where(pairs, distance, 0.0).sum((0, 2)), jnp.where(pairs, 1 - overlap, 0.0).sum((0, 2))


def _reported(
    logits: Float[Array, "b q k1"],
    answers: Float[Array, "b n 4"],
    chosen: Int[Array, "b n"],
    pairs: Bool[Array, "b n"],
    classes: Int[Array, "b n"],
    true: Float[Array, "b n 4"],
    valid: Bool[Array, "b n"],
    pictures: Bool[Array, "b"],
) -> dict[str, Sum]:
    said, nothing = logits.argmax(-1), logits.shape[-1] - 1
    wrong = pairs & (jnp.take_along_axis(said, jnp.maximum(chosen, 0), 1) != classes)
    missed = jnp.abs((said != nothing).sum(-1) - valid.sum(-1))
    ours, theirs = (boxes.pairwise(boxes.iou, x, x) for x in (boxes.from_centre(answers), boxes.from_centre(true)))
    two = pairs[:, :, None] & pairs[:, None] & jnp.triu(jnp.ones(ours.shape[1:], bool), 1)[None] & (theirs < APART)
    sums = {
        "class_error": (wrong, pairs),
        "cardinality_error": (jnp.where(pictures, missed, 0), pictures),
        "collapse": (two & (ours > SAME), two),
    }
    return {name: (x.sum(dtype=jnp.float32), count.sum(dtype=jnp.float32), 0.0) for name, (x, count) in sums.items()}


def decode(outputs: dict) -> dict[str, Array]:
    """Every query's likeliest class other than "no object": boxes (b q 4, x1 y1 x2 y2, 0-1 of the picture, not clipped), scores (b q, its
    probability) and classes (b q). Nothing is left out: the evaluators rank."""
    p = jax.nn.softmax(outputs["logits"].astype(jnp.float32))[..., :-1]
    return {"boxes": boxes.from_centre(outputs["boxes"]), "scores": p.max(-1), "classes": p.argmax(-1).astype(jnp.int32)}


def _check(**weights: float) -> None:
    for name, value in weights.items():
        if not 0 <= value < float("inf"):
            raise ValueError(f"detr: loss.{name} is {value}; a weight of at least 0")

"""DETR's set loss and its decoding (Carion et al. 2020, arXiv:2005.12872, section 3.1, A.1 and A.2).

Each object of a picture is given to a query of its own, by the one-to-one matching that minimises the sum of

    -p(class) + box * L1 - giou * GIoU

where p is the probability that the query gives to the object's class, and L1 the distance of normalised centre, width and height. Then a
query with an object learns its class, and its box by box * L1 + giou * (1 - GIoU); all others learn "no object", with a weight of
`no_object` where a class has 1. Every decoder layer is matched and learns by itself.

Where we depart from the authors' code: its weighted mean of the class loss is one for each device, and here one over all devices.

b batch · l layers · q queries · k classes (k1: and "no object") · n objects of a picture, padding among them
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
    """Sums, counts and weights of the losses, and, with weight 0, of what is reported. A value is its sum divided by its count.

    class_loss: nats, sum of w * -log p(target) / sum of w, over all queries of the batch; w is 1 with an object and `no_object` without.
    box_loss, giou_loss: L1 and 1 - GIoU, summed over the objects and divided by the number of objects of the whole batch (with a query).
    auxiliary_class_loss, ...: the same of the earlier layers, summed over layers.
    class_error: share of objects whose query says another class, or none.
    cardinality_error: |number of queries that say a class - number of objects|, the mean over pictures.
    collapse: of the pairs of objects of a picture that hardly overlap, IoU below 0.5, the share whose two queries answer with one box, IoU
        above 0.7; near 1 the queries do not tell objects apart.

    Args:
        outputs: of `detr.Model`.
        batch: boxes (b n 4, x1 y1 x2 y2 in pixels), classes (b n), box_valid (b n, False for padding), size (b 2, height and width of the
            picture without padding) and valid (b, False for pictures that only pad the batch: they count nothing and give no gradient).
        box, giou: weights, in the loss and in the matching.
        no_object: weight of queries without an object in the class loss.
        auxiliary: whether the earlier layers learn by a loss of their own.
    """
    _check(box=box, giou=giou, no_object=no_object)
    logits, answers = outputs["logits"][:, None], outputs["boxes"][:, None]
    if auxiliary:
        logits = jnp.concatenate([outputs["auxiliary_logits"], logits], 1)
        answers = jnp.concatenate([outputs["auxiliary_boxes"], answers], 1)
    valid = batch["box_valid"] & batch["valid"][:, None]
    true_boxes = normalised(batch["boxes"], batch["size"], valid)
    classes = jnp.where(valid, batch["classes"], 0)
    query = matched(logits, answers, classes, true_boxes, valid, box, giou)

    _, layers, q, k = logits.shape
    has_query = (query >= 0) & valid[:, None]
    of_objects = jnp.take_along_axis(answers, jnp.maximum(query, 0)[..., None], 2)  # b l n 4: the box of each object's query
    target, weight = _targets(query, has_query, classes, q, k - 1, no_object)
    weight = jnp.where(batch["valid"][:, None, None], weight, 0.0)
    nats = jnp.where(weight > 0, weight * losses.softmax_cross_entropy(logits, target), 0.0).sum((0, 2))
    box_sums = _box_losses(of_objects, true_boxes, has_query)
    objects = has_query[:, -1].sum(dtype=jnp.float32)  # those that have a query, of every layer as many

    terms = {"class": (nats, weight[:, -1].sum(), 1.0), "box": (box_sums[0], objects, box), "giou": (box_sums[1], objects, giou)}
    learned: dict[str, Sum] = {f"{name}_loss": (sums[-1], count, by) for name, (sums, count, by) in terms.items()}
    if layers > 1:
        # Of every layer the count is the same: objects and pictures are, and of each picture as many queries have an object.
        learned |= {f"auxiliary_{name}_loss": (sums[:-1].sum(), count, by) for name, (sums, count, by) in terms.items()}
    last = [jax.lax.stop_gradient(x[:, -1]) for x in (logits, of_objects, query, has_query)]
    return learned | _reported(last[0], last[1], last[2], last[3], classes, true_boxes, valid, batch["valid"])


def normalised(xyxy: Float[Array, "b n 4"], size: Int[Array, "b 2"], valid: Bool[Array, "b n"]) -> Float[Array, "b n 4"]:
    """Pixels as centre, width and height, 0-1 of the picture; the whole picture where a box is padding, so that nothing divides by 0."""
    whole = jnp.array([[[0.5, 0.5, 1.0, 1.0]]], jnp.float32)
    return jnp.where(valid[..., None], boxes.to_detr(xyxy.astype(jnp.float32), size), whole)


def matched(
    logits: Float[Array, "b l q k1"],
    answers: Float[Array, "b l q 4"],
    classes: Int[Array, "b n"],
    true_boxes: Float[Array, "b n 4"],
    valid: Bool[Array, "b n"],
    box: float = 5.0,
    giou: float = 2.0,
) -> Int[Array, "b l n"]:
    """The query that each object is given to, in every layer; -1 for padding, and where there are more objects than queries."""
    (b, layers, q, _), n = logits.shape, true_boxes.shape[1]
    logits, answers = jax.lax.stop_gradient((logits.astype(jnp.float32), answers))
    probability = jnp.take_along_axis(jax.nn.softmax(logits), jnp.broadcast_to(classes[:, None, None], (b, layers, q, n)), -1)
    of_layers = jnp.broadcast_to(boxes.from_centre(true_boxes)[:, None], (b, layers, n, 4))
    overlap = boxes.pairwise(boxes.giou, boxes.from_centre(answers), of_layers)
    distance = jnp.abs(answers[:, :, :, None] - true_boxes[:, None, None]).sum(-1)
    costs = box * distance - giou * overlap - probability
    query = matching.assign(costs.reshape(b * layers, q, n), jnp.repeat(valid, layers, 0))
    return query.reshape(b, layers, n)


def _targets(
    query: Int[Array, "b l n"], has_query: Bool[Array, "b l n"], classes: Int[Array, "b n"], q: int, nothing: int, no_object: float
) -> tuple[Int[Array, "b l q"], Float[Array, "b l q"]]:
    """The class that each query learns, and its weight."""
    given = (query[:, :, None] == jnp.arange(q).reshape(1, 1, q, 1)) & has_query[:, :, None]  # b l q n
    some = given.any(-1)
    target = jnp.where(given, classes[:, None, None], 0).sum(-1, dtype=jnp.int32)
    return jnp.where(some, target, nothing), jnp.where(some, 1.0, no_object).astype(jnp.float32)


def _box_losses(
    of_objects: Float[Array, "b l n 4"], true_boxes: Float[Array, "b n 4"], has_query: Bool[Array, "b l n"]
) -> tuple[Array, Array]:
    """Sums of L1 distances and of 1 - GIoU of each layer (l)."""
    of_objects = jnp.where(has_query[..., None], of_objects, 0.5)
    true_boxes = jnp.broadcast_to(true_boxes[:, None], of_objects.shape)
    distance = jnp.abs(of_objects - true_boxes).sum(-1)
    overlap = boxes.giou(boxes.from_centre(of_objects), boxes.from_centre(true_boxes))
    return jnp.where(has_query, distance, 0.0).sum((0, 2)), jnp.where(has_query, 1 - overlap, 0.0).sum((0, 2))


def _reported(
    logits: Float[Array, "b q k1"],
    of_objects: Float[Array, "b n 4"],
    query: Int[Array, "b n"],
    has_query: Bool[Array, "b n"],
    classes: Int[Array, "b n"],
    true_boxes: Float[Array, "b n 4"],
    valid: Bool[Array, "b n"],
    pictures: Bool[Array, "b"],
) -> dict[str, Sum]:
    said, nothing = logits.argmax(-1), logits.shape[-1] - 1
    wrong = has_query & (jnp.take_along_axis(said, jnp.maximum(query, 0), 1) != classes)
    gap = jnp.abs((said != nothing).sum(-1) - valid.sum(-1))  # between how many are said and how many there are
    ours, theirs = (boxes.pairwise(boxes.iou, x, x) for x in (boxes.from_centre(of_objects), boxes.from_centre(true_boxes)))
    # Pairs of objects, each once, that lie apart and both have a query.
    separate = has_query[:, :, None] & has_query[:, None] & jnp.triu(jnp.ones(ours.shape[1:], bool), 1)[None] & (theirs < APART)
    sums = {
        "class_error": (wrong, has_query),
        "cardinality_error": (jnp.where(pictures, gap, 0), pictures),
        "collapse": (separate & (ours > SAME), separate),
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

"""Matching 64 images' 100 queries to their objects against optax and scipy; box operations against torch (torchvision's formulas) or NumPy.

    python benchmarks/matching.py [--parts=matching,boxes] [--torch_python=PYTHON] [--rounds=10]

matching: about 7 objects an image, as COCO has (Poisson, 1 to 63), and 63, padded to 63; DETR's costs, of boxes about the middle with
arbitrary classes (untrained) and with a query near each object (trained). cvjax's `assign` and optax's `hungarian_algorithm` under vmap
(padding costs 0, or, kinder, about 0), compiled, on the launcher's first device; scipy's `linear_sum_assignment` in a loop over the
images. A round has one go of each, one after the other, and all must find the same total.
boxes: pairwise IoU and GIoU of 2 x 1000 with 2 x 1000 boxes, deltas of 200,000 there and back; a process each, in turns; PYTHON has torch,
or without one the other half is NumPy's. Printed: milliseconds of wall and CPU (medians), and the others' over ours, round by round.
"""

import argparse
import os
import statistics
import sys

import train_step

BATCH, QUERIES, MOST, CLASSES = 64, 100, 63, 91
OPERATIONS = ("iou", "giou", "deltas")


def main() -> None:
    args = _args()
    if args.half:
        train_step._serve(_ours if args.half == "cvjax" else _theirs, args)
        return
    if "matching" in args.parts:
        _matching(args)
    if "boxes" in args.parts:
        other = "torch" if args.torch_python else "numpy"
        for operation in OPERATIONS:
            pythons = {"cvjax": sys.executable, other: args.torch_python or sys.executable}
            halves = {name: train_step._start(python, name, operation, args) for name, python in pythons.items()}
            _report(operation, train_step._in_turns(halves, args.rounds))


def _args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="matching,boxes")
    parser.add_argument("--torch_python", default="")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=5, help="goes of a box operation per round")
    parser.add_argument("--half", help=argparse.SUPPRESS)
    parser.add_argument("--net", help=argparse.SUPPRESS)
    return parser.parse_args()


def _report(what: str, rounds: dict[str, list[dict]]) -> None:
    ours, *others = rounds
    for name, results in rounds.items():
        wall, cpu = (1e3 * statistics.median(result[clock] for result in results) for clock in ("wall", "cpu"))
        print(f"| {what} | {name} | {wall:.2f} | {cpu:.2f} |", end="")
        if name in others:
            for clock in ("wall", "cpu"):
                ratios = [theirs[clock] / mine[clock] for mine, theirs in zip(rounds[ours], results, strict=True)]
                print(f" {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) |", end="")
        else:
            print(" | |", end="")
        print(flush=True)


# ---- matching


def _matching(args: argparse.Namespace) -> None:
    train_step._prepare()
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    from scipy.optimize import linear_sum_assignment

    from cvjax.ops import matching

    ours = jax.jit(matching.assign)

    @jax.jit
    def theirs(costs, valid, padding):
        return jax.vmap(optax.assignment.hungarian_algorithm)(jnp.where(valid[:, :, None], costs.swapaxes(1, 2), padding))

    # A kinder padding: each padded target has a query of its own that is cheapest by a hair, so that few of them compete.
    apart = jnp.asarray(1e-4 * ((np.arange(QUERIES) - np.arange(MOST)[:, None]) % QUERIES) / QUERIES, jnp.float32)

    def scipys(costs, valid):
        return [linear_sum_assignment(cost[:, real]) for cost, real in zip(costs, valid, strict=True)]

    print("| objects, costs | | wall ms | CPU-ms | wall over ours | CPU over ours |\n|---|---|---|---|---|---|")
    for objects in (7, MOST):
        for trained in (False, True):
            costs, valid = _costs(objects, trained)
            on_device = jax.device_put((costs, valid))
            ways = {
                "cvjax": lambda x=on_device: ours(*x),
                "optax": lambda x=on_device: theirs(*x, 0.0),
                "optax, kinder padding": lambda x=on_device: theirs(*x, apart),
                "scipy": lambda x=(costs, valid): scipys(*x),
            }
            found = {name: jax.block_until_ready(way()) for name, way in ways.items()}
            totals = {
                "cvjax": sum(c[q[v], v.nonzero()[0]].sum() for c, q, v in zip(costs, np.asarray(found["cvjax"]), valid, strict=True)),
                **{
                    name: sum(c[j, i][v[i]].sum() for c, i, j, v in zip(costs, *map(np.asarray, found[name]), valid, strict=True))
                    for name in ("optax", "optax, kinder padding")
                },
                "scipy": sum(c[:, v][i, j].sum() for c, (i, j), v in zip(costs, found["scipy"], valid, strict=True)),
            }
            assert np.allclose(list(totals.values()), totals["scipy"], rtol=1e-5), totals
            rounds: dict[str, list[dict]] = {name: [] for name in ways}
            for _ in range(args.rounds):
                for name, way in ways.items():
                    rounds[name].append(train_step._timed(lambda way=way: jax.block_until_ready(way())))
            _report(f"{objects}, {'trained' if trained else 'untrained'}", rounds)


def _costs(objects: int, trained: bool):
    """DETR's: -p(class) + 5 L1 - 2 GIoU, b q n float32, and which objects are real."""
    import numpy as np

    from cvjax.ops import boxes

    rng = np.random.default_rng(0)
    count = np.clip(rng.poisson(7, BATCH), 1, MOST) if objects < MOST else np.full(BATCH, MOST)
    target = rng.uniform(0.05, 0.95, (BATCH, MOST, 4)).astype(np.float32) * np.array([1, 1, 0.5, 0.5], np.float32)
    classes = rng.integers(0, CLASSES, (BATCH, MOST))
    logits = rng.normal(0, 1, (BATCH, QUERIES, CLASSES + 1))
    found = 0.5 + 0.1 * rng.normal(0, 1, (BATCH, QUERIES, 4)).astype(np.float32)  # before training all boxes lie about the middle
    if trained:
        query = np.argsort(rng.random((BATCH, QUERIES)), 1)[:, :MOST, None]
        np.put_along_axis(found, query, target + 0.03 * rng.normal(0, 1, target.shape).astype(np.float32), 1)
        sure = rng.normal(0, 1, (BATCH, MOST, CLASSES + 1)) + 6 * (classes[..., None] == np.arange(CLASSES + 1))
        np.put_along_axis(logits, query, sure, 1)
    found = np.clip(found, 0.01, 1).astype(np.float32)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    scores = np.take_along_axis(p, classes[:, None].repeat(QUERIES, 1), 2)
    apart = np.abs(found[:, :, None] - target[:, None]).sum(-1)
    giou = boxes.pairwise(boxes.giou, boxes.from_centre(found), boxes.from_centre(target))
    return (5 * apart - 2 * giou - scores).astype(np.float32), np.arange(MOST)[None] < count[:, None]


# ---- boxes: functions without arguments that do one operation and wait for it


def _drawn(operation: str):
    """Two sets of boxes, float32, by NumPy alone, so that all halves have the same."""
    import numpy as np

    rng, shape = np.random.default_rng(0), (200_000,) if operation == "deltas" else (2, 1000)
    start = rng.uniform(0, 500, (2, *shape, 2))
    return np.concatenate([start, start + rng.uniform(1, 200, start.shape)], -1).astype(np.float32)


def _operation(operation: str):
    from cvjax.ops import boxes

    if operation == "deltas":
        weights = (10, 10, 5, 5)
        return lambda a, b: boxes.decode(boxes.encode(a, b, weights), b, weights)
    return lambda a, b: boxes.pairwise(getattr(boxes, operation), a, b)


def _ours(args: argparse.Namespace):
    train_step._prepare()
    import jax

    once, pair = jax.jit(_operation(args.net)), jax.device_put(tuple(_drawn(args.net)))
    return lambda: jax.block_until_ready(once(*pair))


def _theirs(args: argparse.Namespace):
    if args.half == "numpy":
        train_step._prepare()
        once, pair = _operation(args.net), tuple(_drawn(args.net))
        return lambda: once(*pair)
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    ops = train_step._torchvision().ops
    a, b = (torch.from_numpy(x) for x in _drawn(args.net))
    if args.net == "deltas":
        coder = sys.modules["torchvision"].models.detection._utils.BoxCoder((10.0, 10.0, 5.0, 5.0))
        return lambda: coder.decode_single(coder.encode_single(a, b), b)
    measure = {"iou": ops.box_iou, "giou": ops.generalized_box_iou}[args.net]
    return lambda: [measure(one, other) for one, other in zip(a, b, strict=True)]


if __name__ == "__main__":
    main()

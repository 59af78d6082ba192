"""DETR with a ResNet-50, a forward pass and a training step in float32, of cvjax against Hugging Face's on torch, on the same cores.

    python benchmarks/detr.py --torch_python=PYTHON [--passes=forward,train] [--size=512] [--rounds=6]

PYTHON has torch, torchvision, timm, scipy and transformers. 2 pictures of 512 x 512, 91 classes, 100 queries, 7 objects in each. A training
step is forward, the set loss of all six decoder layers with its matching (ours on the device, theirs scipy's in Python), backward and SGD
with momentum, the ResNet's stem and first stage frozen in both halves, dropout 0.1 at the same places. Forward: inference to classes and
boxes. Normalised pictures, boxes and classes lie ready. Each half is a process of its own; they take turns, a step or three forward passes
at a time; cvjax as under the launcher (one JAX device per core, so a picture on each of two), torch in channels-last with one thread per
core. Printed: torch's time over cvjax's, round by round, median (range), and the best seconds a pass of each.
"""

import argparse
import os
import sys

import train_step
import upsample

PICTURES, CLASSES, OBJECTS, QUERIES = 2, 91, 7, 100


def main() -> None:
    args = _args()
    if args.half:
        args.steps *= 3 if args.net.endswith("-forward") else 1
        train_step._serve({"cvjax": _cvjax, "torch": _torch}[args.half], args)
        return
    for passes in args.passes.split(","):
        upsample._compare(f"detr-{passes}", args)


def _args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch_python", default=sys.executable)
    parser.add_argument("--passes", default="forward,train")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=1, help="training steps a round, or thirds of its forward passes")
    parser.add_argument("--half", help=argparse.SUPPRESS)
    parser.add_argument("--net", help=argparse.SUPPRESS)
    return parser.parse_args()


def _scene():
    """Of every picture classes and boxes: centre, width and height, 0-1."""
    import numpy as np

    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(0.3, 0.7, (PICTURES, OBJECTS, 2)), rng.uniform(0.05, 0.5, (PICTURES, OBJECTS, 2))], -1)
    return rng.integers(0, CLASSES, (PICTURES, OBJECTS)), boxes.astype(np.float32)


def _cvjax(args: argparse.Namespace):
    train_step._prepare()
    import jax
    import numpy as np
    import optax

    from cvjax.models import detr
    from cvjax.ops import boxes as forms

    model, (classes, boxes) = detr.Model(CLASSES), _scene()
    size = np.full((PICTURES, 2), args.size, np.int32)
    batch = {
        "image": np.random.default_rng(0).standard_normal((PICTURES, args.size, args.size, 3), np.float32),
        "boxes": forms.from_detr(boxes, size),
        "classes": classes.astype(np.int32),
        "box_valid": np.ones((PICTURES, OBJECTS), bool),
        "size": size,
        "valid": np.ones(PICTURES, bool),
    }
    counts = {"class": PICTURES * (OBJECTS + 0.1 * (QUERIES - OBJECTS)), "box": PICTURES * OBJECTS, "giou": PICTURES * OBJECTS}

    def loss(out, batch):
        terms = detr.loss(out, batch)
        return sum(weight * x / counts[name.split("_")[-2]] for name, (x, _, weight) in terms.items() if weight)

    def trained(params):
        return jax.tree.map_with_path(lambda path, _: "freeze" if path[0].key.startswith(("stem", "stage1")) else "train", params)

    optimizer = optax.partition({"train": optax.sgd(0.01, 0.9), "freeze": optax.set_to_zero()}, trained)
    return train_step._once(model, batch, None if args.net == "detr-forward" else loss, ("logits", "boxes"), optimizer)


def _torch(args: argparse.Namespace):
    import torch

    train_step._torchvision()  # which timm imports
    from transformers import DetrConfig, DetrForObjectDetection

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    config = DetrConfig(num_labels=CLASSES, auxiliary_loss=True, attention_dropout=0.1, activation_dropout=0.1)
    net = DetrForObjectDetection(config).to(memory_format=torch.channels_last)
    x = torch.randn(PICTURES, 3, args.size, args.size).to(memory_format=torch.channels_last)
    if args.net == "detr-forward":
        net.eval()
        return torch.inference_mode()(lambda: net(pixel_values=x))
    labels = [{"class_labels": torch.from_numpy(c), "boxes": torch.from_numpy(b)} for c, b in zip(*_scene(), strict=True)]
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.01, 0.9)

    def once() -> None:
        optimizer.zero_grad()
        net(pixel_values=x, labels=labels).loss.backward()
        optimizer.step()

    return once


if __name__ == "__main__":
    main()

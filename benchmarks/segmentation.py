"""U-Net and FCN-ResNet-50, a forward pass and a training step in float32, of cvjax against torch in channels-last, on the same cores.

    python benchmarks/segmentation.py --torch_python=PYTHON [--nets=unet,fcn_resnet50] [--passes=forward,train] [--rounds=6]

unet: the paper's 31 M network with padded convolutions, 2 x 192x192x1, 2 classes, against the same in torch.nn. fcn_resnet50: with the
auxiliary head, 2 x 224x224x3, 21 classes, against torchvision's (PYTHON has torch and torchvision).

A training step is forward, mean cross-entropy over all pixels (ours: `tasks/segmentation.loss`; FCN's auxiliary scores weigh 0.5 and count
in both halves), backward and SGD with momentum. Forward: inference to the scores of all heads at the picture's size. Normalised pictures
and labels lie ready in both halves; nothing is read, augmented or decoded, and no accuracy is computed. Each half is a process of its own;
they take turns, a step or three forward passes at a time; cvjax as under the launcher (one JAX device per core, so a picture on each of
two), torch with one thread per core. Printed: torch's time over cvjax's, round by round, median (range), and the best seconds a pass of
each.
"""

import argparse
import os
import sys
from itertools import pairwise

import train_step
import upsample

NETS = {"unet": (2, 192, 1, 2), "fcn_resnet50": (2, 224, 3, 21)}  # -> pictures, size, channels, classes


def main() -> None:
    args = _args()
    if args.half:
        args.steps *= 3 if args.net.endswith("-forward") else 1
        train_step._serve({"cvjax": _cvjax, "torch": _torch}[args.half], args)
        return
    for net in args.nets.split(","):
        for passes in args.passes.split(","):
            upsample._compare(f"{net}-{passes}", args)


def _args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch_python", default=sys.executable)
    parser.add_argument("--nets", default="unet,fcn_resnet50")
    parser.add_argument("--passes", default="forward,train")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=1, help="training steps a round, or thirds of its forward passes")
    parser.add_argument("--half", help=argparse.SUPPRESS)
    parser.add_argument("--net", help=argparse.SUPPRESS)
    return parser.parse_args()


def _cvjax(args: argparse.Namespace):
    train_step._prepare()
    import numpy as np

    from cvjax.models import fcn_resnet, unet
    from cvjax.tasks import segmentation

    net, _, passes = args.net.partition("-")
    pictures, size, channels, classes = NETS[net]
    model = unet.Model(classes) if net == "unet" else fcn_resnet.Model(classes, 50, auxiliary=True)
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.standard_normal((pictures, size, size, channels), np.float32),
        "labels": rng.integers(0, classes, (pictures, size, size), np.uint8),
        "valid": np.ones(pictures, bool),
    }

    def loss(out, batch):
        terms = segmentation.loss(out, batch).values()
        return sum(term.weight * term.sum for term in terms if term.weight) / (pictures * size * size)

    heads = ("logits",) if net == "unet" else ("logits", "auxiliary")
    return train_step._once(model, batch, None if passes == "forward" else loss, heads)


def _torch(args: argparse.Namespace):
    import torch
    from torch.nn.functional import cross_entropy

    net, _, passes = args.net.partition("-")
    pictures, size, channels, classes = NETS[net]
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = (_torch_unet(channels, classes) if net == "unet" else _torch_fcn(classes)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9)
    x = torch.randn(pictures, channels, size, size).to(memory_format=torch.channels_last)
    y = torch.randint(classes, (pictures, size, size))
    if passes == "forward":
        model.eval()
        return torch.inference_mode()(lambda: model(x))

    def once() -> None:
        optimizer.zero_grad()
        out = model(x)
        loss = cross_entropy(out, y) if net == "unet" else cross_entropy(out["out"], y) + 0.5 * cross_entropy(out["aux"], y)
        loss.backward()
        optimizer.step()

    return once


def _torch_unet(channels: int, classes: int, width: int = 64, levels: int = 5):
    import torch
    from torch import nn

    def convolutions(i: int, o: int):
        relu = nn.ReLU(inplace=True)
        return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), relu, nn.Conv2d(o, o, 3, padding=1), relu)

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            widths = [width * 2**level for level in range(levels)]
            pairs = list(pairwise(widths))
            self.down = nn.ModuleList([convolutions(channels, width)] + [convolutions(i, o) for i, o in pairs])
            self.up = nn.ModuleList([nn.ConvTranspose2d(o, i, 2, 2) for i, o in reversed(pairs)])
            self.convs = nn.ModuleList([convolutions(o, i) for i, o in reversed(pairs)])
            self.pool, self.head = nn.MaxPool2d(2), nn.Conv2d(width, classes, 1)

        def forward(self, x):
            bridges = []
            for down in self.down[:-1]:
                bridges.append(down(x))
                x = self.pool(bridges[-1])
            x = self.down[-1](x)
            for up, convs in zip(self.up, self.convs, strict=True):
                x = convs(torch.cat([bridges.pop(), up(x)], 1))
            return self.head(x)

    return UNet()


def _torch_fcn(classes: int):
    segmentation = train_step._torchvision().models.segmentation
    return segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=classes, aux_loss=True)


if __name__ == "__main__":
    main()

"""Writes plain.npz: what torchvision's AlexNet and VGGs answer, and torch's grouped convolutions and LRN, for test_plain_parity.py.

python tests/parity/make_plain.py        # needs numpy, torch and torchvision; last made with 2.13.0 and 0.28.0
"""

from pathlib import Path

import numpy as np
import torch
from filled import PLAIN, fill, image
from torch import nn
from vision import torchvision


def answer(net: nn.Module, size: int) -> np.ndarray:
    for name, value in net.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            value.copy_(torch.from_numpy(fill(name, tuple(value.shape))))
    return net.eval()(torch.from_numpy(image(size)).permute(0, 3, 1, 2))[:, :20].numpy()


class TwoGpu(nn.Module):
    """Convolutions of the 2012 net, by torch's own layers (alpha is divided by the window there)."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(3, 96, 11, 4, 2, 1), (96, 256, 5, 1, 2, 2), (256, 384, 3, 1, 1, 1), (384, 384, 3, 1, 1, 2), (384, 256, 3, 1, 1, 2)]
        for i, (inputs, outputs, size, stride, pad, groups) in enumerate(sizes, 1):
            setattr(self, f"conv{i}", nn.Conv2d(inputs, outputs, size, stride, pad, groups=groups))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        norm, pool = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2), nn.MaxPool2d(3, 2)
        x = pool(norm(torch.relu(self.conv1(x))))
        x = pool(norm(torch.relu(self.conv2(x))))
        x = torch.relu(self.conv4(torch.relu(self.conv3(x))))
        return pool(torch.relu(self.conv5(x)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    golden = {}
    with torch.no_grad():
        for name, size in PLAIN.items():
            golden[name] = answer(getattr(torchvision.models, name)(), size)
        golden["two_gpu"] = answer(TwoGpu(), 224)[:, :20]
    np.savez_compressed(Path(__file__).with_name("plain.npz"), **golden)
    print({key: (value.shape, float(np.abs(value).max())) for key, value in golden.items()})

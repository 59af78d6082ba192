"""Writes resnet.npz: what torchvision's ResNets and a CIFAR ResNet in torch answer, for test_resnet_parity.py.

python tests/parity/make_resnet.py        # needs numpy, torch and torchvision; last made with 2.13.0 and 0.28.0
"""

from pathlib import Path

import numpy as np
import torch
from filled import fill, image
from torch import nn
from torch.nn.functional import pad
from vision import torchvision


class Block(nn.Module):
    """He et al. 2015, section 4.2, option A with the zeros on both sides."""

    def __init__(self, i: int, o: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.stride, self.side = stride, (o - i) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        x = x[:, :, :: self.stride, :: self.stride]
        return torch.relu(y + pad(x, (0, 0, 0, 0, self.side, self.side)))


class Cifar(nn.Module):
    def __init__(self, n: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        for stage, width in enumerate((16, 32, 64), 1):
            before = max(16, width // 2)
            blocks = [Block(width if b else before, width, 2 if stage > 1 and b == 0 else 1) for b in range(n)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


def evaluated(net: nn.Module, size: int) -> dict[str, np.ndarray]:
    """Logits, and a corner of what every stage hands on, in evaluation. Fills the net."""
    for name, value in net.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            value.copy_(torch.from_numpy(fill(name, tuple(value.shape))))
    found = {}
    stages = [(n, m) for n, m in net.named_children() if n.startswith("layer")]
    for name, module in [("stem", net.maxpool if hasattr(net, "maxpool") else net.bn1), *stages]:
        module.register_forward_hook(lambda _m, _x, y, name=name: found.update({name.replace("layer", "stage"): y}))
    logits = net.eval()(torch.from_numpy(image(size)).permute(0, 3, 1, 2))
    corners = {name: torch.relu(y)[:, :8, :2, :2].permute(0, 2, 3, 1).numpy() for name, y in found.items()}
    return {"logits": logits[:, :10].numpy(), **corners}


def trained(net: nn.Module, size: int) -> dict[str, np.ndarray]:
    """One training pass: the loss, the stem's gradient and its new running statistics."""
    loss = nn.functional.cross_entropy(net.train()(torch.from_numpy(image(size)).permute(0, 3, 1, 2)), torch.tensor([1, 2]))
    loss.backward()
    return {
        "loss": loss.detach().numpy(),
        "stem_gradient": net.conv1.weight.grad[:4].numpy(),
        "stem_mean": net.bn1.running_mean.numpy(),
        "stem_var": net.bn1.running_var.numpy(),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    nets = {f"resnet{n}": (getattr(torchvision.models, f"resnet{n}")(), 64) for n in (18, 34, 50, 101, 152)}
    golden = {}
    for name, (net, size) in {"resnet20_cifar10": (Cifar(3), 32), **nets}.items():
        with torch.no_grad():
            golden |= {f"{name}/{key}": value for key, value in evaluated(net, size).items()}
        if name in ("resnet20_cifar10", "resnet18", "resnet50"):
            golden |= {f"{name}/{key}": value for key, value in trained(net, size).items()}
    np.savez_compressed(Path(__file__).with_name("resnet.npz"), **golden)
    print({key: (value.shape, float(np.abs(value).max())) for key, value in golden.items()})

"""Prints how many of CIFAR-10's images 45,000-49,999 the public ResNet-20 gets right in torch, for test_pretrained.py.

CVJAX_DEV_DATA=... python tests/parity/make_public_resnet20.py    # needs torch, numpy, pillow; last run with 2.13.0: 4988 of 5000
"""

import os
from pathlib import Path

import numpy as np
import torch
from make_resnet import Cifar
from PIL import Image

data = Path(os.environ["CVJAX_DEV_DATA"])
weights = torch.load(data / "weights" / "resnet20-12fca82f.th", map_location="cpu", weights_only=True)["state_dict"]
net = Cifar(3).eval()
net.load_state_dict({name.removeprefix("module.").replace("linear", "fc"): value for name, value in weights.items()})
mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
labels, right = np.load(data / "cifar10" / "labels_50000.npy"), 0
for part in range(45, 50):
    sheet = np.asarray(Image.open(data / "cifar10" / f"batch_{part:02d}.webp").convert("RGB"))
    images = sheet.reshape(25, 32, 40, 32, 3).transpose(0, 2, 1, 3, 4).reshape(1000, 32, 32, 3)
    with torch.no_grad():
        logits = net(((torch.from_numpy(images.copy()) / 255 - mean) / std).permute(0, 3, 1, 2))
    right += int((logits.argmax(1).numpy() == labels[1000 * part : 1000 * (part + 1)]).sum())
print(f"{right} of 5000")

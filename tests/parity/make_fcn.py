"""Writes fcn.npz: what torchvision's fcn_resnet50 and fcn_resnet101 answer, for test_fcn_parity.py.

python tests/parity/make_fcn.py        # needs numpy, torch and torchvision; last made with 2.13.0 and 0.28.0
"""

from pathlib import Path

import numpy as np
import torch
from filled import fill, image
from vision import torchvision

SIZE = 75  # no multiple of 8


if __name__ == "__main__":
    torch.set_num_threads(1)
    golden = {}
    for name in ("fcn_resnet50", "fcn_resnet101"):
        net = getattr(torchvision.models.segmentation, name)(num_classes=21, aux_loss=True, weights=None, weights_backbone=None)
        for key, value in net.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                value.copy_(torch.from_numpy(fill(key, tuple(value.shape))))
        with torch.no_grad():
            out = net.eval()(torch.from_numpy(image(SIZE)).permute(0, 3, 1, 2))
        golden[f"{name}/parameters"] = np.array(sum(p.numel() for p in net.parameters()))
        for ours, theirs in (("logits", "out"), ("auxiliary", "aux")):
            golden[f"{name}/{ours}"] = out[theirs][:, :, ::7, ::7].permute(0, 2, 3, 1).numpy()
    np.savez_compressed(Path(__file__).with_name("fcn.npz"), **golden)
    print({key: (value.shape, float(np.abs(value).max())) for key, value in golden.items()})

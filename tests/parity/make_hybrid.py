"""Writes hybrid.npz: what timm's hybrids answer, for test_hybrid_parity.py.

python tests/parity/make_hybrid.py        # needs torch and timm; last made with 2.13.0 and 1.0.29
"""

from pathlib import Path

import numpy as np
import timm
import torch
from filled import HYBRIDS, fill, image

if __name__ == "__main__":
    torch.set_num_threads(1)
    golden = {}
    for name in HYBRIDS:
        net = timm.create_model(name, img_size=64, depth=2, num_classes=20).eval()
        with torch.no_grad():
            for parameter, value in net.state_dict().items():
                value.copy_(torch.from_numpy(fill(parameter, tuple(value.shape))))
            golden[name] = net(torch.from_numpy(image(64)).permute(0, 3, 1, 2)).numpy()
        whole = timm.create_model(name, num_classes=1000)
        golden[f"{name} parameters"] = np.array(sum(value.numel() for value in whole.parameters()))
    np.savez_compressed(Path(__file__).with_name("hybrid.npz"), **golden)
    print({name: (value.shape, float(np.abs(value).max())) for name, value in golden.items()})

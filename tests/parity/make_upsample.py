"""Writes upsample.npz: what torch's up-samplings answer, for test_upsample_parity.py.

python tests/parity/make_upsample.py        # needs numpy and torch; last made with 2.13.0
"""

from pathlib import Path

import numpy as np
import torch
from filled import POOLED, RESIZED, TRANSPOSED, fill, image
from torch.nn import functional as F


def nchw(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    golden = {}
    x = nchw(image(5))
    for k, stride, pad, output_pad in TRANSPOSED:
        name = f"transposed {k} {stride} {pad} {output_pad}"
        weight, x_ = torch.from_numpy(fill(name, (3, 2, k, k))).requires_grad_(), x.clone().requires_grad_()
        y = F.conv_transpose2d(x_, weight, None, stride, pad, output_pad)
        y.square().sum().backward()
        golden |= {name: y, f"{name} dx": x_.grad, f"{name} dw": weight.grad}
    for height, width in RESIZED:
        for corners in (False, True):
            x_ = x.clone().requires_grad_()
            y = F.interpolate(x_, (height, width), mode="bilinear", align_corners=corners)
            y.square().sum().backward()
            golden |= {f"bilinear {height} {width} {corners}": y, f"bilinear {height} {width} {corners} dx": x_.grad}
    for side, size in POOLED:
        y, switches = F.max_pool2d(nchw(image(side)), size, return_indices=True)
        unpooled = F.max_unpool2d(y, switches, size, output_size=(side, side))
        golden |= {f"pooled {side} {size}": y, f"switches {side} {size}": switches.int(), f"unpooled {side} {size}": unpooled}
    golden = {name: value.detach().numpy() for name, value in golden.items()}
    np.savez_compressed(Path(__file__).with_name("upsample.npz"), **golden)
    print({name: (value.shape, float(np.abs(value).max())) for name, value in golden.items()})

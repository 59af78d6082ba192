"""Writes torchfile.pth and torchfile_legacy.pth: small files of PyTorch's two formats, for test_torchfile.py.

python tests/parity/make_torchfile.py        # needs torch; last made with 2.13.0
"""

from collections import OrderedDict
from pathlib import Path

import torch

numbers = torch.arange(24, dtype=torch.float32).reshape(4, 6)
state = OrderedDict(
    whole=numbers,
    transposed=numbers.T,
    part=numbers[1:3, ::2],
    half=numbers.half(),
    brain=numbers.bfloat16(),
    double=numbers.double(),
    count=torch.tensor(7),
    flags=torch.tensor([True, False]),
    none=torch.zeros(0, 3),
    learned=torch.nn.Parameter(numbers[0] + 0.5),
)
content = {"state_dict": state, "epoch": 3, "best": 91.5, "names": ["a", ("b", None)]}

if __name__ == "__main__":
    here = Path(__file__).parent
    torch.save(content, here / "torchfile.pth")
    torch.save(content, here / "torchfile_legacy.pth", _use_new_zipfile_serialization=False)

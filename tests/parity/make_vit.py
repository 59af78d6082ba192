"""Writes vit.npz: what timm's and Hugging Face's ViTs answer, for test_vit_parity.py.

python tests/parity/make_vit.py        # needs torch, timm and transformers; last made with 2.13.0, 1.0.29 and 5.24.0
"""

import hashlib
from pathlib import Path

import numpy as np
import timm
import torch
from filled import VITS, fill, image
from torch import nn
from transformers import ViTConfig, ViTForImageClassification


def names(net: nn.Module) -> str:
    """Of all parameters the names and shapes, as one number."""
    lines = sorted(f"{name} {tuple(value.shape)}" for name, value in net.state_dict().items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@torch.no_grad()
def answer(net: nn.Module, size: int) -> np.ndarray:
    for name, value in net.state_dict().items():
        value.copy_(torch.from_numpy(fill(name, tuple(value.shape))))
    out = net.eval()(torch.from_numpy(image(size)).permute(0, 3, 1, 2))
    return getattr(out, "logits", out)[:, :20].numpy()


if __name__ == "__main__":
    torch.set_num_threads(1)
    golden = {}
    for name in VITS:
        with torch.device("meta"):
            golden[f"{name} names"] = names(timm.create_model(name))
    golden["timm"] = answer(timm.create_model("vit_tiny_patch16_224"), 224)
    small = ViTConfig(hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768, num_labels=1000)
    golden["huggingface"] = answer(ViTForImageClassification(small), 224)
    np.savez_compressed(Path(__file__).with_name("vit.npz"), **golden)
    print({name: (value.shape, float(np.abs(value).max())) for name, value in golden.items() if "names" not in name})

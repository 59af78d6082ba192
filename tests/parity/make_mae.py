"""Writes mae.npz: what Hugging Face's masked autoencoder answers, for test_mae_parity.py.

python tests/parity/make_mae.py        # needs torch and transformers; last made with 2.13.0 and 5.24.0
"""

from pathlib import Path

import numpy as np
import torch
from filled import fill, image, noise
from transformers import ViTMAEConfig, ViTMAEForPreTraining


def places(side: int, width: int) -> np.ndarray:
    """MoCo v3's sines and cosines with big_vision's rates, and zeros for the class token."""
    rate = 10000 ** -np.linspace(0, 1, width // 4)
    rows = [[f(at * rate) for at in (column, row) for f in (np.sin, np.cos)] for row in range(side) for column in range(side)]
    return np.concatenate([np.zeros((1, width)), np.array(rows).reshape(side * side, width)])[None].astype(np.float32)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128)
    decoder = dict(decoder_hidden_size=16, decoder_num_hidden_layers=1, decoder_num_attention_heads=2, decoder_intermediate_size=64)
    config = ViTMAEConfig(**sizes, **decoder, image_size=32, patch_size=8, mask_ratio=0.75, norm_pix_loss=True, layer_norm_eps=1e-6)
    net = ViTMAEForPreTraining(config).eval()
    with torch.no_grad():
        for name, value in net.named_parameters():
            table = places(4, value.shape[-1]) if "pos_embed" in name or "position_embeddings" in name else fill(name, tuple(value.shape))
            value.copy_(torch.from_numpy(table))
        found = net(torch.from_numpy(image(32).transpose(0, 3, 1, 2)), noise=torch.from_numpy(noise()))
    golden = {"prediction": found.logits.numpy(), "masked": found.mask.numpy(), "loss": found.loss.numpy()}
    np.savez_compressed(Path(__file__).with_name("mae.npz"), **golden)
    print({name: (value.shape, float(np.abs(value).max())) for name, value in golden.items()})
    print([name for name, _ in net.named_parameters()])

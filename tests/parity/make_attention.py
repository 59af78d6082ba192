"""Writes attention.npz: what torch's attention and Transformer layers answer, for test_attention_parity.py.

python tests/parity/make_attention.py        # needs numpy and torch; last made with 2.13.0
"""

from pathlib import Path

import numpy as np
import torch
from filled import fill, sequence
from torch import nn


def filled(net: nn.Module) -> nn.Module:
    for name, value in net.state_dict().items():
        value.copy_(torch.from_numpy(fill(name, tuple(value.shape))))
    return net.eval()


if __name__ == "__main__":
    torch.set_num_threads(1)
    x, context = (torch.from_numpy(sequence(n)) for n in (7, 9))
    allowed = torch.from_numpy(np.random.default_rng(3).random((7, 9)) < 0.6)
    allowed[2] = True
    golden = {}
    with torch.no_grad():
        attention = filled(nn.MultiheadAttention(16, 4, batch_first=True))
        golden["self"], golden["weights"] = attention(x, x, x, average_attn_weights=False)
        golden["cross"], _ = attention(x, context, context, attn_mask=~allowed)
        heads = [y.unflatten(-1, (4, 4)).transpose(1, 2) for y in (x, context)]
        golden["core"] = nn.functional.scaled_dot_product_attention(heads[0], heads[1], heads[1], attn_mask=allowed).transpose(1, 2)
        for norm in ("pre", "post"):
            layer = nn.TransformerEncoderLayer(16, 4, 32, 0.0, "gelu", 1e-6, batch_first=True, norm_first=norm == "pre")
            golden[norm] = filled(layer)(x, src_mask=nn.Transformer.generate_square_subsequent_mask(7), is_causal=True)
    golden = {name: value.numpy() for name, value in golden.items()}
    np.savez_compressed(Path(__file__).with_name("attention.npz"), **golden)
    print({name: (value.shape, float(np.abs(value).max())) for name, value in golden.items()})

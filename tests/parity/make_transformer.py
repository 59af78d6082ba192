"""Writes transformer.npz: what Hugging Face's GPT-2 and BERT answer, for test_transformer_parity.py.

python tests/parity/make_transformer.py        # needs torch and transformers; last made with 2.13.0 and 5.24.0
"""

from pathlib import Path

import numpy as np
import torch
from filled import fill, tokens
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

if __name__ == "__main__":
    torch.set_num_threads(1)
    gpt = GPT2LMHeadModel(GPT2Config(vocab_size=23, n_positions=16, n_embd=128, n_layer=4, n_head=4))
    bert = BertForMaskedLM(
        BertConfig(
            vocab_size=23, max_position_embeddings=16, hidden_size=128, num_hidden_layers=4, num_attention_heads=4, intermediate_size=512
        )
    )
    golden = {}
    with torch.no_grad():
        for name, net in (("gpt", gpt), ("bert", bert)):
            for parameter, value in net.named_parameters():
                drawn = fill(parameter, tuple(value.shape))
                value.copy_(torch.from_numpy(0 * drawn if "token_type" in parameter else drawn))  # ours has no segments
            golden[name] = net.eval()(torch.from_numpy(tokens())).logits.numpy()
    np.savez_compressed(Path(__file__).with_name("transformer.npz"), **golden)
    print({name: (value.shape, float(np.abs(value).max())) for name, value in golden.items()})

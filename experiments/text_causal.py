"""A small GPT on a text of yours, character by character: what comes next? (Radford et al. 2018, 2019)

4 blocks of 128 channels and 4 heads, 128 characters of context, AdamW with warm-up and cosine decay, clipped gradients. `root` is a .txt
file, whose last tenth validates, or a folder (see cvjax/data/text.py); `tokens=pieces` learns a byte-pair encoding, `tokens=bytes` takes
any text. `val/bits_per_character` is comparable between all three of them.

Run:      python launch.py train --config=experiments/text_causal.py:root=shakespeare.txt --workdir=runs/gpt
          python launch.py generate --workdir=runs/gpt --prompt="ROMEO:" --length=100
Expected: depends on the text
Smoke:    python launch.py train --config=experiments/text_causal.py:smoke --workdir=runs/gpt_smoke
"""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, root="text.txt", tokens="characters", variant="gpt-mini", length=129, smoke=False)
    config = experiment(
        seed=0,
        task=dict(name="causal_modelling"),
        model=dict(name="transformer", variant=a.variant, places=a.length - 1, dropout=0.1),
        data=dict(name="text", root=a.root, tokens=a.tokens, length=a.length, train="train", val="val", batch_size=32, cache="device"),
        image=dict(),
        augment=dict(),
        optim=dict(name="adamw", lr=2e-3, b2=0.98, weight_decay=0.1, decay_vectors=False, schedule="cosine", warmup="100 steps", clip=1.0),
        train=dict(
            duration="5 epochs", log_every="20 steps", eval_every="1 epochs", checkpoint_every="1 epochs", monitor="val/loss", mode="min"
        ),
    )
    return smoke(config, variant="gpt-tiny") if a.smoke else config

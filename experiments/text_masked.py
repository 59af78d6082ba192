"""A small BERT on a text of yours, character by character: what is hidden? (Devlin et al. 2019, arXiv:1810.04805)

15 % of the characters are to be guessed; of these 80 % are [MASK], 10 % another character, 10 % as they were. The network is that of
experiments/text_causal.py, in BERT's order, and sees both sides. `root` and `tokens` as there.

Run:      python launch.py train --config=experiments/text_masked.py:root=shakespeare.txt --workdir=runs/bert
Expected: depends on the text
Smoke:    python launch.py train --config=experiments/text_masked.py:smoke --workdir=runs/bert_smoke
"""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, root="text.txt", tokens="characters", variant="bert-mini", length=128, smoke=False)
    config = experiment(
        seed=0,
        task=dict(name="masked_modelling"),
        model=dict(name="transformer", variant=a.variant, places=a.length, dropout=0.1),
        data=dict(name="text", root=a.root, tokens=a.tokens, length=a.length, train="train", val="val", batch_size=32, cache="device"),
        image=dict(),
        augment=dict(),
        optim=dict(name="adamw", lr=2e-3, b2=0.98, weight_decay=0.1, decay_vectors=False, schedule="cosine", warmup="100 steps", clip=1.0),
        train=dict(
            duration="5 epochs", log_every="20 steps", eval_every="1 epochs", checkpoint_every="1 epochs", monitor="val/loss", mode="min"
        ),
    )
    return smoke(config, variant="bert-tiny") if a.smoke else config

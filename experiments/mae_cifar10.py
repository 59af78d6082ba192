"""A small ViT learns CIFAR-10 without labels: which pixels are hidden? (He et al. 2022, arXiv:2111.06377)

The encoder of experiments/vit_cifar10.py sees a quarter of the patches, a decoder of one block draws the others. Afterwards a ViT begins
with what the encoder has learned. AdamW with the paper's moments, padded crops and flips.

Run:      python launch.py train --config=experiments/mae_cifar10.py --workdir=runs/mae
          python launch.py train --config=experiments/vit_cifar10.py:position=sincos_2d --init=runs/mae --workdir=runs/vit_from_mae
Expected: not run in full here; experiments/comparisons/masked_pretraining.py fine-tunes from runs of 3 epochs
Smoke:    python launch.py train --config=experiments/mae_cifar10.py:smoke --workdir=runs/mae_smoke
"""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, variant="Pi/4", ratio=0.75, smoke=False)
    config = experiment(
        seed=0,
        task=dict(name="masked_modelling"),
        model=dict(name="mae", variant=a.variant, ratio=a.ratio, decoder=(1, 48, 3)),
        data=dict(name="tfds", dataset="cifar10", train="train[:45000]", val="train[45000:]", batch_size=64, cache="device"),
        image=dict(size=32, mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)),
        augment=dict(crop="pad", pad=4, flip=True),
        optim=dict(name="adamw", lr=2e-3, b2=0.95, weight_decay=0.05, decay_vectors=False, schedule="cosine", warmup="2 epochs", clip=1.0),
        train=dict(
            duration="50 epochs", log_every="100 steps", eval_every="5 epochs", checkpoint_every="5 epochs", monitor="val/loss", mode="min"
        ),
    )
    return smoke(config, variant="mu/8") if a.smoke else config

"""A small ViT on CIFAR-10 from nothing, on two CPU cores (Dosovitskiy et al. 2021, arXiv:2010.11929).

Patches of 4 x 4 pixels, 6 blocks of 48 channels: 13 M multiply-adds an image, where a ResNet-20 of half the width has 10 M. AdamW with
warm-up and cosine decay, clipped gradients, padded crops and flips. 45,000 images train, 5,000 validate.

Run:      python launch.py train --config=experiments/vit_cifar10.py --workdir=runs/vit
Expected: not run in full here; experiments/comparisons/vit_vs_resnet.py runs it on parts of the images
Smoke:    python launch.py train --config=experiments/vit_cifar10.py:smoke --workdir=runs/vit_smoke
"""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, variant="Pi/4", position="learned", smoke=False)
    config = experiment(
        seed=0,
        task=dict(name="classification", label_smoothing=0.0),
        model=dict(name="vit", variant=a.variant, position=a.position),
        data=dict(name="tfds", dataset="cifar10", train="train[:45000]", val="train[45000:]", batch_size=64, cache="device"),
        image=dict(size=32, mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)),
        augment=dict(crop="pad", pad=4, flip=True),
        optim=dict(name="adamw", lr=2e-3, weight_decay=0.05, decay_vectors=False, schedule="cosine", warmup="2 epochs", clip=1.0),
        train=dict(duration="30 epochs", log_every="100 steps", eval_every="1 epochs", checkpoint_every="1 epochs"),
    )
    return smoke(config, variant="mu/8") if a.smoke else config

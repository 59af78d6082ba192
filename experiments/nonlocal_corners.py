"""Do two signs in opposite corners look the same? A ResNet-8 that attends over its second stage (Wang et al. 2018, arXiv:1711.07971).

Made-up pictures of 40 x 40 pixels (cvjax/data/corners.py), and a ResNet-8 of half the width whose features see squares of 25 pixels, 29
with a convolution put in: none sees both signs, and their average under a linear head cannot compare them. A block after the second
stage tells each corner of the other, in time for the third. `block=` is any of `cvjax.models.nonlocal_resnet.BLOCKS`, or `none`, the
plain ResNet.

Run:      python launch.py train --config=experiments/nonlocal_corners.py --workdir=runs/corners
          python launch.py train --config=experiments/nonlocal_corners.py:block=sagan --workdir=runs/corners_sagan
Expected: 99.9 % of 2,000 validation pictures (3 seeds), 5 minutes on a CPU core; the other blocks: docs/results/nonlocal_forms.md
Smoke:    python launch.py train --config=experiments/nonlocal_corners.py:smoke --workdir=runs/corners_smoke
"""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, block="embedded_gaussian", smoke=False)
    plain = a.block == "none"
    config = experiment(
        seed=0,
        task=dict(name="classification", label_smoothing=0.0),
        model=dict(name="nonlocal_resnet", variant=8, width=8, stages=() if plain else (2,), block="convolution" if plain else a.block),
        data=dict(name="corners", train="train", val="val[:2000]", batch_size=64, size=40),
        image=dict(size=40, channels=1, mean=(0.4,), std=(0.1,)),
        augment=dict(crop="none", flip=False),
        optim=dict(name="adamw", lr=1e-2, weight_decay=1e-4, schedule="onecycle", warmup="200 steps"),
        train=dict(duration="1000 steps", log_every="20 steps", eval_every="200 steps", checkpoint_every="500 steps"),
    )
    return smoke(config, variant=8) if a.smoke else config

